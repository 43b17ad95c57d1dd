"""Filters over a small window of each pixel: Gaussian, adaptive Wiener, median.

Images may have any rank; borders are reflected, the edge pixel repeated.
"""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.core import pytree, static
from jaxrecon.functionals.denoisers._checks import real_image, unless_noiseless

# Up to this many values a network of minima and maxima beats a sort.
_LARGEST_NETWORK = 25


@pytree
class Gaussian:
    """Convolution with a Gaussian: linear, and the same for every sigma but zero.

    Attributes:
        width: standard deviation in pixels, a scalar or one for each axis.
        radius: where the kernel ends, in pixels.
    """

    width: Any = 1.0
    radius: int = static(default=4)

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The smoothed image; x is real."""
        x = real_image(x)
        return unless_noiseless(lambda _: self._smooth(x), x, sigma)

    def _smooth(self, x: Array) -> Array:
        places = jnp.arange(-self.radius, self.radius + 1, dtype=x.dtype)
        for axis, width in enumerate(jnp.broadcast_to(jnp.asarray(self.width, x.dtype), x.ndim)):
            weights = jax.nn.softmax(-0.5 * (places / width) ** 2)
            x = _correlate(x, weights, axis)
        return x


@pytree
class Wiener:
    """Pulls each pixel to its local mean as far as noise explains the local variance.

    D(x) = m + max(v − σ², 0)/max(v, σ²) · (x − m), with mean m and variance v over a window (Lee,
    IEEE Trans. Pattern Anal. Mach. Intell. 2, 1980).

    Attributes:
        window: odd number of pixels along each axis, one for all axes or one for each.
    """

    window: int | tuple[int, ...] = static(default=5)

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image; x is real.

        Raises:
            ValueError: x is complex, or a window is even.
        """
        x = real_image(x)
        sides = _sides(self.window, x.ndim)

        def denoise(sigma):
            mean = _box_mean(x, sides)
            variance = jnp.maximum(_box_mean(x**2, sides) - mean**2, 0)
            gain = jnp.maximum(variance - sigma**2, 0) / jnp.maximum(variance, sigma**2)
            return mean + gain * (x - mean)

        return unless_noiseless(denoise, x, sigma)


@pytree
class Median:
    """The median over a window: robust against outliers, the same for every sigma but zero.

    Attributes:
        window: odd number of pixels along each axis, one for all axes or one for each.

    Example:
        >>> Median(3)(jnp.eye(4), 1.0).sum().item()
        2.0
    """

    window: int | tuple[int, ...] = static(default=3)

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The filtered image; x is real.

        Raises:
            ValueError: x is complex, or a window is even.
        """
        x = real_image(x)
        sides = _sides(self.window, x.ndim)
        return unless_noiseless(lambda _: _median(_shifts(x, sides)), x, sigma)


def _median(values: list[Array]) -> Array:
    """The middle one of an odd number of arrays, element by element."""
    middle = len(values) // 2
    if len(values) > _LARGEST_NETWORK:
        return jnp.sort(jnp.stack(values, -1), -1)[..., middle]
    # Of middle + 2 values neither the least nor the largest is the median of all: forget both,
    # take in one more, and so on.
    kept, waiting = values[: middle + 2], values[middle + 2 :]
    while len(kept) > 1:
        kept = _without_extremes(kept) + waiting[:1]
        waiting = waiting[1:]
    return kept[0]


def _without_extremes(values: list[Array]) -> list[Array]:
    """All but the least and the largest, by exchanges of neighbours."""
    values = list(values)
    last = len(values) - 1
    for i in range(last):
        values[i], values[i + 1] = _ordered(values[i], values[i + 1])
    for i in reversed(range(last - 1)):
        values[i], values[i + 1] = _ordered(values[i], values[i + 1])
    return values[1:last]


def _ordered(a: Array, b: Array) -> tuple[Array, Array]:
    return jnp.minimum(a, b), jnp.maximum(a, b)


def _shifts(x: Array, sides: tuple[int, ...]) -> list[Array]:
    """The image seen from every place of the window."""
    padded = jnp.pad(x, [(s // 2, s // 2) for s in sides], mode="symmetric")
    corners = itertools.product(*map(range, sides))
    return [
        padded[tuple(slice(k, k + n) for k, n in zip(corner, x.shape, strict=True))]
        for corner in corners
    ]


def _box_mean(x: Array, sides: tuple[int, ...]) -> Array:
    weights = lambda n: jnp.full(n, 1 / n, x.dtype)  # noqa: E731
    step = lambda x, axis: _correlate(x, weights(sides[axis]), axis)  # noqa: E731
    return functools.reduce(step, range(x.ndim), x)


def _correlate(x: Array, weights: Float[Array, " n"], axis: int) -> Array:
    n, reach = x.shape[axis], len(weights) // 2
    padded = jnp.pad(x, [(reach * (a == axis),) * 2 for a in range(x.ndim)], mode="symmetric")
    parts = (w * jax.lax.slice_in_dim(padded, k, k + n, axis=axis) for k, w in enumerate(weights))
    return functools.reduce(jnp.add, parts)


def _sides(window: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    sides = (window,) * rank if isinstance(window, int) else window
    if len(sides) != rank or any(s < 1 or s % 2 == 0 for s in sides):
        raise ValueError(f"`window` is {window}, expected one odd size for each of {rank} axes")
    return sides
