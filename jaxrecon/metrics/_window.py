"""Weighted local means under a separable window, without padding."""

import functools
import operator as op

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def gaussian_window(sigma: float | int, radius: int) -> np.ndarray:
    """2·radius + 1 weights of a Gaussian, summing to 1."""
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return weights / weights.sum()


def uniform_window(size: int) -> np.ndarray:
    """`size` equal weights, summing to 1."""
    return np.full(size, 1 / size)


def local_mean(x: Float[Array, "..."], window: np.ndarray, n_axes: int) -> Float[Array, "..."]:
    """Means under the window along the last axes, at positions where all of it is inside."""
    for axis in range(x.ndim - n_axes, x.ndim):
        x = _correlate(tuple(window.tolist()), axis, x)
    return x


# A sum of shifted slices is many times faster on CPU than XLA's convolution; autodiff's transpose
# of it (a sum of padded arrays) is not, so the pullback is written as the correlation that it is.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _correlate(window: tuple[float, ...], axis: int, x: Array) -> Array:
    length = x.shape[axis] - len(window) + 1
    terms = (
        weight * jax.lax.slice_in_dim(x, i, i + length, axis=axis)
        for i, weight in enumerate(window)
    )
    return functools.reduce(op.add, terms)


def _forward(window: tuple[float, ...], axis: int, x: Array) -> tuple[Array, None]:
    return _correlate(window, axis, x), None


def _pullback(window: tuple[float, ...], axis: int, _: None, cotangent: Array) -> tuple[Array]:
    margins = [(0, 0)] * cotangent.ndim
    margins[axis] = (len(window) - 1, len(window) - 1)
    return (_correlate(window[::-1], axis, jnp.pad(cotangent, margins)),)


_correlate.defvjp(_forward, _pullback)
