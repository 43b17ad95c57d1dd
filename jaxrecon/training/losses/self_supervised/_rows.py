"""Which rows of a scan were measured, which belong together, and the scan of some of its rows.

To learn from measurements alone a scan is split: the network sees some of its rows and is judged
on others. Rows are told apart by *units*: phase-encoding points or lines of Cartesian k-space (all
coils of a point belong together, being one measurement of one spin system), shots of a trajectory,
views of a sinogram. A mask over units is a boolean array that broadcasts to the measurement; for an
operator with several measurements (`stack`) it is a tuple of masks.

`restrict(A, keep)` is diag(keep) A with sizes and program unchanged, so that `keep` may be traced;
statistical weights follow by themselves, because a row that is not kept is zero in A and in the
data. It is an operator of A's own kind where that has a mask (`Sense`), and elsewhere keeps A's
fast grams: (diag(k) A)ᴴ (diag(k) A) = Aᴴ diag(k²) A. For an operator of your own with a mask of its
own register a method: ``restrict.register(MyScan, ...)``, likewise for the other functions.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import Identity, LinearOperator, Operator, chain, operator, replace
from jaxrecon.core.operators._blocks import BlockDiagonal, Stack
from jaxrecon.core.operators._elementary import FFT, Diagonal
from jaxrecon.core.operators._operator import Composition, Scaled
from jaxrecon.physics.mri import NUFFT, Sense


@operator
class Restricted(LinearOperator):
    """diag(keep) A; built by `restrict`.

    Attributes:
        inner: A.
        keep: booleans or real weights that broadcast to A's range.
    """

    inner: LinearOperator
    keep: PyTree

    @property
    def domain(self) -> PyTree:
        return self.inner.domain

    @property
    def range(self) -> PyTree:
        return self.inner.range

    def forward(self, x: Any) -> Any:
        return weigh(self.keep, self.inner.forward(x))

    def adjoint(self, y: Any) -> Any:
        return self.inner.adjoint(weigh(self.keep, y))

    @property
    def gram(self) -> LinearOperator:
        return self.inner.weighted_gram(self._squares(1.0))

    def weighted_gram(self, weights: Any) -> LinearOperator:
        return self.inner.weighted_gram(self._squares(weights))

    def _squares(self, weights: Any) -> PyTree:
        """W k², broadcast to the range."""

        def one(keep, struct, w):
            squares = jnp.asarray(keep, jnp.finfo(struct.dtype).dtype) ** 2
            return jnp.broadcast_to(w * squares, struct.shape)

        if isinstance(weights, float):
            weights = jax.tree.map(lambda _: weights, self.range)
        return jax.tree.map(one, self.keep, self.range, weights)


@functools.singledispatch
def restrict(A: Any, keep: PyTree) -> Any:
    """The scan of the rows that `keep` keeps, at A's own sizes: diag(keep) A.

    Args:
        A: an operator, linear or not.
        keep: booleans (or real weights) that broadcast to the measurement, a tuple of them where
            that is a tuple.

    Raises:
        ValueError: `keep` does not broadcast to the measurement.

    Example:
        >>> from jaxrecon.core import identity
        >>> restrict(identity(jnp.ones(3)), jnp.array([True, False, True]))(jnp.ones(3)).tolist()
        [1.0, 0.0, 1.0]
    """
    _check_mask(keep, A.range)
    if isinstance(A, LinearOperator):
        return Restricted(A, keep)
    return chain(Diagonal(keep, A.range), A)


@restrict.register
def _(A: Sense, keep: Array) -> Operator:
    _check_mask(keep, A.range)
    spatial = jnp.broadcast_shapes(jnp.shape(keep), (1,) * (A.mask.ndim + 1))
    if spatial[0] > 1:  # another mask for each coil
        return Restricted(A, keep)
    return replace(A, mask=_both(A.mask, jnp.reshape(keep, spatial[1:])))


@restrict.register
def _(A: Diagonal, keep: Array) -> Operator:
    _check_mask(keep, A.range)
    return replace(A, weights=_both(A.weights, keep))


@restrict.register
def _(A: Composition, keep: PyTree) -> Operator:
    return Composition(restrict(A.outer, keep), A.inner)


@restrict.register
def _(A: Scaled, keep: PyTree) -> Operator:
    return Scaled(A.factor, restrict(A.inner, keep))


@restrict.register(Stack)
@restrict.register(BlockDiagonal)
def _(A: Any, keep: tuple) -> Operator:
    return type(A)(tuple(restrict(part, k) for part, k in zip(A.parts, keep, strict=True)))


@restrict.register
def _(A: Restricted, keep: PyTree) -> Operator:
    _check_mask(keep, A.range)
    return Restricted(A.inner, jax.tree.map(_both, A.keep, keep))


@functools.singledispatch
def measured(A: Any) -> PyTree:
    """The rows that A measures, as booleans that broadcast to the measurement.

    False where a mask makes A and the data zero; True everywhere in a scan without a mask.
    """
    return jax.tree.map(lambda s: jnp.ones((1,) * len(s.shape), bool), A.range)


@measured.register
def _(A: Sense) -> Array:
    return (A.mask != 0)[None]


@measured.register
def _(A: Diagonal) -> Array:
    return _with_rank(A.weights != 0, len(A.range.shape))


@measured.register
def _(A: Composition) -> PyTree:
    if isinstance(A.outer, Diagonal):
        return jax.tree.map(jnp.logical_and, measured(A.outer), measured(A.inner))
    return measured(A.outer)


@measured.register
def _(A: Scaled) -> PyTree:
    return measured(A.inner)


@measured.register(Stack)
@measured.register(BlockDiagonal)
def _(A: Any) -> tuple:
    return tuple(measured(part) for part in A.parts)


@measured.register
def _(A: Restricted) -> PyTree:
    kept = lambda k, m, s: _with_rank(jnp.asarray(k) != 0, len(s.shape)) & m  # noqa: E731
    return jax.tree.map(kept, A.keep, measured(A.inner), A.range)


@functools.singledispatch
def unmasked(A: Any) -> Any:
    """The scan with every row of k-space measured; A itself if it has no mask."""
    return A


@unmasked.register
def _(A: Sense) -> Operator:
    return replace(A, mask=jnp.ones((1,) * A.mask.ndim, bool))


@unmasked.register
def _(A: Composition) -> Operator:
    # A diagonal after a Fourier transform is a mask, after another scan statistical weights.
    if isinstance(A.outer, Diagonal):
        return A.inner if _is_fourier(A.inner) else A
    return Composition(unmasked(A.outer), A.inner)


@unmasked.register
def _(A: Scaled) -> Operator:
    return Scaled(A.factor, unmasked(A.inner))


@unmasked.register(Stack)
@unmasked.register(BlockDiagonal)
def _(A: Any) -> Operator:
    return type(A)(tuple(unmasked(part) for part in A.parts))


@unmasked.register
def _(A: Restricted) -> Operator:
    return unmasked(A.inner)


@functools.singledispatch
def unit_axes(A: Any) -> PyTree:
    """The axes of the measurement along which its units lie, the first by default."""
    axes = [(0,) if s.shape else () for s in jax.tree.leaves(A.range)]
    return axes[0] if isinstance(A.range, jax.ShapeDtypeStruct) else tuple(axes)


@unit_axes.register
def _(A: Sense) -> tuple[int, ...]:
    return _long_axes((1, *A.mask.shape)) or tuple(range(1, A.mask.ndim + 1))


@unit_axes.register
def _(A: NUFFT) -> tuple[int, ...]:
    return (len(A.batch),)


@unit_axes.register(FFT)
@unit_axes.register(Identity)
def _(A: Any) -> tuple[int, ...]:
    return tuple(range(len(A.range.shape)))


@unit_axes.register
def _(A: Diagonal) -> tuple[int, ...]:
    rank = len(A.range.shape)
    return _long_axes(_with_rank(A.weights, rank).shape) or tuple(range(rank))


@unit_axes.register
def _(A: Composition) -> PyTree:
    # A mask on k-space says itself what its units are, statistical weights of a scan do not.
    if isinstance(A.outer, Diagonal) and not _is_fourier(A.inner):
        return unit_axes(A.inner)
    return unit_axes(A.outer)


@unit_axes.register(Scaled)
@unit_axes.register(Restricted)
def _(A: Any) -> PyTree:
    return unit_axes(A.inner)


@unit_axes.register(Stack)
@unit_axes.register(BlockDiagonal)
def _(A: Any) -> tuple:
    return tuple(unit_axes(part) for part in A.parts)


def units(A: Operator, axes: PyTree = None) -> PyTree:
    """The measured units of a scan: booleans of length 1 along the axes on which rows go together.

    Args:
        A: the scan.
        axes: of the measurement, along which rows are told apart; those natural to A if None: the
            mask's for Cartesian k-space, shots of a trajectory, views of a sinogram, the pixels of
            a denoising problem. A tuple of them for several measurements.

    Example:
        >>> from jaxrecon.physics import mri
        >>> lines = jnp.arange(6)[None] % 2 == 0
        >>> A = mri.sense(jnp.ones((4, 8, 6), complex), lines)
        >>> units(A).shape, int(units(A).sum())
        ((1, 1, 6), 3)
    """
    axes = unit_axes(A) if axes is None else axes

    def one(rows, struct, own):
        rank = len(struct.shape)
        own = {a % rank for a in own}
        shared = tuple(a for a in range(rank) if a not in own)
        return jnp.any(jnp.broadcast_to(rows, struct.shape), shared, keepdims=True)

    if isinstance(A.range, jax.ShapeDtypeStruct):
        return one(measured(A), A.range, axes)
    return tuple(one(*part) for part in zip(measured(A), A.range, axes, strict=True))


def weigh(mask: PyTree, y: PyTree) -> PyTree:
    """The data times a mask or real weights, in the data's precision."""
    return jax.tree.map(lambda m, v: v * jnp.asarray(m, v.real.dtype), mask, y)


def complement(A: Operator, keep: PyTree) -> PyTree:
    """The measured rows that `keep` leaves out."""
    return jax.tree.map(lambda m, k: m & ~k, measured(A), keep)


def count(A: Operator) -> Array:
    """The number of real numbers that A measures: complex ones count as two."""

    def one(rows, struct):
        repeats = math.prod(n for n, m in zip(struct.shape, rows.shape, strict=True) if m == 1)
        parts = 2 if jnp.issubdtype(struct.dtype, jnp.complexfloating) else 1
        return parts * repeats * jnp.sum(rows, dtype=jnp.float32)

    return sum(jax.tree.leaves(jax.tree.map(one, measured(A), A.range)), jnp.zeros(()))


def _is_fourier(A: Any) -> bool:
    """Whether what A gives is k-space or an image, whose points a mask tells apart."""
    while isinstance(A, Composition | Scaled):
        A = A.outer if isinstance(A, Composition) else A.inner
    return isinstance(A, FFT | Identity)


def _both(mask: Array, keep: Any) -> Array:
    """The product of two masks; booleans stay booleans."""
    keep = jnp.asarray(keep)
    if mask.dtype == bool:
        return mask & keep if keep.dtype == bool else mask * keep
    return mask * keep.astype(mask.real.dtype)


def _check_mask(keep: PyTree, structs: PyTree) -> None:
    shapes = [jnp.shape(k) for k in jax.tree.leaves(keep)]
    expected = [s.shape for s in jax.tree.leaves(structs)]
    try:
        fits = [jnp.broadcast_shapes(a, b) == b for a, b in zip(shapes, expected, strict=True)]
    except ValueError:
        fits = [False]
    if not all(fits):
        raise ValueError(f"`keep` has shapes {shapes}, expected some that broadcast to {expected}")


def _with_rank(x: Array, rank: int) -> Array:
    return jnp.reshape(x, (1,) * (rank - jnp.ndim(x)) + jnp.shape(x))


def _long_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a for a, n in enumerate(shape) if n > 1)
