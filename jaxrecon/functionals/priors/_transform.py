"""Sparsity in a transform, and the discrete cosine transform.

    y_k = c_k Σ_n x_n cos(π (2n + 1) k / 2N),   c_0 = √(1/N), c_k = √(2/N)                      (1)

is the orthonormal transform of type II along an axis, of all of it or of blocks of N. It is a
product with a matrix, which suits blocks and accelerators; its cost per sample is N for each axis.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxrecon.core import Identity, LinearOperator, identity, operator, pytree, static
from jaxrecon.functionals._functional import Functional
from jaxrecon.functionals._norms import L1, soft_threshold
from jaxrecon.functionals.priors._dual import dual_prox

Axes = tuple[int, ...]


@operator
class DCT(LinearOperator):
    """Orthonormal cosine transform (1) along some axes, in blocks; coefficients lie in place."""

    struct: jax.ShapeDtypeStruct = static()
    axes: Axes = static()
    block: tuple[int, ...] = static()

    @property
    def domain(self) -> PyTree:
        return self.struct

    @property
    def range(self) -> PyTree:
        return self.struct

    def forward(self, x: Array) -> Array:
        return self._along_axes(x, transpose=False)

    def adjoint(self, y: Array) -> Array:
        return self._along_axes(y, transpose=True)

    @property
    def gram(self) -> LinearOperator:
        return identity(self.struct)

    def _along_axes(self, x: Array, transpose: bool) -> Array:
        for axis, n in zip(self.axes, self.block, strict=True):
            matrix = _cosines(n, x.real.dtype)
            x = _product(matrix.T if transpose else matrix, x, axis)
        return x


@pytree
class TransformL1(Functional):
    """‖w ⊙ W x‖₁ for a transform W that keeps lengths, WᴴW = 1.

    The proximal map is exact, Wᴴ soft(W x), where W is orthonormal (also onto). For a tight frame,
    such as the undecimated wavelets, that would be another map (frame shrinkage); there it is found
    by `n_iter` steps on the dual, see `_dual`. Or give the primal-dual solver ``(L1(w), W)``.

    Args:
        weight: w, a scalar or an array that broadcasts against W's range.
        transform: W.
        n_iter: iterations of the proximal map, unless it is exact.

    Example:
        >>> f = TransformL1(1.0, dct(jnp.zeros(4)))
        >>> f.prox(jnp.full(4, 2.0), 1.0).tolist()
        [1.5, 1.5, 1.5, 1.5]
    """

    weight: Any
    transform: Any
    n_iter: int = static(default=50)

    def __call__(self, x: Array) -> Array:
        return L1(self.weight)(self.transform.forward(x))

    def prox(self, x: Array, step: Any) -> Array:
        """The proximal map; for an orthonormal transform a step per pixel makes it iterative too.

        Raises:
            ValueError: W is not known to keep lengths.
        """
        W = self.transform
        if not isinstance(W.gram, Identity):
            raise ValueError(
                f"`transform` {type(W).__name__} is not known to have WᴴW = 1: "
                "give a primal-dual solver or ADMM the term `(L1(weight), transform)`"
            )
        if W.range == W.domain and jnp.ndim(step) == 0:
            return W.adjoint(soft_threshold(W.forward(x), step * self.weight))
        return dual_prox(L1(self.weight), W, 1.0, x, step, self.n_iter)


def dct(
    domain: Any, axes: Axes | None = None, *, block: int | tuple[int, ...] | None = None
) -> LinearOperator:
    """Orthonormal discrete cosine transform of type II of arrays like `domain`.

    Args:
        domain: array or struct; real or complex.
        axes: the axes to transform; all by default.
        block: size of the blocks that are transformed by themselves, one for all axes or one for
            each; by default the whole axis.

    Raises:
        ValueError: blocks that do not divide the axes.

    Example:
        >>> int(dct(jnp.zeros((8, 2)))(jnp.ones((8, 2)))[0, 0].round())  # √16 at zero frequency
        4
    """
    struct = jax.ShapeDtypeStruct(tuple(domain.shape), jnp.dtype(domain.dtype))
    rank = len(struct.shape)
    axes = tuple(range(rank)) if axes is None else tuple(a % rank for a in axes)
    sizes = tuple(struct.shape[a] for a in axes)
    blocks = (block,) * len(axes) if isinstance(block, int) else (block or sizes)
    if len(blocks) != len(axes) or any(b < 1 or n % b for n, b in zip(sizes, blocks)):
        raise ValueError(f"`block` is {block}, expected divisors of the axes' sizes {sizes}")
    return DCT(struct, axes, tuple(blocks))


def _cosines(n: int, dtype: Any) -> Float[Array, "k n"]:
    """The matrix of (1)."""
    k, m = jnp.arange(n)[:, None], jnp.arange(n)[None, :]
    # The period is 4N: whole numbers keep all digits of the angle.
    angle = ((2 * m + 1) * k % (4 * n)).astype(dtype) * (math.pi / (2 * n))
    return jnp.cos(angle) * jnp.where(k == 0, math.sqrt(1 / n), math.sqrt(2 / n)).astype(dtype)


def _product(matrix: Float[Array, "k n"], x: Array, axis: int) -> Array:
    """The matrix times every block of x along an axis."""
    n = matrix.shape[0]
    split = x.reshape(*x.shape[:axis], -1, n, *x.shape[axis + 1 :])
    multiply = functools.partial(jnp.tensordot, precision=jax.lax.Precision.HIGHEST)
    product = multiply(matrix.astype(x.dtype), split, axes=(1, axis + 1))
    return jnp.moveaxis(product, 0, axis + 1).reshape(x.shape)
