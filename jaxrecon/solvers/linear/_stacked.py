"""Sums of quadratic terms as one weighted least-squares system.

    Σ fᵢ(Aᵢ x) = ½ Σ ⟨Aᵢx − yᵢ, Wᵢ(Aᵢx − yᵢ)⟩ + const = ½ ‖B x − y‖²_W                      (1)

with B the stack of the Aᵢ. Working on B in the W inner product keeps the condition number of B,
where the normal equations square it; no square root of a weight is taken, so that derivatives are
right at weight zero (a masked sample).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import LinearOperator, Problem, norm, pytree, shared_sum, stack, tree
from jaxrecon.functionals._algebra import Scaled
from jaxrecon.functionals._quadratic import LeastSquares, SquaredL2


@pytree
class LeastSquaresSystem:
    """½‖B x − y‖²_W of equation (1).

    Attributes:
        operator: B.
        rhs: y, like the range of B.
        weights: real and not negative, with the structure of y, broadcastable to it.
        preconditioner: M ≈ (BᴴWB)⁻¹ or None.
    """

    operator: LinearOperator
    rhs: Any
    weights: Any
    preconditioner: LinearOperator | None = None

    @property
    def domain(self) -> PyTree:
        """Structs of x."""
        return self.operator.domain

    def weigh(self, r: PyTree) -> PyTree:
        """W r."""
        return jax.tree.map(lambda w, a: w * a, self.weights, r)

    def slope(self, r: PyTree) -> PyTree:
        """Bᴴ W r: for the residual r = y − B x, minus the gradient."""
        return self.operator.adjoint(self.weigh(r))

    def residual(self, x: PyTree) -> PyTree:
        """The residual y − B x."""
        return tree.sub(self.rhs, self.operator.forward(x))

    def squares(self, r: PyTree, like: PyTree) -> Array:
        """⟨r, W r⟩, summed over the devices that share the measurement.

        Inside `shard_map` those are the mesh axes over which r varies, while `like`, which came out
        of Bᴴ, does not.
        """
        parts = zip(jax.tree.leaves(r), jax.tree.leaves(self.weigh(r)), strict=True)
        return functools.reduce(jnp.add, (shared_sum(tree.dot(a, b), like) for a, b in parts))

    def richardson(self, x: PyTree) -> PyTree:
        """X + BᴴW(y − B x)/‖BᴴWB‖, whose fixed points are the solutions."""
        gram = self.operator.weighted_gram(self.weights)
        step = 1 / norm(jax.lax.stop_gradient(gram), jax.random.key(0), n_iter=50, tol=1e-3).value
        return tree.add_scaled(x, jax.lax.stop_gradient(step), self.slope(self.residual(x)))


def as_least_squares(
    problem: Any, preconditioner: LinearOperator | None = None
) -> LeastSquaresSystem:
    """Equation (1) for a problem whose terms are all quadratic; a system stays as it is.

    Raises:
        ValueError: a term is not `LeastSquares` or `SquaredL2`, or a multiple of one, or its
            operator is not linear.
    """
    if isinstance(problem, LeastSquaresSystem):
        return problem
    if not isinstance(problem, Problem):
        raise ValueError(
            f"`problem` is a {type(problem).__name__}, expected a Problem of quadratic terms: for "
            "a LinearSystem use ConjugateGradient or MINRES"
        )
    rhs, weights = zip(*(quadratic(f, A) for f, A in problem.terms), strict=True)
    operators = [A for _, A in problem.terms if isinstance(A, LinearOperator)]
    if len(operators) < len(problem.terms):
        raise ValueError("`problem` has a nonlinear operator: use GaussNewton")
    return LeastSquaresSystem(stack(operators), rhs, weights, preconditioner)


@functools.singledispatch
def quadratic(functional: Any, A: LinearOperator) -> tuple[PyTree, PyTree]:
    """Data y and weights W, like A's range, with f(Ax) = ½⟨Ax − y, W(Ax − y)⟩ + const.

    Register a function for a new quadratic functional's type to use it with these solvers.

    Raises:
        ValueError: f is not known to be quadratic.
    """
    raise ValueError(
        f"`problem` has a term {type(functional).__name__}, which is not quadratic in a form known "
        "here: expected LeastSquares and SquaredL2. For others use FISTA or PDHG"
    )


@quadratic.register
def _(functional: LeastSquares, A: LinearOperator) -> tuple[PyTree, PyTree]:
    weights = functional.weights
    if weights is None:
        weights = jax.tree.map(_one, A.range)
    return functional.data, weights


@quadratic.register
def _(functional: SquaredL2, A: LinearOperator) -> tuple[PyTree, PyTree]:
    weights = jax.tree.map(lambda s: functional.weight * _one(s), A.range)
    return tree.zeros(A.range), weights


@quadratic.register
def _(functional: Scaled, A: LinearOperator) -> tuple[PyTree, PyTree]:
    data, weights = quadratic(functional.inner, A)
    return data, tree.scale(functional.factor, weights)


def _one(struct: jax.ShapeDtypeStruct) -> Array:
    return jnp.ones((), jnp.finfo(struct.dtype).dtype)
