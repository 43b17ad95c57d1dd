"""Low rank: the nuclear norm of a series of images, whole or block by block.

The axes of an array are split into rows and columns of a matrix M (Casorati's: pixels against
frames). The proximal map of t‖M‖_* shrinks singular values,

    prox(M) = M h_t(MᴴM),   h_t(λ) = max(0, 1 − t/√λ)                                          (1)

(Cai, Candès and Shen, SIAM J. Optim. 20, 2010), computed from the eigenvectors V of the smaller of
the two Gram matrices. Its derivative is that of a matrix function (Daleckii and Krein, 1965),

    dh(G) = V (Γ ⊙ VᴴdG V) Vᴴ,   Γ_ij = (h(λ_i) − h(λ_j)) / (λ_i − λ_j)                        (2)

with Γ in a form without cancellation: finite and right for equal and for zero singular values,
where the derivatives of eigenvectors are not. Squaring costs digits: singular values below √ε of
the largest are not resolved, which matters only for thresholds as small.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Key

from jaxrecon.core import pytree, replace, static
from jaxrecon.functionals._functional import Functional

Axes = tuple[int, ...]
Matrix = Inexact[Array, "*batch row column"]


@pytree
class NuclearNorm(Functional):
    """w Σ singular values of x as a matrix; low rank in a convex way.

    Args:
        weight: w, a scalar.
        rows: the axes that become the rows, in this order; the others become columns.

    Example:
        >>> x = jnp.ones((3, 2, 2))  # three equal frames: one singular value, √12
        >>> int(NuclearNorm(2.0)(x).round())
        7
    """

    weight: Any = 1.0
    rows: Axes = static(default=(0,))

    def __call__(self, x: Array) -> Array:
        return self.weight * jnp.sum(_singular_values(self._matrix(x)))

    def prox(self, x: Array, step: Any) -> Array:
        """The proximal map, for a scalar step."""
        shrunk = shrink_singular_values(self._matrix(x), step * self.weight)
        order = self._order(x)
        inverse = tuple(order.index(a) for a in range(x.ndim))
        return shrunk.reshape([x.shape[a] for a in order]).transpose(inverse)

    def _order(self, x: Array) -> Axes:
        rows = tuple(a % x.ndim for a in self.rows)
        return (*rows, *(a for a in range(x.ndim) if a not in rows))

    def _matrix(self, x: Array) -> Array:
        order = self._order(x)
        n_rows = math.prod(x.shape[a] for a in order[: len(self.rows)])
        return x.transpose(order).reshape(n_rows, -1)


@pytree
class LocallyLowRank(Functional):
    """w Σ over blocks of the nuclear norm of (pixels of the block) × (all other axes).

    Blocks tile the image after a cyclic shift; those at the far border are smaller where the block
    does not divide the image. The proximal map is exact for a given shift. A stochastic solver
    draws a new shift at every step (`randomised`; Saucedo et al., IEEE Trans. Med. Imaging 36,
    2017), which hides the seams; `CycleSpin` averages over given ones. (Trzasko and Manduca, 2011.)

    Args:
        weight: w, a scalar.
        block: pixels of a block along each of `axes`.
        axes: the image's axes; the others (time, contrast) are columns.
        shift: of the image along each of `axes`, integers; none if None.

    Example:
        >>> x = jnp.ones((5, 4, 4))
        >>> int(LocallyLowRank(1.0, (2, 2))(x).round())  # four blocks of √20
        18
    """

    weight: Any
    block: tuple[int, ...] = static()
    axes: Axes = static(default=(-2, -1))
    shift: Any = None

    def __call__(self, x: Array) -> Array:
        return self.weight * jnp.sum(_singular_values(self._blocks(self._shifted(x, 1))))

    def prox(self, x: Array, step: Any) -> Array:
        """The proximal map, for a scalar step."""
        blocks = self._blocks(self._shifted(x, 1))
        shrunk = shrink_singular_values(blocks, step * self.weight)
        return self._shifted(self._image(shrunk, x), -1)

    def randomised(self, key: Key[Array, ""]) -> "LocallyLowRank":
        """The same with a random cyclic shift of up to one block on each axis."""
        shift = jax.random.randint(key, (len(self.block),), 0, jnp.asarray(self.block))
        return replace(self, shift=shift)

    def _shifted(self, x: Array, sign: int) -> Array:
        return x if self.shift is None else jnp.roll(x, sign * self.shift, self.axes)

    def _blocks(self, x: Array) -> Array:
        """The image as ``(block, pixel, column)``; rows of zeros change no singular value."""
        moved = jnp.moveaxis(x, self.axes, range(len(self.axes)))
        space, rest = moved.shape[: len(self.block)], moved.shape[len(self.block) :]
        counts = [-(-n // b) for n, b in zip(space, self.block, strict=True)]
        fill = [(0, c * b - n) for c, b, n in zip(counts, self.block, space, strict=True)]
        padded = jnp.pad(moved, fill + [(0, 0)] * len(rest))
        split = [m for pair in zip(counts, self.block, strict=True) for m in pair]
        tiles = padded.reshape(*split, *rest)
        n = len(self.block)
        tiles = jnp.moveaxis(tiles, range(0, 2 * n, 2), range(n))
        n_pixels = math.prod(self.block)
        return tiles.reshape(math.prod(counts), n_pixels, -1)

    def _image(self, blocks: Array, x: Array) -> Array:
        """The inverse of `_blocks`."""
        n = len(self.block)
        moved = jnp.moveaxis(x, self.axes, range(n)).shape
        counts = [-(-m // b) for m, b in zip(moved, self.block, strict=False)]
        tiles = blocks.reshape(*counts, *self.block, *moved[n:])
        tiles = jnp.moveaxis(tiles, range(n), range(0, 2 * n, 2))
        sizes = [c * b for c, b in zip(counts, self.block, strict=True)]
        padded = tiles.reshape(*sizes, *moved[n:])
        return jnp.moveaxis(padded[tuple(slice(m) for m in moved)], range(n), self.axes)


def shrink_singular_values(M: Matrix, threshold: Any) -> Matrix:
    """Matrices with max(0, σ − threshold) for every singular value σ: equation (1).

    Args:
        M: matrices, real or complex, ``(..., row, column)``.
        threshold: a scalar, not negative.

    Example:
        >>> shrink_singular_values(jnp.diag(jnp.array([3.0, 1.0])), 2.0).round(4).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    threshold = jnp.asarray(threshold, M.real.dtype)
    if M.shape[-2] < M.shape[-1]:
        return _adjoint(shrink_singular_values(_adjoint(M), threshold))
    return _times(M, _shrinkage(_times(_adjoint(M), M), threshold))


@jax.custom_jvp
def _shrinkage(gram: Array, threshold: Array) -> Array:
    """h_t of Hermitian matrices, t ≥ 0."""
    sigma, V = _spectrum(gram)
    return _times(V * _factor(sigma, threshold)[..., None, :], _adjoint(V))


@_shrinkage.defjvp
def _shrinkage_derivative(primals, tangents):
    (gram, t), (d_gram, d_t) = primals, tangents
    sigma, V = _spectrum(gram)
    h = _factor(sigma, t)
    inner = _divided_differences(sigma, t) * _times(_adjoint(V), _times(d_gram, V))
    kept = sigma > t
    slope = jnp.where(kept, -1 / jnp.where(kept, sigma, 1), 0) * d_t
    inner = inner + jnp.eye(sigma.shape[-1], dtype=slope.dtype) * slope[..., None, :]
    value = _times(V * h[..., None, :], _adjoint(V))
    return value, _times(V, _times(inner, _adjoint(V)))


def _factor(sigma: Array, t: Array) -> Array:
    kept = sigma > t
    return jnp.where(kept, 1 - t / jnp.where(kept, sigma, 1), 0)


def _divided_differences(sigma: Array, t: Array) -> Array:
    """Γ of equation (2) from the singular values σ = √λ.

    Both kept: t / (σ s (σ + s)). One kept: (σ − t) / (σ (σ − s) (σ + s)) ≤ 1/σ². Neither: 0.
    """
    larger = jnp.maximum(sigma[..., :, None], sigma[..., None, :])
    smaller = jnp.minimum(sigma[..., :, None], sigma[..., None, :])
    both, one = smaller > t, (larger > t) & (smaller <= t)
    divide = lambda a, b, where: jnp.where(where, a / jnp.where(where, b, 1), 0)  # noqa: E731
    two_kept = divide(t, larger * smaller * (larger + smaller), both)
    one_kept = divide(larger - t, larger * (larger - smaller) * (larger + smaller), one)
    return two_kept + one_kept


def _spectrum(gram: Array) -> tuple[Array, Array]:
    """Singular values of M and eigenvectors, from MᴴM."""
    eigenvalues, V = jnp.linalg.eigh(gram)
    return jnp.sqrt(jnp.maximum(eigenvalues, 0)), V


def _singular_values(M: Array) -> Array:
    return jnp.linalg.svd(M, compute_uv=False)


def _adjoint(M: Array) -> Array:
    return jnp.conj(jnp.swapaxes(M, -1, -2))


def _times(A: Array, B: Array) -> Array:
    return jnp.matmul(A, B, precision=jax.lax.Precision.HIGHEST)
