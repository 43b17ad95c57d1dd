"""Gradient descent and proximal gradient methods: minimise Σ f(A x) + g(x), f smooth.

Proximal gradient (ISTA) steps x⁺ = prox_{tg}(x − t Σ Aᴴ∇f(Ax)). FISTA extrapolates before the step
(Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009) and forgets its momentum when that points uphill
(gradient restart: O'Donoghue and Candès, Found. Comput. Math. 15, 2015). The step is 1/L by power
iteration unless given.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Problem, pytree, static, tree
from jaxrecon.solvers._smooth import (
    gradient_of,
    inverse_lipschitz,
    proximal_term,
    relative_change,
    smooth_terms,
)


class ProximalState(NamedTuple):
    """Iterate, step size, and the key of a stochastic proximal map."""

    x: Any
    step: Array
    key: Any


class FistaState(NamedTuple):
    """Iterate, extrapolated point, momentum parameter t, step size, key."""

    x: Any
    z: Any
    t: Array
    step: Array
    key: Any


class StepInfo(NamedTuple):
    """Relative change of the iterate, and the step size used."""

    residual: Array
    step: Array


@pytree
class ProximalGradient(Algorithm):
    """ISTA; without a non-smooth term, gradient descent.

    Args:
        step_size: 1/L of the smooth terms if None. A step among `run`'s inputs overrides it:
            ``inputs={"step": steps}``.

    Example:
        >>> from jaxrecon.core import identity, run
        >>> from jaxrecon.functionals import L1, LeastSquares
        >>> I = identity(jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([3.0, 0.5])), I), (L1(1.0), I)))
        >>> run(ProximalGradient(), problem, jnp.zeros(2), n_iter=20).value.round(3).tolist()
        [2.0, 0.0]
    """

    step_size: Any = None

    def init(
        self, problem: Problem, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> ProximalState:
        return ProximalState(x0, _initial_step(self.step_size, problem), key)

    def step(
        self, problem: Problem, state: ProximalState, inputs: Any
    ) -> tuple[ProximalState, StepInfo]:
        step = _step_of(inputs, state.step)
        key, draw = _next_key(state.key)
        new = _proximal_step(problem, state.x, step, draw)
        return ProximalState(new, state.step, key), StepInfo(relative_change(new, state.x), step)

    def value(self, state: ProximalState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Problem, x: PyTree) -> PyTree:
        return _proximal_step(problem, x, _initial_step(self.step_size, problem), None)


GradientDescent = ProximalGradient


@pytree
class FISTA(Algorithm):
    """Accelerated proximal gradient with gradient restart.

    Args:
        step_size: 1/L of the smooth terms if None.
        restart: drop the momentum when the last step went against the gradient map.
    """

    step_size: Any = None
    restart: bool = static(default=True)

    def init(
        self, problem: Problem, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> FistaState:
        step = _initial_step(self.step_size, problem)
        return FistaState(x0, x0, jnp.ones_like(step), step, key)

    def step(self, problem: Problem, state: FistaState, inputs: Any) -> tuple[FistaState, StepInfo]:
        step = _step_of(inputs, state.step)
        key, draw = _next_key(state.key)
        new = _proximal_step(problem, state.z, step, draw)
        moved = tree.sub(new, state.x)
        uphill = tree.dot(tree.sub(state.z, new), moved) > 0
        t = jnp.where(uphill & self.restart, 1.0, state.t)
        t_next = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        z = tree.add_scaled(new, (t - 1) / t_next, moved)
        info = StepInfo(relative_change(new, state.x), step)
        return FistaState(new, z, t_next.astype(state.t.dtype), state.step, key), info

    def value(self, state: FistaState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Problem, x: PyTree) -> PyTree:
        return _proximal_step(problem, x, _initial_step(self.step_size, problem), None)


def _proximal_step(problem: Problem, x: PyTree, step: Any, key: Any) -> PyTree:
    moved = tree.add_scaled(x, -step, gradient_of(smooth_terms(problem), x))
    rough = proximal_term(problem)
    if rough is None:
        return moved
    return (rough if key is None else rough.randomised(key)).prox(moved, step)


def _initial_step(step: Any, problem: Problem) -> Array:
    return inverse_lipschitz(smooth_terms(problem)) if step is None else jnp.asarray(step)


def _step_of(inputs: Any, default: Array) -> Array:
    return default if inputs is None else jnp.asarray(inputs["step"], default.dtype)


def _next_key(key: Any) -> tuple[Any, Any]:
    if key is None:
        return None, None
    following, draw = jax.random.split(key)
    return following, draw
