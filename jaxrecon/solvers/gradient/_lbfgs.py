"""Limited-memory BFGS for smooth problems of real and complex images.

The method works on the real vector space behind Re⟨·,·⟩: a complex image is the pair of its real
and imaginary parts. Directions are −H∇F with H from the last m moves s and changes of gradient y
by the two-loop recursion (Liu and Nocedal, Math. Program. 45, 1989),

    H⁺ = (1 − ρ s yᵀ) H (1 − ρ y sᵀ) + ρ s sᵀ,    ρ = 1/⟨s, y⟩,                              (1)

steps from optax's zoom line search (strong Wolfe conditions, with the approximate ones of Hager and
Zhang near rounding). To a derivative H and the steps are constants, as in a preconditioned gradient
method: an unrolled derivative is not that of the path, but tends to that of the solution.
"""

import operator as op
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxrecon.core import Algorithm, Problem, pytree, static, tree
from jaxrecon.solvers.gradient._proximal import plain_step, smooth_composite
from jaxrecon.solvers.gradient._smooth import (
    Composite,
    gradient_of,
    recalled,
    value_and_gradient,
)


class Memory(NamedTuple):
    """Moves s and changes of gradient y, ``(pair, ...)``, the newest last; ρ, 0 where none is."""

    moves: Any
    changes: Any
    weights: Float[Array, " pair"]


class LbfgsState(NamedTuple):
    """Iterate, F and ∇F there, ‖∇F(x₀)‖, and the memory on the real vector space."""

    x: Any
    objective: Array
    gradient: Any
    scale: Array
    memory: Memory


class LbfgsInfo(NamedTuple):
    """‖∇F(x)‖ / ‖∇F(x₀)‖, the step along the direction, F, and evaluations in the search."""

    residual: Array
    step: Array
    objective: Array
    n_trials: Array


@pytree
class LBFGS(Algorithm):
    """L-BFGS with a zoom line search.

    An unrolled derivative is not that of the path: see the module's text.

    Args:
        memory: pairs of differences kept.
        n_trials: evaluations at most in one line search.

    Example:
        >>> from jaxrecon.core import diagonal, run
        >>> from jaxrecon.functionals import LeastSquares
        >>> A = diagonal(jnp.array([1.0, 10.0]), jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([1.0, 10.0])), A),))
        >>> run(LBFGS(), problem, jnp.zeros(2), n_iter=10).value.round(3).tolist()
        [1.0, 1.0]
    """

    memory: int = static(default=10)
    n_trials: int = static(default=20)

    def prepare(self, problem: Problem | Composite) -> Composite:
        return smooth_composite(self, problem, None, estimate=False)

    def init(
        self, problem: Problem | Composite, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> LbfgsState:
        del key
        value, gradient = value_and_gradient(self.prepare(problem).terms, x0)
        memory = _empty(tree.to_real(x0), self.memory)
        return LbfgsState(x0, jax.lax.stop_gradient(value), gradient, tree.norm(gradient), memory)

    def step(
        self, problem: Problem | Composite, state: LbfgsState, inputs: Any
    ) -> tuple[LbfgsState, LbfgsInfo]:
        del inputs
        terms = self.prepare(problem).terms
        point, slope = tree.to_real(state.x), tree.to_real(state.gradient)
        memory = jax.lax.stop_gradient(state.memory)
        direction = tree.scale(-1.0, precondition(memory, slope))
        found = self._search(terms, state, point, direction, slope)
        moved = tree.add_scaled(point, found.learning_rate, direction)
        x = tree.from_real(moved, state.x)
        known = tree.from_real(found.grad, state.x)
        gradient = recalled(gradient_of, known, terms, x)
        memory = _remembered(memory, tree.sub(moved, point), tree.sub(found.grad, slope))
        new = LbfgsState(x, found.value, gradient, state.scale, memory)
        relative = tree.norm(gradient) / (state.scale + (state.scale == 0))
        n_trials = found.info.num_linesearch_steps
        return new, LbfgsInfo(relative, found.learning_rate, found.value, n_trials)

    def value(self, state: LbfgsState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Problem | Composite, x: PyTree) -> PyTree:
        """A gradient step, of a size from the curvature at x."""
        return plain_step(self.prepare(problem), x)

    def _search(self, terms, state, point, direction, slope) -> Any:
        import optax  # half a second, for those who use it

        search = optax.scale_by_zoom_linesearch(self.n_trials, initial_guess_strategy="one")
        fixed = jax.lax.stop_gradient((terms, state.objective, point, direction, slope))
        terms, value, point, direction, slope = fixed
        objective = lambda p: _objective(terms, tree.from_real(p, state.x))  # noqa: E731
        arguments = {"value": value, "grad": slope, "value_fn": objective}
        return search.update(direction, search.init(point), point, **arguments)[1]


def precondition(memory: Memory, slope: PyTree) -> PyTree:
    """H·slope by equation (1) for every pair in the memory, from a multiple of the identity on."""
    pairs = [jax.tree.map(op.itemgetter(i), memory) for i in range(memory.weights.size)]
    shares = []
    for s, y, weight in reversed(pairs):
        share = weight * tree.dot(s, slope)
        slope = tree.add_scaled(slope, -share, y)
        shares.append(share)
    s, y, weight = pairs[-1]
    squares = tree.sum_of_squares(y)
    scale = tree.dot(s, y) / jnp.where(squares > 0, squares, 1)
    slope = tree.scale(jnp.where(weight > 0, scale, 1), slope)
    for (s, y, weight), share in zip(pairs, reversed(shares), strict=True):
        slope = tree.add_scaled(slope, share - weight * tree.dot(y, slope), s)
    return slope


def _empty(like: PyTree, size: int) -> Memory:
    stacks = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), like)
    return Memory(stacks, stacks, jnp.zeros(size, jax.tree.leaves(like)[0].dtype))


def _remembered(memory: Memory, move: PyTree, change: PyTree) -> Memory:
    """The oldest pair makes room for a new one of positive curvature; no derivative flows."""
    move, change = jax.lax.stop_gradient((move, change))
    curvature = tree.dot(move, change)
    weight = 1 / jnp.where(curvature > 0, curvature, 1)
    pushed = jax.tree.map(
        lambda stack, leaf: jnp.concatenate([stack[1:], leaf[None].astype(stack.dtype)]),
        memory,
        Memory(move, change, weight),
    )
    return tree.where(curvature > 0, pushed, memory)


# JAX's own derivative of F would cost another gram; `value_and_gradient` has it for free.
@jax.custom_vjp
def _objective(terms, x):
    return value_and_gradient(terms, x)[0]


def _objective_forward(terms, x):
    return value_and_gradient(terms, x)


def _objective_backward(gradient, ct):
    # The terms are constants of the line search.
    return None, jax.tree.map(lambda g: jnp.conj(ct * g), gradient)


_objective.defvjp(_objective_forward, _objective_backward)
