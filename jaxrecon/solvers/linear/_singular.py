"""Singular value decomposition of a small operator: every linear reconstruction in one place.

    A = Σ σᵢ uᵢ vᵢᴴ,     x = Σ φᵢ/σᵢ ⟨uᵢ, y⟩ vᵢ                                              (1)

with filter factors φ: one (pseudo-inverse), one up to a rank (truncated), σ²/(σ² + w) (Tikhonov).
Where all arrays are complex, uᵢ and vᵢ are complex; otherwise the decomposition is that of the
real vector space behind Re⟨·,·⟩, in which a complex number counts as two. Hansen, Discrete Inverse
Problems: Insight and Algorithms (SIAM, 2010).
"""

from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, PyTree

from jaxrecon.core import LinearOperator, pytree, tree


class Picard(NamedTuple):
    """Singular values σ, data coefficients |⟨uᵢ, y⟩|, and their ratio, the solution's.

    The solution can be trusted where the data coefficients fall faster than σ: Picard's condition.
    """

    singular_values: Float[Array, "r"]
    data: Float[Array, "r"]
    solution: Float[Array, "r"]


@pytree
class SingularSystem:
    """The decomposition of equation (1), from `svd`.

    Attributes:
        operator: A.
        left: columns uᵢ.
        singular_values: σᵢ, falling.
        right: rows vᵢᴴ.
    """

    operator: LinearOperator
    left: Inexact[Array, "m r"]
    singular_values: Float[Array, "r"]
    right: Inexact[Array, "r n"]

    def coefficients(self, y: PyTree) -> Inexact[Array, "r"]:
        """The coefficients ⟨uᵢ, y⟩."""
        return product(self.left.conj().T, flatten(y, _is_complex(self.operator)))

    def reconstruct(self, y: PyTree, factors: Float[Array, "r"]) -> PyTree:
        """Equation (1) with any filter factors φ; where σ is zero, nothing is reconstructed."""
        visible = self.singular_values > 0
        inverse = jnp.where(visible, 1 / jnp.where(visible, self.singular_values, 1), 0)
        v = product(self.right.conj().T, factors * inverse * self.coefficients(y))
        return unflatten(v, self.operator.domain, _is_complex(self.operator))

    def pseudo_inverse(self, y: PyTree, *, rcond: float | None = None) -> PyTree:
        """The least-squares solution of least norm; σ below rcond·σ₁ counts as zero.

        The default is numpy's: the rounding of the dtype times the larger side.
        """
        sigma = self.singular_values
        if rcond is None:
            sides = self.left.shape[0], self.right.shape[1]
            rcond = float(jnp.finfo(sigma.dtype).eps) * max(sides)
        return self.reconstruct(y, (sigma > rcond * sigma[0]).astype(sigma.dtype))

    def truncated(self, y: PyTree, rank: Any) -> PyTree:
        """The pseudo-inverse of the `rank` largest singular values; rank may be traced."""
        kept = jnp.arange(self.singular_values.size) < rank
        return self.reconstruct(y, kept.astype(self.singular_values.dtype))

    def tikhonov(self, y: PyTree, weight: Any) -> PyTree:
        """The minimiser of ½‖Ax − y‖² + ½ weight ‖x‖², exactly."""
        return self.reconstruct(y, self.tikhonov_factors(weight))

    def tikhonov_factors(self, weight: Any) -> Float[Array, "r"]:
        """φ = σ²/(σ² + weight)."""
        squares = self.singular_values**2
        return squares / (squares + weight)

    def picard(self, y: PyTree) -> Picard:
        """What Picard's plot shows."""
        data = jnp.abs(self.coefficients(y))
        visible = self.singular_values > 0
        solution = jnp.where(visible, data / jnp.where(visible, self.singular_values, 1), 0)
        return Picard(self.singular_values, data, solution)

    def gcv(self, y: PyTree, factors: Float[Array, "r"]) -> Float[Array, ""]:
        """Generalised cross-validation, ‖Ax − y‖² / (m − Σφ)²: smallest for the best factors.

        m is the number of measurements, of which a complex one counts as one if uᵢ is complex.
        Golub, Heath, Wahba (Technometrics 21, 1979).
        """
        coefficients = jnp.abs(self.coefficients(y)) ** 2
        outside = tree.sum_of_squares(y) - jnp.sum(coefficients)
        misfit = jnp.sum((1 - factors) ** 2 * coefficients) + jnp.maximum(outside, 0)
        return misfit / (self.left.shape[0] - jnp.sum(factors)) ** 2


def svd(A: LinearOperator, rank: int | None = None) -> SingularSystem:
    """The singular value decomposition of a small operator, by its matrix.

    Costs one application of A for each unknown and the memory of the matrix. An operator on complex
    images that is only real-linear (one that takes a real part) has no such decomposition.

    Args:
        A: the operator.
        rank: keep this many of the largest singular values; all by default.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> system = svd(diagonal(jnp.array([1.0, 4.0]), jnp.zeros(2)))
        >>> system.singular_values.tolist()
        [4.0, 1.0]
        >>> system.truncated(jnp.ones(2), 1).round(4).tolist()
        [0.0, 0.25]
    """
    left, sigma, right = jnp.linalg.svd(_matrix(A), full_matrices=False)
    kept = slice(None, rank)
    return SingularSystem(A, left[:, kept], sigma[kept], right[kept])


def flatten(x: PyTree, is_complex: bool) -> Array:
    """All leaves as one vector; their real and imaginary parts unless all are complex."""
    return jax.flatten_util.ravel_pytree(x if is_complex else tree.to_real(x))[0]


def unflatten(v: Array, structs: PyTree, is_complex: bool) -> PyTree:
    """The inverse of `flatten`."""
    zeros = tree.zeros(structs)
    if is_complex:
        return jax.flatten_util.ravel_pytree(zeros)[1](v)
    return tree.from_real(jax.flatten_util.ravel_pytree(tree.to_real(zeros))[1](v), zeros)


def product(M: Array, v: Array) -> Array:
    """M v in full precision."""
    return jnp.matmul(M, v, precision=jax.lax.Precision.HIGHEST)


def _is_complex(A: LinearOperator) -> bool:
    leaves = jax.tree.leaves((A.domain, A.range))
    return all(jnp.issubdtype(s.dtype, jnp.complexfloating) for s in leaves)


def _matrix(A: LinearOperator) -> Array:
    is_complex = _is_complex(A)
    zeros = flatten(tree.zeros(A.domain), is_complex)
    column = lambda e: flatten(A(unflatten(e, A.domain, is_complex)), is_complex)  # noqa: E731
    return jax.vmap(column, out_axes=1)(jnp.eye(zeros.size, dtype=zeros.dtype))
