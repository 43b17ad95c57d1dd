"""Denoisers that shrink the coefficients of a transform: wavelets, and sliding cosine transforms.

Both average over shifts of the transform, which takes away the blocking of a single one (Coifman
and Donoho 1995).
"""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array

from jaxrecon.core import match_varying, pytree, static
from jaxrecon.functionals._norms import soft_threshold
from jaxrecon.functionals.denoisers._checks import real_image, unless_noiseless
from jaxrecon.functionals.denoisers.bm3d._transforms import dct
from jaxrecon.functionals.priors._wavelet import wavelet


@pytree
class WaveletShrinkage:
    """Soft thresholding of the details of an orthonormal wavelet transform, cycle-spun.

    The threshold of every subband (orientation and level):

    - "bayes": σ²/√max(mean c² − σ², 0) (Chang, Yu and Vetterli, IEEE Trans. Image Process. 9,
      2000); all of the subband goes where that is infinite;
    - "universal": σ √(2 ln N), N the image's pixels (Donoho and Johnstone 1994);
    - "sure": the one among the subband's magnitudes that minimises Stein's unbiased estimate of the
      risk (Donoho and Johnstone 1995).

    Thresholds are differentiated as functions of the image, except that "sure" holds its choice
    fixed.

    Attributes:
        strength: factor on the thresholds.
        rule: how they are chosen.
        name: the wavelet, "haar" or "db1" … "db20".
        levels: by default as many as keep the coarse block no smaller than 16.
        spins: cyclic shifts along each axis.
    """

    strength: Any = 1.0
    rule: str = static(default="bayes")
    name: str = static(default="db2")
    levels: int | None = static(default=None)
    spins: int = static(default=4)

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image; x is real, of any rank.

        Raises:
            ValueError: x is complex, or the rule or the wavelet is unknown.
        """
        x = real_image(x)
        if self.rule not in _RULES:
            raise ValueError(f"`rule` is {self.rule!r}, expected one of {', '.join(_RULES)}")
        W = wavelet(x, self.name, levels=self.levels)
        shifts = itertools.product(range(self.spins), repeat=x.ndim)
        axes = tuple(range(x.ndim))

        def denoise(sigma):
            def spin(shift):
                coefficients = self._shrink(W, W.forward(jnp.roll(x, shift, axes)), sigma)
                return jnp.roll(W.adjoint(coefficients), -shift, axes)

            return jnp.mean(jax.lax.map(spin, jnp.array(list(shifts), jnp.int32)), 0)

        return unless_noiseless(denoise, x, sigma)

    def _shrink(self, W: Any, coefficients: Array, sigma: Array) -> Array:
        n = math.prod(W.domain.shape)
        for band in _subbands(coefficients.shape, W.levels):
            threshold = self.strength * _RULES[self.rule](coefficients[band], sigma, n)
            shrunk = soft_threshold(coefficients[band], threshold)
            coefficients = coefficients.at[band].set(shrunk)
        return coefficients


def _subbands(shape: tuple[int, ...], levels: int) -> list[tuple[slice, ...]]:
    """Where the details of every level and orientation stand."""
    bands = []
    for level in range(1, levels + 1):
        half = tuple(n >> level for n in shape)
        for high in itertools.product((0, 1), repeat=len(shape)):
            if any(high):
                corner = zip(high, half, strict=True)
                bands.append(tuple(slice(h * m, (h + 1) * m) for h, m in corner))
    return bands


def _bayes(band: Array, sigma: Array, n: int) -> Array:
    del n
    signal = jnp.mean(band**2) - sigma**2
    visible = signal > 0
    return jnp.where(visible, sigma**2 / jnp.sqrt(jnp.where(visible, signal, 1)), jnp.inf)


def _universal(band: Array, sigma: Array, n: int) -> Array:
    del band
    return sigma * math.sqrt(2 * math.log(n))


def _sure(band: Array, sigma: Array, n: int) -> Array:
    """Stein's risk of each magnitude t as the threshold: N − 2 #{|c| ≤ t} + Σ min(c², t²)."""
    del n
    squares = jnp.sort(jax.lax.stop_gradient(band / sigma).ravel() ** 2)
    rank = jnp.arange(1, squares.size + 1)
    below = jnp.cumsum(squares)
    risk = squares.size - 2 * rank + below + (squares.size - rank) * squares
    return sigma * jnp.sqrt(squares[jnp.argmin(risk)])


_RULES = {"bayes": _bayes, "universal": _universal, "sure": _sure}


@pytree
class DCTDenoiser:
    """Hard thresholding in a sliding cosine transform (Yu and Sapiro, Image Process. On Line 2011).

    Every n×n (n×n×n …) patch is transformed, its coefficients up to strength · σ are set to zero
    (never the mean), and the overlapping results are averaged, by default weighted with
    1/(number of kept coefficients) (Guleryuz, Asilomar 2003). The image is extended by reflection,
    so that each pixel is in n^rank patches. Works shift by shift: a few images of memory.

    Attributes:
        strength: threshold over sigma.
        patch: n.
        adaptive: whether patches are weighted; False is the plain average.
    """

    strength: Any = 2.7
    patch: int = static(default=8)
    adaptive: bool = static(default=True)

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image; x is real, of any rank.

        Raises:
            ValueError: x is complex.
        """
        x = real_image(x)
        n, sigma = self.patch, jnp.asarray(sigma, x.dtype)
        tiles = [-(-(size + n - 1) // n) for size in x.shape]
        ends = [(n - 1, n * t - size) for t, size in zip(tiles, x.shape, strict=True)]
        padded = jnp.pad(x, ends, mode="symmetric")
        covered = tuple(n * t for t in tiles)

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def body(sums, shift):
            blocks = jax.lax.dynamic_slice(padded, shift, covered)
            parts = self._filter(blocks.reshape([m for t in tiles for m in (t, n)]), sigma)

            def add(total, part):
                old = jax.lax.dynamic_slice(total, shift, covered)
                return jax.lax.dynamic_update_slice(total, old + part.reshape(covered), shift)

            return jax.tree.map(add, sums, parts), None

        shifts = jnp.array(list(itertools.product(range(n), repeat=x.ndim)), jnp.int32)
        zero = match_varying((jnp.zeros_like(padded),) * 2, padded)
        (total, weights), _ = jax.lax.scan(body, zero, shifts)
        inside = tuple(slice(n - 1, n - 1 + size) for size in x.shape)
        return total[inside] / weights[inside]

    def _filter(self, blocks: Array, sigma: Array) -> tuple[Array, Array]:
        """Blocks with pixel axes 1, 3, …: their weighted estimates and their weights."""
        axes = tuple(range(1, blocks.ndim, 2))
        basis = dct(self.patch)
        spectrum = functools.reduce(lambda b, axis: _along(basis, b, axis), axes, blocks)
        mean = np.zeros([self.patch if a in axes else 1 for a in range(blocks.ndim)], bool)
        mean.flat[0] = True
        kept = mean | (jnp.abs(spectrum) > self.strength * sigma)
        filtered = jnp.where(kept, spectrum, 0)
        estimate = functools.reduce(lambda b, axis: _along(basis.T, b, axis), axes, filtered)
        number = jnp.sum(kept, axes, keepdims=True).astype(blocks.dtype)
        weight = 1 / number if self.adaptive else jnp.ones_like(number)
        return weight * estimate, jnp.broadcast_to(weight, blocks.shape)


def _along(matrix: np.ndarray, blocks: Array, axis: int) -> Array:
    weights = jnp.asarray(matrix, blocks.dtype)
    product = jnp.tensordot(weights, blocks, (1, axis), precision=Precision.HIGHEST)
    return jnp.moveaxis(product, 0, axis)
