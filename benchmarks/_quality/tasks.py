"""The scans of `quality.py`: what was measured, of which image, and which images tune.

Every task is brought to the same units, from what a user knows and never from the truth: the
operator has norm one, and images are about [0, 1] (counted in units of a fixed attenuation in CT,
of a high percentile of the zero-filled image in MRI), so that one range of strengths suits all.
None of the metrics changes with the units.

- ct: head CT, 30 parallel views of Poisson counts, simulated from a grid twice as fine. One
  patient: validation slices lie in another slab, with a gap between.
- mri4, mri8: T1 brains, 8 coils, random lines with a calibration region, smooth phase, Gaussian
  noise, simulated from a finer grid. The maps are given, not estimated. Another scanner's patient
  validates. Images are compared as complex ones.
- deblur: photographs, circular convolution with camera shake, Gaussian noise.
- single-pixel-ORDER: photographs 64², 333 of 4096 Hadamard patterns in an order, Gaussian noise;
  single-pixel-variance-64 and -256 see less and more of each photograph.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxrecon import core, data
from jaxrecon.core import Circulant, LinearOperator, pytree
from jaxrecon.physics import ct, gaussian_noise, mri, optics

ORDERS = (
    "variance",
    "natural",
    "sequency",
    "cake_cutting",
    "russian_dolls",
    "total_variation",
    "random",
)
MARGIN = 1.02  # power iteration approaches the norm from below
BONE = 0.05  # 1/mm, the unit of CT images
Ladder = tuple[float, ...]


@pytree
class Scan:
    """One measurement in the module's units, or a stack of them: all but the operator."""

    data: Array
    weights: Array | None  # inverse variances, at most about 1
    first: Array  # where iterations start
    truth: Array


class Direct(NamedTuple):
    """The reconstruction without a prior: `f(operator, scan, parameters)`, and its parameters."""

    name: str
    reconstruct: Callable[[LinearOperator, Scan, dict], Array]
    ladders: dict[str, Ladder]


class Task(NamedTuple):
    """Scans of one kind, in the module's units."""

    name: str
    title: str
    operator: LinearOperator
    noise: float  # standard deviation of the weighted data (its mean over validation scans)
    validation: Scan
    test: Scan
    direct: Direct
    n_iter: int  # of plug-and-play
    facts: tuple[str, ...]

    @property
    def is_complex(self) -> bool:
        return jnp.iscomplexobj(self.test.truth)


class Sizes(NamedTuple):
    """Sides of images, and how many of them."""

    image: int = 128
    single_pixel: int = 64
    n_patterns: int = 333
    n_validation: int = 3
    n_test: int = 12


FULL, QUICK = Sizes(), Sizes(image=32, single_pixel=32, n_patterns=83, n_validation=2, n_test=4)


def build(name: str, folder: Path, sizes: Sizes) -> Task:
    """The task of a name in `TASKS`, from the data in `folder`."""
    return TASKS[name](folder, sizes)


# ---------------------------------------------------------------------------------------------- CT


def sparse_view_ct(folder: Path, sizes: Sizes) -> Task:
    """30 views of a head."""
    with np.load(folder / "volumes/ct_head_invesalius_hu.npz") as file:
        volume, pixel = file["hu"].astype(np.float32), float(file["spacing_mm"][2])
    attenuation = np.where(volume < -900, 0, data.MU_WATER * (1 + volume / 1000))
    attenuation = np.maximum(attenuation, 0)
    factor = volume.shape[1] // (2 * sizes.image)
    fine = np.asarray(jax.vmap(lambda x: data.downsample(x, factor))(jnp.asarray(attenuation)))
    slabs = evenly(20, 34, sizes.n_validation), evenly(44, 88, sizes.n_test)
    n_views, photons = 30, 5e4

    def simulate(z, key):
        options = {"key": key, "n_views": n_views, "photons": photons}
        return data.simulate_ct(jnp.asarray(fine[z]), factor * pixel, **options)

    keys = jax.random.split(jax.random.key(1), 2 * max(map(len, slabs))).reshape(2, -1)
    raw = [[simulate(z, k) for z, k in zip(s, ks)] for s, ks in zip(slabs, keys)]
    scan = raw[1][0].operator
    size = known_norm(scan)
    parts = [[_ct_scan(s, photons, size) for s in group] for group in raw]

    def fbp(A: LinearOperator, x: Scan, parameters: dict) -> Array:
        sharp, soft = (
            ct.fbp(scan, size * x.data, window=w).astype(x.data.dtype) for w in ("ramp", "hann")
        )
        return sharp + parameters["hann"] * (soft - sharp)

    return Task(
        name="ct",
        title=f"CT, {n_views} views, {photons:g} photons",
        operator=(1 / size) * scan,
        noise=1 / (np.sqrt(photons) * BONE * size),
        validation=stacked(parts[0]),
        test=stacked(parts[1]),
        direct=Direct("FBP", fbp, {"hann": (0.0, 0.25, 0.5, 0.75, 1.0)}),
        n_iter=12,
        facts=(
            *raw[1][0].facts,
            f"slices {slabs[0]} tune, {slabs[1]} test: one patient, two slabs",
        ),
    )


def _ct_scan(s: data.CTSimulation, photons: float, size: float) -> Scan:
    first = jnp.maximum(ct.fbp(s.operator, s.line_integrals, window="hann"), 0)
    return Scan(s.line_integrals / (BONE * size), s.weights / photons, first / BONE, s.truth / BONE)


# --------------------------------------------------------------------------------------------- MRI


def cartesian_mri(folder: Path, sizes: Sizes, acceleration: int) -> Task:
    """8 coils, random lines."""
    fine = sizes.image * 3 // 2
    slices = _validation_brain(folder, fine, sizes), _test_brains(folder, fine, sizes)
    n, sigma = sizes.image, 0.01
    lines = mri.random_lines_mask(
        jax.random.key(2), (1, n), acceleration, calibration=n // (2 * acceleration)
    )
    keys = jax.random.split(jax.random.key(3), (2, sizes.n_test))
    raw = [
        [
            data.simulate_mri(
                jnp.asarray(x), key=k, shape=(n, n), sigma=sigma, mask=lines, n_coils=8
            )
            for x, k in zip(group, ks)
        ]
        for group, ks in zip(slices, keys)
    ]
    A = raw[0][0].operator
    size = known_norm(A)
    pairs = [[_mri_scan(A, s, size) for s in group] for group in raw]
    parts = [[scan for scan, _ in group] for group in pairs]
    scales = [scale for _, scale in pairs[0]]

    def adjoint(A: LinearOperator, x: Scan, parameters: dict) -> Array:
        return x.first

    return Task(
        name=f"mri{acceleration}",
        title=f"MRI, {acceleration}x random lines, 8 coils",
        operator=(1 / size) * A,
        noise=sigma / float(np.mean(scales)),
        validation=stacked(parts[0]),
        test=stacked(parts[1]),
        direct=Direct("zero-filled", adjoint, {}),
        n_iter=10,
        facts=(
            *raw[1][0].facts,
            f"{int(lines.sum())} of {n} lines, {n // (2 * acceleration)} of them calibration; the "
            "maps are given; objects are Fourier-cropped to what the scanner measured",
        ),
    )


def _mri_scan(A: Any, s: data.MRISimulation, size: float) -> tuple[Scan, float]:
    """The scan, and the unit of its data."""
    first = A.H(s.kspace)
    scale = float(jnp.percentile(jnp.abs(first), 99.9))
    scan = Scan(s.kspace / (scale * size), None, first / scale, s.truth / scale)
    return scan, scale * size


def _validation_brain(folder: Path, n: int, sizes: Sizes) -> list[np.ndarray]:
    with np.load(folder / "volumes/mr_t1_studyforrest.npz") as file:
        volume = file["img"]
    chosen = volume[evenly(190, 250, sizes.n_validation)].astype(np.float32)
    side, width = chosen.shape[1:]
    margin = side - width
    square = np.pad(chosen, ((0, 0), (0, 0), (margin // 2, margin - margin // 2)))
    return [fourier_crop(x, n) / np.percentile(chosen, 99.9) for x in square]


def _test_brains(folder: Path, n: int, sizes: Sizes) -> list[np.ndarray]:
    with np.load(folder / "volumes/mr_brain_pyradiomics.npz") as file:
        volumes = [file["brain1"], file["brain2"]]
    each = sizes.n_test // 2
    images = []
    for volume in volumes:
        top = np.percentile(volume, 99.9)
        images += [fourier_crop(volume[z] / top, n) for z in evenly(4, len(volume) - 5, each)]
    return images


def fourier_crop(image: np.ndarray, n: int) -> np.ndarray:
    """The magnitude of an image without the k-space beyond the central n × n."""
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))
    rows, columns = (slice(m // 2 - n // 2, m // 2 - n // 2 + n) for m in image.shape)
    scale = n**2 / image.size
    small = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(scale * kspace[rows, columns])))
    return np.abs(small).astype(np.float32)


# -------------------------------------------------------------------------------------- photographs


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


# ------------------------------------------------------------------------------------------- shared


def known_norm(A: LinearOperator) -> float:
    return MARGIN * float(core.norm(A, jax.random.key(0)).value)


def stacked(scans: list[Scan]) -> Scan:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *scans)


def evenly(first: int, last: int, n: int) -> list[int]:
    """N integers from first to last."""
    return [int(i) for i in np.round(np.linspace(first, last, n))]


def powers(base: float, low: int, high: int) -> Ladder:
    return tuple(float(base**k) for k in range(low, high + 1))


TASKS: Mapping[str, Callable[[Path, Sizes], Task]] = (
    {
        "ct": sparse_view_ct,
        "mri4": functools.partial(cartesian_mri, acceleration=4),
        "mri8": functools.partial(cartesian_mri, acceleration=8),
        "deblur": deblurring,
    }
    | {f"single-pixel-{order}": functools.partial(single_pixel, order=order) for order in ORDERS}
    | {
        f"single-pixel-variance-{side}": functools.partial(
            single_pixel, order="variance", side=side
        )
        for side in (64, 256)
    }
)
