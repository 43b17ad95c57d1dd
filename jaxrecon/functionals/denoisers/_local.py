"""Filters that average each pixel with others in a window, weighted by how alike they are.

    D(x)(i) = Σ_o w_o(i) x(i + o) / Σ_o w_o(i)                                             (1)

over the offsets o of a square (cubic) window. One scan over half of the offsets serves the other
half too, because w_{−o}(i + o) = w_o(i); it holds two images, not a window of copies. Images may
have any rank; borders are reflected without repeating the edge.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxrecon.core import match_varying, pytree, static
from jaxrecon.functionals.denoisers._checks import real_image, unless_noiseless

Weigh = Callable[[Array, Array, Array], Array]


@pytree
class NonLocalMeans:
    """Averages pixels whose surroundings look alike (Buades, Coll and Morel, CVPR 2005).

    In equation (1) w = exp(−max(d − 2σ², 0)/h²), where d is the mean squared difference of the
    patches around the two pixels, 2σ² what noise alone makes of it, and h = strength · σ.

    Attributes:
        strength: h over sigma.
        patch: pixels along the side of a patch, odd.
        search: pixels from the middle of the window to its edge.

    Example:
        >>> noisy = 0.1 * jax.random.normal(jax.random.key(0), (24, 24))
        >>> bool(jnp.std(NonLocalMeans()(noisy, 0.1)) < 0.03)
        True
    """

    strength: Any = 0.7
    patch: int = static(default=5)
    search: int = static(default=8)

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image; x is real, of any rank, larger than search + patch / 2.

        Raises:
            ValueError: x is complex or too small, or `patch` is even.
        """
        radius = _radius("patch", self.patch)
        x = real_image(x, smallest=self.search + radius + 1)

        def denoise(sigma):
            def weigh(a, b, offset):
                del offset
                distance = _box((a - b) ** 2, radius)
                excess = jnp.maximum(distance - 2 * sigma**2, 0)
                return jnp.exp(-excess / (self.strength * sigma) ** 2)

            return _weighted_mean(x, weigh, self.search, radius)

        return unless_noiseless(denoise, x, sigma)


@pytree
class Bilateral:
    """Averages pixels that are near in place and in value (Tomasi and Manduchi, ICCV 1998).

    In equation (1) w = exp(−|o|²/(2 width²) − (x(i + o) − x(i))²/(2 h²)), h = strength · σ.

    Attributes:
        strength: h over sigma.
        width: of the spatial Gaussian, in pixels.
        search: pixels from the middle of the window to its edge.
    """

    strength: Any = 3.0
    width: Any = 1.5
    search: int = static(default=5)

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image; x is real, of any rank, larger than `search`.

        Raises:
            ValueError: x is complex or too small.
        """
        x = real_image(x, smallest=self.search + 1)

        def denoise(sigma):
            def weigh(a, b, offset):
                place = jnp.sum(offset**2) / (2 * self.width**2)
                return jnp.exp(-place - (a - b) ** 2 / (2 * (self.strength * sigma) ** 2))

            return _weighted_mean(x, weigh, self.search, 0)

        return unless_noiseless(denoise, x, sigma)


def _weighted_mean(x: Array, weigh: Weigh, search: int, radius: int) -> Array:
    """Equation (1); `weigh(a, b, offset)` sees arrays with `radius` more pixels on every side."""
    padded = jnp.pad(x, search + radius, mode="reflect")
    shape = tuple(n + search for n in x.shape)
    wide = tuple(n + 2 * radius for n in shape)
    cut = jax.lax.dynamic_slice

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def body(sums, offset):
        # Weights w_o for places from −search on where the offset points forwards, else from 0.
        origin = jnp.where(offset > 0, 0, search)
        here, there = cut(padded, origin, wide), cut(padded, origin + offset, wide)
        weight = weigh(here, there, offset.astype(x.dtype)).astype(x.dtype)
        ahead = cut(weight, search - origin, x.shape)
        behind = cut(weight, search - origin - offset, x.shape)
        mean = ahead * cut(padded, search + radius + offset, x.shape)
        mean += behind * cut(padded, search + radius - offset, x.shape)
        return (sums[0] + mean, sums[1] + ahead + behind), None

    start = match_varying((x, jnp.ones_like(x)), x)
    (total, weights), _ = jax.lax.scan(body, start, jnp.asarray(_half_window(search, x.ndim)))
    return total / weights


def _half_window(search: int, rank: int) -> np.ndarray:
    """One of each pair ±o of the offsets of a window, without zero, ``(offset, rank)``."""
    offsets = itertools.product(range(-search, search + 1), repeat=rank)
    return np.array([o for o in offsets if o > (0,) * rank], np.int32).reshape(-1, rank)


def _box(values: Array, radius: int) -> Array:
    """The mean over windows of 2·radius + 1 pixels that lie inside, axis by axis."""
    side = 2 * radius + 1
    for axis in range(values.ndim):
        n = values.shape[axis] - 2 * radius
        parts = [jax.lax.slice_in_dim(values, k, k + n, axis=axis) for k in range(side)]
        values = functools.reduce(jnp.add, parts)
    return values / math.pow(side, values.ndim)


def _radius(name: str, side: int) -> int:
    if side < 1 or side % 2 == 0:
        raise ValueError(f"`{name}` is {side}, expected an odd number of pixels")
    return side // 2
