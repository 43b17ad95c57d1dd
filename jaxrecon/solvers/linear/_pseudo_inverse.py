"""The Moore-Penrose inverse as an operator: A⁺y is the least-squares solution of least norm.

In closed form where the structure of A gives one (isometries, scalings, diagonals, circular
convolutions and their compositions), otherwise by CGLS from zero. With x = A⁺y, r = y − Ax and
u = (A⁺)ᴴw, its derivative is that of the exact inverse at constant rank (Golub and Pereyra, SIAM J.
Numer. Anal. 10, 1973):

    Re⟨w, dA⁺ y⟩ = Re{−⟨u, dA x⟩ + ⟨r, dA A⁺u⟩ + ⟨(A⁺)ᴴx, dA (w − A⁺A w)⟩}                     (1)
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxrecon.core import LinearOperator, operator, pair, run, static, tree
from jaxrecon.core.operators._blocks import BlockDiagonal
from jaxrecon.core.operators._elementary import Diagonal
from jaxrecon.core.operators._operator import (
    Adjoint,
    Circulant,
    Composition,
    Identity,
    Scaled,
    is_unitary,
)
from jaxrecon.solvers.linear._cg import ratio
from jaxrecon.solvers.linear._cgls import CGLS
from jaxrecon.solvers.linear._stacked import LeastSquaresSystem


@operator
class PseudoInverse(LinearOperator):
    """A⁺ by CGLS, linear up to its tolerance; its adjoint is (Aᴴ)⁺ by the same."""

    inner: LinearOperator
    n_iter: int = static(default=100)
    tol: float = static(default=1e-6)

    @property
    def domain(self) -> PyTree:
        return self.inner.range

    @property
    def range(self) -> PyTree:
        return self.inner.domain

    def forward(self, x: Any) -> Any:
        return _apply((self.n_iter, self.tol), self.inner, x)

    def adjoint(self, y: Any) -> Any:
        return _apply_adjoint((self.n_iter, self.tol), self.inner, y)


def pseudo_inverse(A: LinearOperator, *, n_iter: int = 100, tol: float = 1e-6) -> LinearOperator:
    """The Moore-Penrose inverse of A, exact where it has a closed form.

    Args:
        A: the operator.
        n_iter: of CGLS: iterations at most.
        tol: of CGLS: relative residual of the normal equations to stop at. What is left of an error
            grows with the squared condition number: for an ill-conditioned A regularise instead.

    Returns:
        A⁺ as an operator, differentiable in A and in what it is applied to.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> A = diagonal(jnp.array([2.0, 0.0]), jnp.zeros(2))
        >>> pseudo_inverse(A)(jnp.ones(2)).tolist()
        [0.5, 0.0]
    """
    closed = closed_pseudo_inverse(A)
    return PseudoInverse(A, n_iter, tol) if closed is None else closed


def closed_pseudo_inverse(A: LinearOperator) -> LinearOperator | None:
    """A⁺ from the structure of A, or None."""
    if isinstance(A.gram, Identity) or isinstance(A.H.gram, Identity):
        return A.H
    match A:
        case Diagonal():
            return Diagonal(ratio(jnp.ones_like(A.weights), A.weights), A.range)
        case Circulant():
            return Circulant(ratio(jnp.ones_like(A.spectrum), A.spectrum), A.struct)
        case Scaled() if jax.tree.leaves(A.range) == jax.tree.leaves(A.inner.range):
            inner = closed_pseudo_inverse(A.inner)
            factor = jnp.asarray(A.factor)
            return None if inner is None else Scaled(ratio(jnp.ones_like(factor), factor), inner)
        case Adjoint():
            inner = closed_pseudo_inverse(A.inner)
            return None if inner is None else inner.H
        case BlockDiagonal():
            parts = tuple(closed_pseudo_inverse(part) for part in A.parts)
            known = tuple(part for part in parts if part is not None)
            return BlockDiagonal(known) if len(known) == len(parts) else None
        case Composition():
            return _closed_composition(A)
    return None


def _closed_composition(A: Composition) -> LinearOperator | None:
    """(U B)⁺ = B⁺ Uᴴ for an isometry U, and (B V)⁺ = Vᴴ B⁺ for a unitary V."""
    if isinstance(A.outer.gram, Identity):
        inner = closed_pseudo_inverse(A.inner)
        return None if inner is None else Composition(inner, A.outer.H)
    if is_unitary(A.inner):
        outer = closed_pseudo_inverse(A.outer)
        return None if outer is None else Composition(A.inner.H, outer)
    return None


def _forward(limits: tuple[int, float], A: LinearOperator, y: PyTree) -> PyTree:
    weights = jax.tree.map(lambda s: jnp.ones((), jnp.finfo(s.dtype).dtype), A.range)
    system = LeastSquaresSystem(A, y, weights)
    return run(CGLS(), system, n_iter=limits[0], tol=limits[1]).value


def _adjoint(limits: tuple[int, float], A: LinearOperator, x: PyTree) -> PyTree:
    return _forward(limits, A.H, x)


def _pullback(limits: tuple[int, float], A: LinearOperator, y: PyTree, w: PyTree) -> PyTree:
    """Equation (1), its four solves by the differentiable maps themselves."""
    x = _apply(limits, A, y)
    u = _apply_adjoint(limits, A, w)
    r = tree.sub(y, A.forward(x))
    outside = tree.sub(w, _apply(limits, A, A.forward(w)))
    a, b = _apply(limits, A, u), _apply_adjoint(limits, A, x)

    def scalar(A):
        terms = tree.dot(r, A.forward(a)) + tree.dot(b, A.forward(outside))
        return terms - tree.dot(u, A.forward(x))

    return jax.grad(scalar, allow_int=True)(A)


_apply, _apply_adjoint = pair(_forward, _adjoint, _pullback)
