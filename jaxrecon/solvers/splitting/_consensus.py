"""Consensus equilibrium: several agents, each a proximal map or a denoiser, agree on an image.

With agents Fᵢ, weights wᵢ that sum to 1, and Ḡ(v) = (Σ wᵢ vᵢ, ..., Σ wᵢ vᵢ), the equilibrium is
F(v) = Ḡ(v), found by Mann iterations (Buzzard, Chan, Sreehari, Bouman, SIAM J. Imaging Sci. 11,
2018; MACE):

    v⁺ = (1 − ρ) v + ρ (2Ḡ − I)(2F − I) v,    x = Σ wᵢ vᵢ                                    (1)

An agent is fᵢ's proximal map with the step 1/(μ wᵢ), so that proximal agents minimise Σ fᵢ(Aᵢ x)
whatever the weights; a quadratic term's operator is any, the others stand behind the identity. A
`DenoiserPrior` of fixed strength has no objective, and its weight decides how much it is heard.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Identity, Problem, identity, pytree, static, tree
from jaxrecon.solvers.splitting._blocks import (
    Term,
    mixed,
    quadratic_and_split,
    real_dtype,
    relative,
)
from jaxrecon.solvers.splitting._data_step import DataStep, data_step


@pytree
class Agents:
    """A problem as agents: data steps of the quadratic terms, functionals with proximal maps."""

    data: tuple[DataStep, ...]
    priors: tuple

    def __call__(self, v: tuple, steps: tuple, starts: tuple, *, towards: bool = False) -> tuple:
        """Fᵢ(vᵢ) with steps tᵢ, or a step towards it; data agents come first."""
        new = []
        for i, agent in enumerate(self.data):
            solve = agent.towards if towards else agent
            new.append(solve(1 / steps[i], v[i], starts[i]))
        for i, f in enumerate(self.priors, len(self.data)):
            new.append(f.prox(v[i], steps[i]))
        return tuple(new)


class ConsensusState(NamedTuple):
    """V, what the agents made of it, the weights, the penalty."""

    v: tuple
    agents: tuple
    weights: tuple
    penalty: Array


class ConsensusInfo(NamedTuple):
    """√Σ wᵢ‖Fᵢ(vᵢ) − x‖² relative to ‖x‖: how far the agents are from agreeing."""

    residual: Array


@pytree
class ConsensusEquilibrium(Algorithm):
    """Multi-agent consensus equilibrium; see the module's text.

    Agents are the quadratic terms in their order, then the others in theirs.

    Args:
        weights: one for each agent, normalised to sum 1; equal by default.
        penalty: μ, in units of the objective over the image squared.
        relaxation: ρ in (0, 1); ½ is Douglas-Rachford.
        n_inner: conjugate gradients of a data agent without closed form.

    Example:
        >>> from jaxrecon.core import identity, run
        >>> from jaxrecon.functionals import L1, LeastSquares
        >>> I = identity(jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([3.0, 0.5])), I), (L1(1.0), I)))
        >>> run(ConsensusEquilibrium(), problem, n_iter=80).value.round(3).tolist()
        [2.0, 0.0]
    """

    weights: Any = None
    penalty: Any = 1.0
    relaxation: Any = 0.7
    n_inner: int = static(default=5)

    def prepare(self, problem: Any) -> Agents:
        """The data agents, set up once."""
        return problem if isinstance(problem, Agents) else _agents(problem, self.n_inner)

    def init(
        self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> ConsensusState:
        del key
        problem = self.prepare(problem)
        n, real = len(problem.data) + len(problem.priors), real_dtype(x0)
        weights = (1.0,) * n if self.weights is None else tuple(self.weights)
        if len(weights) != n:
            raise ValueError(f"`weights` has {len(weights)} entries for {n} agents")
        total = sum(weights)
        weights = tuple(jnp.asarray(w / total, real) for w in weights)
        return ConsensusState((x0,) * n, (x0,) * n, weights, jnp.asarray(self.penalty, real))

    def step(
        self, problem: Any, state: ConsensusState, inputs: Any
    ) -> tuple[ConsensusState, ConsensusInfo]:
        del inputs
        problem = self.prepare(problem)
        agents = problem(state.v, _steps(state.weights, state.penalty), state.agents)
        v = _mann(state.v, agents, state.weights, self.relaxation)
        x = _average(v, state.weights)
        apart = [w * tree.sum_of_squares(tree.sub(a, x)) for w, a in zip(state.weights, agents)]
        residual = relative(sum(apart, jnp.zeros_like(state.penalty)), tree.sum_of_squares(x))
        return state._replace(v=v, agents=agents), ConsensusInfo(residual)

    def value(self, state: ConsensusState) -> PyTree:
        return _average(state.v, state.weights)

    def point(self, state: ConsensusState) -> PyTree:
        """V and what the agents made of it; weights and penalty, not differentiated, ride along."""
        return state.v, state.agents, (state.weights, state.penalty)

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        """Equation (1) with ρ = ½."""
        v, agents, rest = point
        weights, penalty = jax.lax.stop_gradient(rest)
        agents = problem(v, _steps(weights, penalty), agents, towards=True)
        return _mann(v, agents, weights, 0.5), agents, rest

    def solution(self, problem: Any, point: PyTree) -> PyTree:
        """X = Σ wᵢ vᵢ."""
        del problem
        return _average(point[0], jax.lax.stop_gradient(point[2][0]))


def _agents(problem: Problem, n_inner: int) -> Agents:
    quadratic, others = quadratic_and_split(problem)
    for f, A in others:
        if not isinstance(A, Identity):
            raise ValueError(
                f"`problem` has {type(f).__name__} behind {type(A).__name__}, which is no agent: "
                "pass a functional that contains its operator, or use ADMM"
            )
    data = tuple(_data_agent(term, n_inner) for term in quadratic)
    return Agents(data, tuple(f for f, _ in others))


def _data_agent(term: Term, n_inner: int) -> DataStep:
    return data_step((term,), (identity(term[1].domain),), (1.0,), n_inner=n_inner)


def _steps(weights: tuple, penalty: Array) -> tuple:
    return tuple(1 / (penalty * w) for w in weights)


def _average(v: tuple, weights: tuple) -> PyTree:
    total = tree.scale(weights[0], v[0])
    for w, vi in zip(weights[1:], v[1:], strict=True):
        total = tree.add_scaled(total, w, vi)
    return total


def _mann(v: tuple, agents: tuple, weights: tuple, relaxation: Any) -> tuple:
    reflected = tree.add_scaled(agents, 1.0, tree.sub(agents, v))
    mean = _average(reflected, weights)
    consensus = tuple(tree.add_scaled(mean, 1.0, tree.sub(mean, r)) for r in reflected)
    return mixed(v, consensus, relaxation)
