"""Orthogonal wavelets and the sparsity they promote.

One level along an axis of even length N, periodic, h the 2p scaling taps and
g_k = (−1)^k h_{2p−1−k}:

    low_n = Σ_k h_k x_{(2n+k) mod N},   high_n = Σ_k g_k x_{(2n+k) mod N},                  (1)

an orthonormal map of x to (low, high). Levels recurse on the low part of all axes (Mallat's
layout: coarse block first on every axis).

An axis that 2^levels does not divide is zero-padded, centred, to the next multiple. The transform
stays an exact isometry (WᴴW = 1) with an exact adjoint, but is then no longer onto, so that
x ↦ Wᴴ soft(W x) stops being the exact proximal map of ‖W·‖₁: it is that of the padded problem,
projected. For sizes that 2^levels divides it is exact.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import LinearOperator, operator, pad, pytree, replace, static
from jaxrecon.functionals._functional import Functional
from jaxrecon.functionals._norms import L1, soft_threshold
from jaxrecon.functionals.priors._taps import mirror, taps
from jaxrecon.functionals.priors._transform import TransformL1

Axes = tuple[int, ...]


@operator
class Wavelet(LinearOperator):
    """Orthonormal periodic wavelet transform; coefficients lie in the (padded) image's shape."""

    struct: jax.ShapeDtypeStruct = static()
    taps: tuple[float, ...] = static()
    levels: int = static()
    axes: Axes = static()

    @property
    def domain(self) -> PyTree:
        return self.struct

    @property
    def range(self) -> PyTree:
        return jax.ShapeDtypeStruct(self._padded, self.struct.dtype)

    @property
    def _padded(self) -> tuple[int, ...]:
        unit = 2**self.levels
        shape = list(self.struct.shape)
        for axis in self.axes:
            shape[axis] = -(-shape[axis] // unit) * unit
        return tuple(shape)

    def forward(self, x: Array) -> Array:
        x = pad(self.struct, self._padded).forward(x)
        for level in range(self.levels):
            block = self._block(level)
            x = x.at[block].set(self._analyse(x[block])) if level else self._analyse(x)
        return x

    def adjoint(self, y: Array) -> Array:
        for level in reversed(range(self.levels)):
            block = self._block(level)
            y = y.at[block].set(self._synthesise(y[block])) if level else self._synthesise(y)
        return pad(self.struct, self._padded).adjoint(y)

    def _block(self, level: int) -> tuple[slice, ...]:
        """The coarse corner that this level transforms."""
        sizes = (n >> level if a in self.axes else n for a, n in enumerate(self._padded))
        return tuple(slice(0, n) for n in sizes)

    def _analyse(self, x: Array) -> Array:
        return functools.reduce(lambda x, axis: _analyse(x, axis, self.taps), self.axes, x)

    def _synthesise(self, y: Array) -> Array:
        return functools.reduce(lambda y, axis: _synthesise(y, axis, self.taps), self.axes, y)


@pytree
class WaveletL1(Functional):
    """w ‖W S x‖₁ with a wavelet transform W and a cyclic shift S.

    With an orthonormal W (`wavelet`) the proximal map is exact where the transform is onto (see
    the module's text). A stochastic solver then draws a new shift at every step (`randomised`),
    which removes the blocking of a transform that is not shift-invariant: random cycle spinning
    (Figueiredo and Nowak, IEEE Trans. Image Process. 12, 2003). `CycleSpin` averages over given
    shifts instead.

    With an undecimated W, which needs no shifts, the proximal map is iterative, `TransformL1`'s.

    Args:
        weight: w, a scalar or an array that broadcasts against W's range.
        transform: W.
        shift: of each of W's axes, integers; none if None.
    """

    weight: Any
    transform: Any
    shift: Any = None

    def __call__(self, x: Array) -> Array:
        return L1(self.weight)(self.transform.forward(self._shifted(x, 1)))

    def prox(self, x: Array, step: Any) -> Array:
        x = self._shifted(x, 1)
        if isinstance(self.transform, Wavelet):
            shrunk = soft_threshold(self.transform.forward(x), step * self.weight)
            return self._shifted(self.transform.adjoint(shrunk), -1)
        return self._shifted(TransformL1(self.weight, self.transform).prox(x, step), -1)

    def randomised(self, key: Key[Array, ""]) -> "WaveletL1":
        """The same with a random cyclic shift of up to one coarsest cell on each axis."""
        if not isinstance(self.transform, Wavelet):
            return self
        cell = 2**self.transform.levels
        return replace(self, shift=jax.random.randint(key, (len(self.transform.axes),), 0, cell))

    def _shifted(self, x: Array, sign: int) -> Array:
        return x if self.shift is None else jnp.roll(x, sign * self.shift, self.transform.axes)


@pytree
class CycleSpin(Functional):
    """A penalty with a `shift` averaged over cyclic shifts ``(n_shifts, n_axes)``.

    Its value is the mean of the shifted penalties. The mean of their proximal maps stands for the
    proximal map (Coifman and Donoho, 1995): a proximal average, not the exact map of the mean.

    Args:
        inner: a functional with a field `shift`: `WaveletL1`, `LocallyLowRank`.
        shifts: integers.
    """

    inner: Any
    shifts: Any

    def __call__(self, x: Array) -> Array:
        return jnp.mean(jax.lax.map(lambda s: replace(self.inner, shift=s)(x), self.shifts))

    def prox(self, x: Array, step: Any) -> Array:
        one = lambda s: replace(self.inner, shift=s).prox(x, step)  # noqa: E731
        return jnp.mean(jax.lax.map(one, self.shifts), 0)


def wavelet(
    domain: Any, name: str = "db4", *, levels: int | None = None, axes: Axes | None = None
) -> LinearOperator:
    """Orthonormal wavelet transform of arrays like `domain`.

    Args:
        domain: array or struct; real or complex, any shape.
        name: "haar", "db1" … "db20" (Daubechies) or "sym2" … "sym20" (symlets), with the number of
            vanishing moments.
        levels: number of levels; by default as many as keep the coarse block no smaller than 16.
        axes: the axes to transform; all by default.

    Raises:
        ValueError: unknown name, or more levels than the sizes allow.

    Example:
        >>> W = wavelet(jnp.zeros((30, 21)), "db2", levels=2)
        >>> W.range.shape
        (32, 24)
    """
    struct = jax.ShapeDtypeStruct(tuple(domain.shape), jnp.dtype(domain.dtype))
    rank = len(struct.shape)
    axes = tuple(range(rank)) if axes is None else tuple(a % rank for a in axes)
    chosen = default_levels(tuple(struct.shape[a] for a in axes), levels)
    return Wavelet(struct, taps(name), chosen, axes)


def default_levels(sizes: tuple[int, ...], levels: int | None) -> int:
    """The number of levels, checked; by default the coarse block is kept no smaller than 16."""
    most = max(int(math.log2(max(min(sizes), 1))), 0)
    chosen = max(min(most - 4, 5), 1) if levels is None else levels
    if not 1 <= chosen <= max(most, 1):
        raise ValueError(f"`levels` is {levels}, expected 1 to {most} for axes of {min(sizes)}")
    return chosen


def wrap(x: Array, axis: int, before: int, after: int) -> Array:
    """Periodic extension, also by more than the axis is long."""
    widths = [(before, after) if a == axis else (0, 0) for a in range(x.ndim)]
    return jnp.pad(x, widths, mode="wrap")


def _analyse(x: Array, axis: int, taps: tuple[float, ...]) -> Array:
    """Equation (1) along one axis: low half first."""
    n = x.shape[axis]
    extended = wrap(x, axis, 0, len(taps) - 2)
    views = [
        jax.lax.slice_in_dim(extended, k, k + n - 1, stride=2, axis=axis) for k in range(len(taps))
    ]
    low = sum(h * v for h, v in zip(taps, views, strict=True))
    high = sum(g * v for g, v in zip(mirror(taps), views, strict=True))
    return jnp.concatenate([low, high], axis)


def _synthesise(y: Array, axis: int, taps: tuple[float, ...]) -> Array:
    """The adjoint of `_analyse`: x_{2m+p} = Σ_j h_{2j+p} low_{m−j} + g_{2j+p} high_{m−j}."""
    half, reach = y.shape[axis] // 2, len(taps) // 2 - 1
    low, high = (jax.lax.slice_in_dim(y, a, a + half, axis=axis) for a in (0, half))
    low, high = wrap(low, axis, reach, 0), wrap(high, axis, reach, 0)
    shifted = lambda c, j: jax.lax.slice_in_dim(c, reach - j, reach - j + half, axis=axis)  # noqa: E731
    wavelet_taps = mirror(taps)
    phases = [
        sum(
            taps[2 * j + p] * shifted(low, j) + wavelet_taps[2 * j + p] * shifted(high, j)
            for j in range(reach + 1)
        )
        for p in (0, 1)
    ]
    return jnp.stack(phases, axis + 1).reshape(y.shape)
