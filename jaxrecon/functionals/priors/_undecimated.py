"""Undecimated (stationary) wavelets: a tight frame that commutes with shifts.

Level l of the algorithme à trous filters with holes of 2^l − 1 zeros and keeps every sample; along
an axis, periodic, with h the scaling taps of an orthonormal wavelet and g its mirror,

    low_n = Σ_k h_k x_{n + 2^l k} / √2,   high_n = Σ_k g_k x_{n + 2^l k} / √2,                 (1)

so that ‖low‖² + ‖high‖² = ‖x‖² for every size (Nason and Silverman, 1995; the factor is PyWavelets'
``norm=True``). Axes are filtered one after the other, 2^d bands a level, and the next level takes
the band that is low on all. WᴴW = 1, but W Wᴴ ≠ 1: the coefficients of images are a subspace.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import LinearOperator, identity, operator, static
from jaxrecon.functionals.priors._taps import mirror, taps
from jaxrecon.functionals.priors._wavelet import default_levels, wrap

Axes = tuple[int, ...]


@operator
class UndecimatedWavelet(LinearOperator):
    """Periodic undecimated wavelet transform to ``(band, *shape)``.

    Band 0 is the coarsest approximation; then come the 2^d − 1 details of every level, coarsest
    level first, each high on the axes that are set in binary counting, the last axis fastest.
    """

    struct: jax.ShapeDtypeStruct = static()
    taps: tuple[float, ...] = static()
    levels: int = static()
    axes: Axes = static()

    @property
    def domain(self) -> PyTree:
        return self.struct

    @property
    def range(self) -> PyTree:
        n_bands = 1 + self.levels * (2 ** len(self.axes) - 1)
        return jax.ShapeDtypeStruct((n_bands, *self.struct.shape), self.struct.dtype)

    def forward(self, x: Array) -> Array:
        details: list[Array] = []
        for level in range(self.levels):
            bands = [x]
            for axis in self.axes:
                bands = [part for b in bands for part in _analyse(b, axis, self.taps, level)]
            x, *rest = bands
            details = rest + details
        return jnp.stack([x, *details])

    def adjoint(self, y: Array) -> Array:
        x, n_details = y[0], 2 ** len(self.axes) - 1
        for i, level in enumerate(reversed(range(self.levels))):
            bands = [x, *y[1 + i * n_details : 1 + (i + 1) * n_details]]
            for axis in reversed(self.axes):
                pairs = zip(bands[::2], bands[1::2], strict=True)
                bands = [_synthesise(*pair, axis, self.taps, level) for pair in pairs]
            (x,) = bands
        return x

    @property
    def gram(self) -> LinearOperator:
        return identity(self.struct)


def undecimated_wavelet(
    domain: Any, name: str = "db2", *, levels: int | None = None, axes: Axes | None = None
) -> LinearOperator:
    """Undecimated wavelet transform of arrays like `domain`, an isometry to ``(band, *shape)``.

    Args:
        domain: array or struct; real or complex, any shape.
        name: as for `wavelet`.
        levels: number of levels; by default as many as `wavelet` takes.
        axes: the axes to transform; all by default.

    Raises:
        ValueError: unknown name, or more levels than the sizes allow.

    Example:
        >>> undecimated_wavelet(jnp.zeros((30, 21)), levels=2).range.shape
        (7, 30, 21)
    """
    struct = jax.ShapeDtypeStruct(tuple(domain.shape), jnp.dtype(domain.dtype))
    rank = len(struct.shape)
    axes = tuple(range(rank)) if axes is None else tuple(a % rank for a in axes)
    levels = default_levels(tuple(struct.shape[a] for a in axes), levels)
    return UndecimatedWavelet(struct, taps(name), levels, axes)


def _analyse(x: Array, axis: int, taps: tuple[float, ...], level: int) -> tuple[Array, Array]:
    """Equation (1) along one axis."""
    n, hole = x.shape[axis], 2**level
    extended = wrap(x, axis, 0, hole * (len(taps) - 1))
    views = [
        jax.lax.slice_in_dim(extended, hole * k, hole * k + n, axis=axis) for k in range(len(taps))
    ]
    return _combine(taps, views), _combine(mirror(taps), views)


def _synthesise(low: Array, high: Array, axis: int, taps: tuple[float, ...], level: int) -> Array:
    """The adjoint of `_analyse`: x_m = Σ_k (h_k low_{m − 2^l k} + g_k high_{m − 2^l k}) / √2."""
    n, hole, reach = low.shape[axis], 2**level, 2**level * (len(taps) - 1)

    def shifted(band):
        extended = wrap(band, axis, reach, 0)
        starts = (reach - hole * k for k in range(len(taps)))
        return [jax.lax.slice_in_dim(extended, a, a + n, axis=axis) for a in starts]

    return _combine(taps, shifted(low)) + _combine(mirror(taps), shifted(high))


def _combine(taps: tuple[float, ...], views: list[Array]) -> Array:
    terms = (h / 2**0.5 * v for h, v in zip(taps, views, strict=True))
    return sum(terms, start=jnp.zeros((), views[0].dtype))
