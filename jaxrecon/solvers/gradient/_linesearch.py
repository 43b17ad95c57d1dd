"""Step sizes from the objective itself: backtracking on the quadratic upper bound.

A step x⁺ = prox_{tg}(z − t∇F(z)) is long enough to be safe if

    F(x⁺) ≤ F(z) + Re⟨∇F(z), x⁺ − z⟩ + ‖x⁺ − z‖² / 2t                                      (1)

(Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009). Without g this is Armijo's condition with
constant ½. In small steps rounding decides (1). There F(x⁺) − F(z) is taken from the gradients at
both ends, by the trapezoidal rule,

    Re⟨∇F(x⁺) − ∇F(z), x⁺ − z⟩ ≤ ‖x⁺ − z‖² / t                                             (2)

which is (1) for a quadratic F, and to the third order in x⁺ − z for any; no large numbers cancel in
it (the idea of Hager and Zhang's approximate condition, SIAM J. Optim. 16, 2005). With δ = ‖x⁺ −
z‖² / 2t|F(z)|, rounding errs by ε/δ in (1), the rule by about √δ in (2): they change at δ = ε^⅔.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import pytree, static, tree
from jaxrecon.solvers.gradient._smooth import Composite, expansion, recalled, value_and_gradient

_ROUNDINGS = 100  # how many units of rounding in F a difference must exceed to count


@pytree
class Backtracking:
    """Tries a step, the last one, and shorter ones until condition (1) or (2) of the module holds.

    The step sizes are found under stop_gradient. Since they come from a discrete set, an unrolled
    derivative is still exact wherever it exists.

    Args:
        shrink: factor from one trial to the next, below 1.
        growth: factor by which a method may start beyond its last step, 1 for steps that only
            shrink.
        n_trials: trials at most in one step of the method.
    """

    shrink: Any = 0.5
    growth: Any = 1.5
    n_trials: int = static(default=40)

    def search(
        self, problem: Composite, z: PyTree, trial: Array, last: Array
    ) -> tuple[PyTree, Array]:
        """The proximal gradient step from z, and its size.

        Args:
            problem: F and g.
            z: where the gradient is taken.
            trial: the size to begin with.
            last: the last accepted size.
        """
        fixed = jax.lax.stop_gradient((problem, z, trial, last, self.shrink))
        step, new = _search(self.n_trials, *fixed)
        return recalled(proximal_step, new, problem, z, step), step


def proximal_step(problem: Composite, z: PyTree, step: Array) -> PyTree:
    """prox_{tg}(z − t ∇F(z))."""
    return _proximal_step(problem, z, value_and_gradient(problem.terms, z)[1], step)


def rounding_of(value: Array) -> Array:
    """How small a difference of objectives near `value` still means something."""
    return _ROUNDINGS * jnp.finfo(value.dtype).eps * jnp.abs(value)


def _proximal_step(problem: Composite, z: PyTree, gradient: PyTree, step: Array) -> PyTree:
    moved = tree.add_scaled(z, -step, gradient)
    return moved if problem.rough is None else problem.rough.prox(moved, step)


def _search(n_trials: int, problem: Composite, z: PyTree, trial: Array, last: Array, shrink: Any):
    here = expansion(problem.terms, z)
    gradient, small = here.gradient, jnp.finfo(here.value.dtype).eps ** (2 / 3) * abs(here.value)

    def attempt(step):
        new = _proximal_step(problem, z, gradient, step)
        move, there = tree.sub(new, z), expansion(problem.terms, new)
        allowed = tree.sum_of_squares(move) / (2 * step)
        by_values = there.value - here.value - tree.dot(gradient, move)
        by_slopes = jnp.where(jnp.isfinite(there.value), here.bend(there) / 2, there.value)
        return new, jnp.where(allowed > small, by_values, by_slopes) <= allowed

    def body(carry):
        i, step, *_ = carry
        shorter = (shrink * step).astype(step.dtype)
        step = jnp.where(step > last, jnp.maximum(shorter, last), shorter)
        return (i + 1, step, *attempt(step))

    going = lambda c: ~c[3] & (c[0] < n_trials)  # noqa: E731
    _, step, new, _ = jax.lax.while_loop(going, body, (1, trial, *attempt(trial)))
    return step, new
