"""Barzilai-Borwein steps, with or without a proximal term, made safe by a nonmonotone search.

With δ = x − x⁻ and γ = ∇F(x) − ∇F(x⁻) the next proximal gradient step has size

    t = ‖δ‖² / Re⟨δ, γ⟩    or    t = Re⟨δ, γ⟩ / ‖γ‖²                                        (1)

(long or short: Barzilai and Borwein, IMA J. Numer. Anal. 8, 1988), halved until the objective is
below the largest of the last few:

    φ(x⁺) ≤ max φ − σ ‖x⁺ − x‖² / 2t                                                        (2)

(SpaRSA: Wright, Nowak and Figueiredo, IEEE Trans. Signal Process. 57, 2009; for smooth problems
Raydan, SIAM J. Optim. 7, 1997). It needs no Lipschitz constant.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Problem, pytree, static, tree
from jaxrecon.solvers.gradient._linesearch import rounding_of
from jaxrecon.solvers.gradient._proximal import plain_step, step_at
from jaxrecon.solvers.gradient._smooth import Composite, composite, recalled, value_and_gradient


class SpectralState(NamedTuple):
    """Iterate, ∇F there, the next step to try, and the last objectives, newest first."""

    x: Any
    gradient: Any
    step: Array
    objectives: Array


class SpectralInfo(NamedTuple):
    """Relative change of the iterate, the step size used, F + g at the new iterate."""

    residual: Array
    step: Array
    objective: Array


@pytree
class BarzilaiBorwein(Algorithm):
    """Proximal gradient with spectral steps (SpaRSA).

    Its steps are constants to differentiation: an unrolled derivative is that of the iteration with
    the steps it took.

    Args:
        step_size: the first step; of the right order if None.
        sufficient: σ of (2).
        short: the short steps of (1), more careful.
        memory: how many objectives (2) looks back; 1 is monotone.
        n_trials: halvings at most in one iteration.

    Example:
        >>> from jaxrecon.core import diagonal, run
        >>> from jaxrecon.functionals import LeastSquares
        >>> A = diagonal(jnp.array([1.0, 10.0]), jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([1.0, 10.0])), A),))
        >>> run(BarzilaiBorwein(), problem, jnp.zeros(2), n_iter=20).value.round(3).tolist()
        [1.0, 1.0]
    """

    step_size: Any = None
    sufficient: Any = 1e-4
    short: bool = static(default=False)
    memory: int = static(default=10)
    n_trials: int = static(default=40)

    def prepare(self, problem: Problem | Composite) -> Composite:
        return composite(problem, self.step_size, estimate=False)

    def init(
        self, problem: Problem | Composite, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> SpectralState:
        del key
        problem = self.prepare(problem)
        value, gradient = value_and_gradient(problem.terms, x0)
        # x0 may lie outside g's set: then its objective is no bound, and any first step will do.
        value = value if problem.rough is None else value + problem.rough(x0)
        objectives = jnp.full((self.memory,), -jnp.inf, value.dtype).at[0].set(value)
        return SpectralState(x0, gradient, step_at(problem, x0), jax.lax.stop_gradient(objectives))

    def step(
        self, problem: Problem | Composite, state: SpectralState, inputs: Any
    ) -> tuple[SpectralState, SpectralInfo]:
        del inputs
        problem = self.prepare(problem)
        frozen = jax.lax.stop_gradient((problem, state, self.sufficient))
        step, new, gradient, objective = _search(self.n_trials, *frozen)
        new = recalled(_proximal_step, new, problem, state.x, state.gradient, step)
        gradient = recalled(_gradient, gradient, problem, new)
        following = self._spectral_step(state, new, gradient, step)
        objectives = jnp.roll(state.objectives, 1).at[0].set(objective)
        info = SpectralInfo(tree.relative_change(new, state.x), step, objective)
        return SpectralState(new, gradient, following, objectives), info

    def value(self, state: SpectralState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Problem | Composite, x: PyTree) -> PyTree:
        return plain_step(self.prepare(problem), x)

    def _spectral_step(self, state: SpectralState, x: PyTree, gradient: PyTree, step: Array):
        """Equation (1); where the curvature is not positive, twice the last step."""
        move, change = tree.sub(x, state.x), tree.sub(gradient, state.gradient)
        inner = tree.dot(move, change)
        above = inner if self.short else tree.sum_of_squares(move)
        below = tree.sum_of_squares(change) if self.short else inner
        usable = (above > 0) & (below > 0) & jnp.isfinite(above)
        fresh = jnp.where(usable, above / jnp.where(usable, below, 1), 2 * step)
        still = tree.sum_of_squares(move) == 0
        return jax.lax.stop_gradient(jnp.where(still, step, fresh).astype(state.step.dtype))


def _proximal_step(problem: Composite, x: PyTree, gradient: PyTree, step: Array) -> PyTree:
    moved = tree.add_scaled(x, -step, gradient)
    return moved if problem.rough is None else problem.rough.prox(moved, step)


def _gradient(problem: Composite, x: PyTree) -> PyTree:
    return value_and_gradient(problem.terms, x)[1]


def _search(n_trials: int, problem: Composite, state: SpectralState, sufficient: Array):
    """The step size, the new iterate, its gradient and its objective, by condition (2)."""
    bound = jnp.max(state.objectives)

    def attempt(step):
        new = _proximal_step(problem, state.x, state.gradient, step)
        value, gradient = value_and_gradient(problem.terms, new)
        value = value if problem.rough is None else value + problem.rough(new)
        value = value.astype(bound.dtype)
        decrease = sufficient * tree.sum_of_squares(tree.sub(new, state.x)) / (2 * step)
        safe = (value <= bound - decrease + rounding_of(value)) | jnp.isposinf(bound)
        return new, gradient, value, safe

    def body(carry):
        i, step, *_ = carry
        step = step / 2
        return (i + 1, step, *attempt(step))

    going = lambda c: ~c[5] & (c[0] < n_trials)  # noqa: E731
    start = (1, state.step, *attempt(state.step))
    _, step, new, gradient, value, _ = jax.lax.while_loop(going, body, start)
    return step, new, gradient, value
