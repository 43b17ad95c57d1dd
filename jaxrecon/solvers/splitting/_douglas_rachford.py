"""Douglas-Rachford splitting: minimise Σ q(A x) + Σ gᵢ(Cᵢ x), one variable vᵢ for each split term.

    x   = argmin Σ q(A x) + μ/2 Σ sᵢ ‖Cᵢ x − vᵢ‖²,    sᵢ = 1/‖Cᵢ‖²                           (1)
    zᵢ  = prox_{gᵢ/(μ sᵢ)}(2 Cᵢ x − vᵢ),    vᵢ⁺ = vᵢ + ρ (zᵢ − Cᵢ x)                         (2)

With one term behind the identity this is x = prox_{f/μ}(v), z = prox_{g/μ}(2x − v) as by Lions and
Mercier (SIAM J. Numer. Anal. 16, 1979); with more it is their product space. ρ = 1 is
Douglas-Rachford, ρ = 2 Peaceman-Rachford, which needs strong convexity. v is all the state there
is, and the map of v to v⁺ is averaged: a fixed point that implicit gradients can use.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, pytree, static, tree
from jaxrecon.solvers.splitting._admm import Splitting, splitting
from jaxrecon.solvers.splitting._blocks import (
    domain_term,
    mixed,
    real_dtype,
    relative,
    weighted_squares,
)
from jaxrecon.solvers.splitting._data_step import pull_of


class DrsState(NamedTuple):
    """V, the x it came from, the reconstruction, and the penalty."""

    v: tuple
    x: Any
    value: Any
    penalty: Array


class DrsInfo(NamedTuple):
    """‖z − Cx‖ relative to ‖z‖ and ‖Cx‖, in units of ‖C‖."""

    residual: Array


@pytree
class DouglasRachford(Algorithm):
    """Relaxed Douglas-Rachford splitting; see the module's text.

    The value is the z of the first term behind the identity, else x.

    Args:
        penalty: μ = 1/γ, by default a tenth of the quadratic terms' curvature.
        relaxation: ρ in (0, 2]; 2 is Peaceman-Rachford.
        n_inner: conjugate gradients in (1), where no closed form is known.
        preconditioner: for them.

    Example:
        >>> from jaxrecon.core import Problem, identity, run
        >>> from jaxrecon.functionals import L1, LeastSquares
        >>> I = identity(jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([3.0, 0.5])), I), (L1(1.0), I)))
        >>> run(DouglasRachford(penalty=1.0), problem, n_iter=50).value.round(3).tolist()
        [2.0, 0.0]
    """

    penalty: Any = None
    relaxation: Any = 1.5
    preconditioner: LinearOperator | None = None
    n_inner: int = static(default=5)

    def prepare(self, problem: Any) -> Splitting:
        """The data step, set up once."""
        return splitting(problem, self.n_inner, self.preconditioner)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> DrsState:
        del key
        problem = self.prepare(problem)
        v = tuple(C.forward(x0) for C in problem.operators)
        penalty = 0.1 * problem.curvature if self.penalty is None else self.penalty
        return DrsState(v, x0, x0, jnp.asarray(penalty, real_dtype(x0)))

    def step(self, problem: Any, state: DrsState, inputs: Any) -> tuple[DrsState, DrsInfo]:
        del inputs
        problem = self.prepare(problem)
        mu = state.penalty
        x = problem.solve(mu, pull_of(problem.operators, problem.scales, state.v), state.x)
        Cx, z = _reflected(problem, x, state.v, mu)
        v = mixed(state.v, tree.add(state.v, tree.sub(z, Cx)), self.relaxation)
        s = problem.scales
        size = jnp.maximum(weighted_squares(s, z, x), weighted_squares(s, Cx, x))
        residual = relative(weighted_squares(s, tree.sub(z, Cx), x), size)
        i = domain_term(problem.terms)
        return DrsState(v, x, x if i is None else z[i], mu), DrsInfo(residual)

    def value(self, state: DrsState) -> PyTree:
        return state.value

    def point(self, state: DrsState) -> PyTree:
        """V and x, with the penalty, which is not differentiated, riding along."""
        return state.v, state.x, state.penalty

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        """(1) and (2) with ρ = 1."""
        v, x, penalty = point
        mu = jax.lax.stop_gradient(penalty)
        x = problem.solve.towards(mu, pull_of(problem.operators, problem.scales, v), x)
        Cx, z = _reflected(problem, x, v, mu)
        return tree.add(v, tree.sub(z, Cx)), x, penalty

    def solution(self, problem: Any, point: PyTree) -> PyTree:
        """The x of a point."""
        del problem
        return point[1]


def _reflected(problem: Splitting, x: PyTree, v: tuple, mu: Array) -> tuple[tuple, tuple]:
    """Cᵢ x and zᵢ."""
    Cx = tuple(C.forward(x) for C in problem.operators)
    reflected = tree.add_scaled(Cx, 1.0, tree.sub(Cx, v))
    parts = zip(problem.terms, problem.scales, reflected, strict=True)
    return Cx, tuple(g.prox(r, 1 / (mu * s)) for (g, _), s, r in parts)
