"""LSQR: least squares by Golub-Kahan bidiagonalisation.

Paige and Saunders (ACM Trans. Math. Softw. 8, 1982), with measurements in the W inner product
(Arioli, SIAM J. Matrix Anal. Appl. 34, 2013):

    β u⁺ = B v − α u,   α v⁺ = BᴴW u⁺ − β v,   ‖u‖_W = ‖v‖ = 1,                                (1)

followed by one plane rotation a step. The iterates are those of CGLS in exact arithmetic, a little
more accurate where B is ill-conditioned, and the bidiagonal matrix yields ‖B‖ and its condition
number on the way. Damping is a Tikhonov term of the problem.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, pytree, tree
from jaxrecon.solvers.linear._cg import ratio
from jaxrecon.solvers.linear._cgls import slope_scale
from jaxrecon.solvers.linear._stacked import LeastSquaresSystem, as_least_squares


class LsqrState(NamedTuple):
    """Iterate, the two Lanczos vectors with α, update direction, rotation, running estimates."""

    x: Any
    u: Any
    v: Any
    w: Any
    alpha: Array
    rho_bar: Array
    phi_bar: Array
    operator_squares: Array
    inverse_squares: Array
    size: Array


class LsqrInfo(NamedTuple):
    """Estimates by recurrence: the relative residual ‖BᴴW(y − Bx)‖ / ‖BᴴWy‖, the misfit ‖y − Bx‖_W.

    Also the Frobenius norm of B and its condition number, both lower bounds that grow towards
    the true ones.
    """

    residual: Array
    misfit: Array
    operator_norm: Array
    condition: Array


@pytree
class LSQR(Algorithm):
    """LSQR for a `Problem` of quadratic terms; see the module's text.

    Of the many solutions of a problem without full rank it gives the one nearest to the start.

    Example:
        >>> from jaxrecon.core import Problem, diagonal, run
        >>> from jaxrecon.functionals import LeastSquares
        >>> A = diagonal(jnp.array([1.0, 4.0]), jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([3.0, 2.0])), A),))
        >>> run(LSQR(), problem, n_iter=4, tol=1e-6).check().value.round(4).tolist()
        [3.0, 0.5]
    """

    def prepare(self, problem: Any) -> LeastSquaresSystem:
        return as_least_squares(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> LsqrState:
        del key
        system = as_least_squares(problem)
        r = system.residual(x0)
        slope = system.slope(r)
        beta = tree.safe_sqrt(system.squares(r, slope))
        u, v = _divided(r, beta), _divided(slope, beta)
        alpha = tree.norm(v)
        v = _divided(v, alpha)
        zero = jnp.zeros_like(alpha)
        size = slope_scale(system, slope)
        return LsqrState(x0, u, v, v, alpha, alpha, beta, zero, zero, size)

    def step(self, problem: Any, state: LsqrState, inputs: Any) -> tuple[LsqrState, LsqrInfo]:
        del inputs
        system = as_least_squares(problem)
        u, v, alpha, beta = _bidiagonalise(system, state)

        rho = tree.safe_sqrt(state.rho_bar**2 + beta**2)
        cosine, sine = ratio(state.rho_bar, rho), ratio(beta, rho)
        phi, phi_bar = cosine * state.phi_bar, sine * state.phi_bar
        x = tree.add_scaled(state.x, ratio(phi, rho), state.w)
        w = tree.add_scaled(v, -ratio(sine * alpha, rho), state.w)

        operator = state.operator_squares + state.alpha**2 + beta**2
        inverse = state.inverse_squares + ratio(tree.sum_of_squares(state.w), rho**2)
        info = LsqrInfo(
            ratio(phi_bar * alpha * jnp.abs(cosine), state.size),
            phi_bar,
            tree.safe_sqrt(operator),
            tree.safe_sqrt(operator * inverse),
        )
        rotation = alpha, -cosine * alpha, phi_bar
        return LsqrState(x, u, v, w, *rotation, operator, inverse, state.size), info

    def value(self, state: LsqrState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Any, x: PyTree) -> PyTree:
        """A gradient step."""
        return as_least_squares(problem).richardson(x)


def _bidiagonalise(system: LeastSquaresSystem, state: LsqrState):
    """The next u, v, α, β of equation (1)."""
    u = tree.add_scaled(system.operator.forward(state.v), -state.alpha, state.u)
    beta = tree.safe_sqrt(system.squares(u, state.v))
    u = _divided(u, beta)
    v = tree.add_scaled(system.slope(u), -beta, state.v)
    alpha = tree.norm(v)
    return u, _divided(v, alpha), alpha, beta


def _divided(a: PyTree, size: Array) -> PyTree:
    return tree.scale(ratio(jnp.ones_like(size), size), a)
