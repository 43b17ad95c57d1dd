"""Photographs, blurred or seen by a single pixel."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from _quality.shared import Direct, Scan, Sizes, Task, evenly, powers, stacked
from jaxrecon.core import Circulant, LinearOperator
from jaxrecon.physics import gaussian_noise, optics


def deblurring(folder: Path, sizes: Sizes) -> Task:
    """Camera shake of 13 pixels."""
    images = photographs(folder, sizes.image, sizes)
    kernel = optics.random_motion_kernel(jax.random.key(5), (13, 13))
    A, noise = optics.blur(kernel, jnp.asarray(images[0][0])), 0.01
    parts = [_measured(A, group, noise, key) for group, key in zip(images, (6, 7))]

    def inverse_filter(A: LinearOperator, x: Scan, parameters: dict) -> Array:
        power = jnp.asarray(A.gram_spectrum())
        kept = power > parameters["cut-off"] ** 2
        return Circulant(jnp.where(kept, 1 / jnp.where(kept, power, 1), 0), A.domain)(A.H(x.data))

    return Task(
        name="deblur",
        title="Deblurring, camera shake 13 × 13",
        operator=A,
        noise=noise,
        validation=stacked(parts[0]),
        test=stacked(parts[1]),
        direct=Direct("pinv, cut off", inverse_filter, {"cut-off": powers(2, -12, -1)}),
        n_iter=8,
        facts=(f"circular convolution, noise of standard deviation {noise:g} of the range",),
    )


def single_pixel(folder: Path, sizes: Sizes, order: str, side: int = 128) -> Task:
    """The first patterns of one order; "variance" learns from 400 photographs of their own.

    The middle `side`² of photographs of about 256² are averaged to the image. What they show
    decides how much total variation gains: a whole photograph at 64² is full of detail.
    """
    n = sizes.single_pixel
    images = photographs(folder, n, sizes, side)
    rows: Any = order
    if order == "variance":
        rows = optics.variance_order(jnp.asarray(_training_photographs(folder, n, side)))
    elif order == "random":
        rows = optics.hadamard_order(order, (n, n), key=jax.random.key(8))
    A = optics.single_pixel(jnp.asarray(images[0][0]), sizes.n_patterns, rows)
    noise = 0.01
    parts = [_measured(A, group, noise, key) for group, key in zip(images, (9, 10))]

    def pinv(A: LinearOperator, x: Scan, parameters: dict) -> Array:
        return A.H(x.data)

    suffix = "" if side == 128 else f"-{side}"
    return Task(
        name=f"single-pixel-{order}{suffix}",
        title=f"Single pixel, {sizes.n_patterns} of {n * n} patterns, {order} order",
        operator=A,
        noise=noise,
        validation=stacked(parts[0]),
        test=stacked(parts[1]),
        direct=Direct("pinv", pinv, {}),
        n_iter=8,
        facts=(
            f"orthonormal Hadamard rows, noise of standard deviation {noise:g} of the range, the "
            f"middle {side}² of photographs averaged to {n}²",
        ),
    )


def photographs(folder: Path, n: int, sizes: Sizes, side: int = 256) -> list[np.ndarray]:
    """From the Berkeley set for validation, Set12 for the test: the middle of each, averaged.

    Those of Set12 that are 512² are first averaged to 256², as the others are.
    """
    with np.load(folder / "train/bsd68.npz") as file:
        chosen = list(file["img"][evenly(7, 60, sizes.n_validation)])
    with np.load(folder / "train/set12.npz") as file:
        names = sorted(file.files)[: sizes.n_test]
        named = [averaged(file[name], len(file[name]), 256) for name in names]
    return [np.stack([averaged(x, side, n) / 255 for x in group]) for group in (chosen, named)]


def _training_photographs(folder: Path, n: int, side: int) -> np.ndarray:
    """At the magnification of the photographs, or nearly: these are crops of 180²."""
    with np.load(folder / "train/bsd400_180.npz") as file:
        return np.stack([averaged(x, min(side, 128), n) / 255 for x in file["img"]])


def averaged(image: np.ndarray, side: int, n: int) -> np.ndarray:
    """The middle `side`² of an image, averaged over areas to n²."""
    top, left = ((m - side) // 2 for m in image.shape)
    middle = image[top : top + side, left : left + side].astype(np.float32)
    k = side // n
    return middle.reshape(n, k, n, k).mean((1, 3))


def _measured(A: LinearOperator, images: np.ndarray, noise: float, seed: int) -> list[Scan]:
    keys = jax.random.split(jax.random.key(seed), len(images))
    scans = []
    for image, key in zip(jnp.asarray(images), keys):
        y = gaussian_noise(key, A(image), noise)
        scans.append(Scan(y, None, A.H(y), image))
    return scans
