"""Scans of held-out heads for generative priors: four operators on real images of 64².

Magnitude images of `_brains.py`, in units of a volume's 99.9th percentile, and white noise of
deviation `NOISE` in data of an operator with norm one (2 % for the two that lose little):

- ct: 24 views of a parallel beam;
- mri4: eight coils with known maps, a quarter of k-space in random points denser at the centre;
- deblurring: a Gaussian kernel of 1.5 pixels;
- inpainting: three pixels in ten are known.

What is simulated and what reconstructs are the same operator: priors are compared, not models.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from _brains import test_slices, validation_slices
from jaxtyping import Array, Float

from jaxrecon.core import LinearOperator, from_function, norm
from jaxrecon.physics import ct, mri, optics

SIZE, N_COILS = 64, 8
NOISE = {"ct": 2e-3, "mri4": 1e-2, "deblurring": 2e-2, "inpainting": 2e-2}


class Heads(NamedTuple):
    """An operator, its noise, and images that tune and that test."""

    operator: LinearOperator
    noise: float
    validation: Float[Array, "image y x"]
    test: Float[Array, "image y x"]

    def measured(self, truth: Array, seed: int) -> Array:
        """The data of an image; every image and seed has noise of its own."""
        clean = self.operator(truth)
        key = jax.random.fold_in(jax.random.key(seed), int(1e6 * float(jnp.sum(truth))) % 2**31)
        if not jnp.iscomplexobj(clean):
            return clean + self.noise * jax.random.normal(key, clean.shape)
        draw = jax.random.normal(key, (2, *clean.shape))
        sampled = jnp.abs(clean).sum(0, keepdims=True) > 0
        return clean + self.noise * jnp.where(sampled, draw[0] + 1j * draw[1], 0)


def heads(name: str, folder: Path, n_validation: int, n_test: int) -> Heads:
    """Of an operator's name: the first images of both groups, evenly through them."""
    A = OPERATORS[name]()
    A = (1 / norm(A, jax.random.key(0), n_iter=200).value) * A
    groups = validation_slices(folder, SIZE), test_slices(folder, SIZE)
    chosen = [
        jnp.asarray(group[:: len(group) // n][:n])
        for group, n in zip(groups, (n_validation, n_test), strict=True)
    ]
    return Heads(A, NOISE[name], *chosen)


def _ct() -> LinearOperator:
    angles = jnp.arange(24) * (jnp.pi / 24)
    return ct.parallel_beam(angles, (SIZE, SIZE), 92)


def _mri() -> LinearOperator:
    shape = (SIZE, SIZE)
    maps = mri.normalise_maps(mri.birdcage_maps(N_COILS, shape))
    mask = mri.random_mask(jax.random.key(3), shape, 4.0, calibration=6)
    real = from_function(lambda _, x: x.astype(jnp.complex64), jnp.zeros(shape))
    return mri.sense(maps, mask) @ real


def _deblurring() -> LinearOperator:
    return optics.blur(optics.gaussian_kernel((11, 11), 1.5), jnp.zeros((SIZE, SIZE)))


def _inpainting() -> LinearOperator:
    keep = jax.random.bernoulli(jax.random.key(4), 0.3, (SIZE, SIZE))
    return optics.inpaint(keep, jnp.zeros((SIZE, SIZE)))


OPERATORS: dict[str, Callable[[], LinearOperator]] = {
    "ct": _ct,
    "mri4": _mri,
    "deblurring": _deblurring,
    "inpainting": _inpainting,
}
