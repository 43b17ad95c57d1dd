"""CGLS: conjugate gradients on weighted least squares, without forming the normal equations.

Hestenes and Stiefel (J. Res. Natl. Bur. Stand. 49, 1952), Björck (Numerical Methods for Least
Squares Problems, 1996, section 7.4). In exact arithmetic the iterates are those of CG on
BᴴWB x = BᴴWy; with rounding they are better, because the residual y − Bx is what is carried, and
its projection BᴴW(y − Bx) is small by cancelling, not by subtracting two large vectors:

    q = B p,  α = ⟨s, z⟩ / ⟨q, W q⟩,  x⁺ = x + α p,  r⁺ = r − α q,  s⁺ = BᴴW r⁺,  z⁺ = M s⁺     (1)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, Problem, Result, identity, pytree, run, tree
from jaxrecon.functionals._quadratic import LeastSquares, SquaredL2
from jaxrecon.solvers.linear._cg import attach, normal_equations, precondition, ratio
from jaxrecon.solvers.linear._stacked import LeastSquaresSystem, as_least_squares


class CglsState(NamedTuple):
    """Iterate, residual y − Bx, search direction, ⟨s, M s⟩, ‖BᴴWy‖."""

    x: Any
    r: Any
    p: Any
    sz: Array
    size: Array


class LeastSquaresInfo(NamedTuple):
    """‖BᴴW(y − Bx)‖ / ‖BᴴWy‖, and the misfit ‖y − Bx‖_W over all terms."""

    residual: Array
    misfit: Array


@pytree
class CGLS(Algorithm):
    """Conjugate gradients for a `Problem` of quadratic terms; see the module's text.

    Stopped early it regularises. Of the many solutions of a problem without full rank it gives the
    one nearest to the start.

    Args:
        preconditioner: M ≈ (BᴴWB)⁻¹, Hermitian positive, such as `circulant` gives.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> from jaxrecon.functionals import LeastSquares
        >>> A = diagonal(jnp.array([1.0, 4.0]), jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([3.0, 2.0])), A),))
        >>> run(CGLS(), problem, n_iter=4, tol=1e-6).check().value.round(4).tolist()
        [3.0, 0.5]
    """

    preconditioner: LinearOperator | None = None

    def prepare(self, problem: Any) -> LeastSquaresSystem:
        return as_least_squares(problem, self.preconditioner)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> CglsState:
        del key
        system = self.prepare(problem)
        r = system.residual(x0)
        s = system.slope(r)
        z = precondition(system.preconditioner, s)
        return CglsState(x0, r, z, tree.dot(s, z), slope_scale(system, s))

    def step(
        self, problem: Any, state: CglsState, inputs: Any
    ) -> tuple[CglsState, LeastSquaresInfo]:
        del inputs
        system = self.prepare(problem)
        q = system.operator.forward(state.p)
        length = ratio(state.sz, system.squares(q, state.p))
        x = tree.add_scaled(state.x, length, state.p)
        r = tree.add_scaled(state.r, -length, q)
        s = system.slope(r)
        z = precondition(system.preconditioner, s)
        sz = tree.dot(s, z)
        p = tree.add_scaled(z, ratio(sz, state.sz), state.p)
        misfit = tree.safe_sqrt(system.squares(r, s))
        info = LeastSquaresInfo(ratio(tree.norm(s), state.size), misfit)
        return CglsState(x, r, p, sz, state.size), info

    def value(self, state: CglsState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Any, x: PyTree) -> PyTree:
        """A gradient step."""
        return self.prepare(problem).richardson(x)


def lstsq(
    A: LinearOperator,
    y: PyTree,
    *,
    weights: Any = None,
    damping: Any = None,
    regulariser: LinearOperator | None = None,
    x0: PyTree | None = None,
    n_iter: int = 100,
    tol: float = 1e-6,
    preconditioner: LinearOperator | None = None,
) -> Result:
    """The minimiser of ½‖Ax − y‖²_W + ½ damping ‖Rx‖² by CGLS, differentiable in all arrays.

    Args:
        A: the forward model.
        y: measurements, like the range of A.
        weights: statistical weights W, real, not negative.
        damping: weight of the regulariser; none by default.
        regulariser: R, the identity by default.
        x0: the start, zero by default; no gradient flows to it.
        n_iter: iterations at most, here and in the solve of the gradient.
        tol: stop at this relative residual of the normal equations.
        preconditioner: M ≈ (AᴴWA + damping RᴴR)⁻¹; no gradient flows to it.

    Returns:
        The result with its status. The derivative is that of the exact solution, by one more solve
        with CG; where that fails, the gradient is NaN.

    Raises:
        ValueError: a `regulariser` without a `damping`.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> A = diagonal(jnp.array([1.0, 2.0]), jnp.zeros(2))
        >>> lstsq(A, jnp.array([3.0, 2.5]), damping=1.0).value.round(4).tolist()
        [1.5, 1.0]
    """
    terms: list[tuple[Any, LinearOperator]] = [(LeastSquares(y, weights), A)]
    if damping is not None:
        R = identity(A.domain) if regulariser is None else regulariser
        terms.append((SquaredL2(damping), R))
    elif regulariser is not None:
        raise ValueError("`regulariser` is given without its weight: pass `damping` too")
    problem = Problem(tuple(terms))
    fixed, x0, preconditioner = jax.lax.stop_gradient((problem, x0, preconditioner))
    result = run(CGLS(preconditioner), fixed, x0, n_iter=n_iter, tol=tol)
    system = normal_equations(problem)
    return attach((n_iter, tol), system.operator, system.rhs, (result, preconditioner))


def slope_scale(system: LeastSquaresSystem, start: PyTree) -> Array:
    """‖BᴴWy‖, the yardstick of residuals; that of the start where y is invisible."""
    size = tree.norm(system.slope(system.rhs))
    return jnp.where(size > 0, size, tree.norm(start))
