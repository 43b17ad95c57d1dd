"""Between an image and its oversampled Fourier transform, one axis after the other.

An axis is padded just before its own transform, so that lines of zeros are never transformed (half
the work in 2D, and a third of it in 3D). The transform runs along the last axis, which then moves
to the front: the grid's axes come in the reverse order of the image's, without a transpose of their
own. Index 0 of an oversampled axis is the origin, in image and in frequency. The finished grid has
its periodic neighbours around it, half a kernel's width on every side, so that no window wraps.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex

from jaxrecon.physics.nufft import _kernel
from jaxrecon.physics.nufft._plan import Plan


def padded_shape(plan: Plan) -> tuple[int, ...]:
    """The padded grid's shape, axes in the grid's order."""
    return tuple(n + plan.width for n in reversed(plan.grid_shape))


def to_grid(plan: Plan, images: Complex[Array, "batch *image"]) -> Complex[Array, "batch *padded"]:
    """The padded oversampled transform of images, divided by the kernel's own transform."""
    return oversampled_fft(images * _correction(plan, images.dtype), plan.grid_shape, plan.width)


def from_grid(plan: Plan, grids: Complex[Array, "batch *padded"]) -> Complex[Array, "batch *image"]:
    """The adjoint of `to_grid`."""
    images = cropped_ifft(grids, plan.image_shape, plan.width)
    return images * (_correction(plan, grids.dtype) * math.prod(plan.grid_shape))


def oversampled_fft(
    images: Complex[Array, "batch *image"], grid_shape: tuple[int, ...], width: int = 0
) -> Complex[Array, "batch *padded"]:
    """The transform on a finer grid, axes reversed, with `width` periodic neighbours an axis."""
    for done, size in enumerate(reversed(grid_shape)):
        images = _padded(_fft(_wrapped(images, size), lax.FftType.FFT), width)
        images = jnp.moveaxis(images, -1, 1 + done)
    return images


def cropped_ifft(
    grids: Complex[Array, "batch *padded"], image_shape: tuple[int, ...], width: int = 0
) -> Complex[Array, "batch *image"]:
    """The adjoint of `oversampled_fft`, divided by the number of cells."""
    for axis, n in enumerate(image_shape):
        grids = _folded(jnp.moveaxis(grids, len(image_shape) - axis, -1), width)
        grids = _unwrapped(_fft(grids, lax.FftType.IFFT), n)
    return grids


def _fft(values: Complex[Array, "..."], kind: lax.FftType) -> Complex[Array, "..."]:
    return lax.fft(values, kind, values.shape[-1:])


def _wrapped(values: Complex[Array, "... n"], size: int) -> Complex[Array, "... size"]:
    """Zeros put between the indices from 0 on and the negative ones, which go to the end."""
    n = values.shape[-1]
    zeros = jnp.zeros((*values.shape[:-1], size - n), values.dtype)
    return jnp.concatenate([values[..., n // 2 :], zeros, values[..., : n // 2]], axis=-1)


def _unwrapped(values: Complex[Array, "... size"], n: int) -> Complex[Array, "... n"]:
    """The adjoint of `_wrapped`."""
    size = values.shape[-1]
    return jnp.concatenate([values[..., size - n // 2 :], values[..., : n - n // 2]], axis=-1)


def _padded(values: Complex[Array, "... size"], width: int) -> Complex[Array, "... padded"]:
    """A periodic axis with its neighbours before and after it."""
    if not width:
        return values
    before, after = width // 2, width - width // 2
    last = values[..., values.shape[-1] - before :]
    return jnp.concatenate([last, values, values[..., :after]], axis=-1)


def _folded(values: Complex[Array, "... padded"], width: int) -> Complex[Array, "... size"]:
    """The adjoint of `_padded`."""
    if not width:
        return values
    before, after = width // 2, width - width // 2
    n = values.shape[-1] - width
    beside = [(0, 0)] * (values.ndim - 1)
    last = jnp.pad(values[..., :before], [*beside, (n - before, 0)])
    start = jnp.pad(values[..., before + n :], [*beside, (0, n - after)])
    return values[..., before : before + n] + last + start


def _correction(plan: Plan, dtype: jnp.dtype) -> Array:
    """1/(φ̂ √N) of every pixel: deapodisation and the orthonormal scale."""
    real = jnp.finfo(dtype).dtype
    product = jnp.asarray(1 / math.sqrt(math.prod(plan.image_shape)), real)
    for axis, (n, size) in enumerate(zip(plan.image_shape, plan.grid_shape, strict=True)):
        factors = 1 / _kernel.transform(plan.width, plan.oversampling, n, size)
        beside = len(plan.image_shape) - 1 - axis
        product = product * jnp.asarray(factors.reshape(-1, *(1,) * beside), real)
    return product


def radians(plan: Plan, dtype: jnp.dtype) -> list[Array]:
    """The phase's derivative in each coordinate, 2π (n − N // 2)/N, to broadcast to the image."""
    return [
        jnp.asarray(2 * np.pi * (np.arange(n) - n // 2) / n, dtype).reshape(
            -1, *(1,) * (len(plan.image_shape) - 1 - axis)
        )
        for axis, n in enumerate(plan.image_shape)
    ]
