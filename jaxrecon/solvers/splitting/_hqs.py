"""Half-quadratic splitting: minimise Σ q(A x) + Σ gᵢ(Cᵢ x) with zᵢ ≈ Cᵢ x held by a penalty.

    x⁺  = argmin Σ q(A x) + μ/2 Σ sᵢ ‖Cᵢ x − zᵢ‖²,     sᵢ = 1/‖Cᵢ‖²                          (1)
    zᵢ⁺ = prox_{gᵢ/(μ sᵢ)}(Cᵢ x⁺)                                                            (2)

(Geman and Yang, IEEE Trans. Image Process. 4, 1995). At constant μ it minimises with gᵢ replaced by
its Moreau envelope; growing, μ closes the gap. With a `DenoiserPrior` for g, (2) denoises with the
strength √(weight/μ), and with penalties as inputs this is DPIR (Zhang et al., IEEE TPAMI 44, 2022).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, pytree, static, tree
from jaxrecon.solvers.splitting._admm import Splitting, penalty_of, splitting
from jaxrecon.solvers.splitting._blocks import domain_term, real_dtype
from jaxrecon.solvers.splitting._data_step import pull_of


class HqsState(NamedTuple):
    """X, z, the reconstruction, the last and the next penalty."""

    x: Any
    z: tuple
    value: Any
    used: Array
    penalty: Array


class HqsInfo(NamedTuple):
    """Relative change of the reconstruction, and the penalty used."""

    residual: Array
    penalty: Array


@pytree
class HQS(Algorithm):
    """Half-quadratic splitting; see the module's text.

    The value is the z of the first term behind the identity, else x.

    Args:
        penalty: first μ, by default a hundredth of the quadratic terms' curvature. Penalties among
            `run`'s inputs override it and the growth: ``inputs={"penalty": penalties}``.
        growth: factor of μ after each iteration; 1 for a constant one.
        n_inner: conjugate gradients in (1), where no closed form is known.
        preconditioner: for them.

    Example:
        >>> from jaxrecon.core import Problem, identity, run
        >>> from jaxrecon.functionals import L1, LeastSquares
        >>> I = identity(jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([3.0, 0.5])), I), (L1(1.0), I)))
        >>> run(HQS(growth=1.01), problem, n_iter=1000).value.round(1).tolist()
        [2.0, 0.0]
    """

    penalty: Any = None
    growth: Any = 1.1
    preconditioner: LinearOperator | None = None
    n_inner: int = static(default=5)

    def prepare(self, problem: Any) -> Splitting:
        """The data step, set up once."""
        return splitting(problem, self.n_inner, self.preconditioner)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> HqsState:
        del key
        problem = self.prepare(problem)
        penalty = 0.01 * problem.curvature if self.penalty is None else self.penalty
        mu = jnp.asarray(penalty, real_dtype(x0))
        return HqsState(x0, tuple(C.forward(x0) for C in problem.operators), x0, mu, mu)

    def step(self, problem: Any, state: HqsState, inputs: Any) -> tuple[HqsState, HqsInfo]:
        problem = self.prepare(problem)
        mu = penalty_of(inputs, state.penalty)
        pull = pull_of(problem.operators, problem.scales, state.z)
        x = problem.solve(mu, pull, state.x)
        z = _proximal(problem, x, mu)
        i = domain_term(problem.terms)
        value = x if i is None else z[i]
        following = (mu * self.growth).astype(mu.dtype)
        info = HqsInfo(tree.relative_change(value, state.value), mu)
        return HqsState(x, z, value, mu, following), info

    def value(self, state: HqsState) -> PyTree:
        return state.value

    def point(self, state: HqsState) -> PyTree:
        """X, with the last penalty, which is not differentiated, riding along."""
        return state.x, state.used

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        """(2), then (1), at the last penalty."""
        x, penalty = point
        mu = jax.lax.stop_gradient(penalty)
        pull = pull_of(problem.operators, problem.scales, _proximal(problem, x, mu))
        return problem.solve.towards(mu, pull, x), penalty

    def solution(self, problem: Any, point: PyTree) -> PyTree:
        """The first identity's z, else x."""
        i = domain_term(problem.terms)
        z = _proximal(problem, point[0], jax.lax.stop_gradient(point[1]))
        return point[0] if i is None else z[i]


def _proximal(problem: Splitting, x: PyTree, mu: Array) -> tuple:
    parts = zip(problem.terms, problem.scales, strict=True)
    return tuple(g.prox(C.forward(x), 1 / (mu * s)) for (g, C), s in parts)
