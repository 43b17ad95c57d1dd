"""Three operators: minimise h(x) + g(x) + Σ fᵢ(Aᵢ x), h smooth by its gradient, the rest by
proximal maps, no linear solve.

    x̃  = prox_{τ g}(x − τ (∇h(x) + Σ Aᵢᴴ yᵢ))
    x̄  = 2 x̃ − x                                   (Condat 2013, Vũ 2013)
    x̄  = 2 x̃ − x + τ (∇h(x) − ∇h(x̃))               (PD3O: Yan, J. Sci. Comput. 76, 2018)    (1)
    ỹᵢ = prox_{σᵢ fᵢ*}(yᵢ + σᵢ Aᵢ x̄)

With L the Lipschitz constant of ∇h, σᵢ = σ/‖Aᵢ‖² and c = ‖(Aᵢ/‖Aᵢ‖)ᵢ‖, Condat-Vũ converges for
1/τ − σc² ≥ L/2, PD3O for τ < 2/L and στc² ≤ 1: longer steps, for one more block product. Against
PDHG, a projector's data term costs one gram instead of a dual variable with its own step, but the
step is bound to L.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, Problem, pytree, tree
from jaxrecon.solvers.gradient._grams import with_fast_grams
from jaxrecon.solvers.gradient._smooth import gradient_of, inverse_lipschitz
from jaxrecon.solvers.splitting._blocks import (
    Term,
    primal_and_blocks,
    relative,
    smooth_and_split,
    sum_of_adjoints,
    weighted_squares,
)
from jaxrecon.solvers.splitting._pdhg import (
    Scales,
    descend,
    dual_steps,
    proximal,
    scales_of,
    squared_norms,
)


@pytree
class ThreeOperators:
    """A problem as h, g and blocks, with 1/L and the blocks' scalings."""

    smooth: tuple[Any, ...]
    primal: Any
    blocks: tuple[Term, ...]
    inverse_lipschitz: Array
    scales: Scales

    @property
    def operators(self) -> tuple[LinearOperator, ...]:
        """The Aᵢ."""
        return tuple(A for _, A in self.blocks)

    def gradient(self, x: PyTree) -> PyTree:
        """∇h."""
        return gradient_of(self.smooth, x)


class CondatVuState(NamedTuple):
    """X, ∇h(x), y, Σ Aᴴy, steps τ and σᵢ, and the largest slope so far, squared."""

    x: Any
    slope: Any
    y: tuple
    AHy: Any
    tau: Array
    sigmas: tuple
    size: Array


class CondatVuInfo(NamedTuple):
    """The larger of both residuals, relative; each by itself."""

    residual: Array
    primal: Array
    dual: Array


@pytree
class CondatVu(Algorithm):
    """Condat-Vũ; see the module's text.

    Every smooth term of known curvature belongs to h; g is the first other term behind the
    identity; the rest are blocks.

    Args:
        fraction: of the largest step, in (0, 1): τ = fraction·2/L, and the largest σ beside it.
        steps: (τ, σ) instead, with σᵢ = σ/‖Aᵢ‖².

    Example:
        >>> from jaxrecon.core import gradient, identity, run
        >>> from jaxrecon.functionals import L21, LeastSquares
        >>> y = jnp.array([[0.0, 0.0, 3.0, 3.0]])
        >>> problem = Problem(((LeastSquares(y), identity(y)), (L21(1.0), gradient(y))))
        >>> run(CondatVu(), problem, n_iter=200).value.round(3).tolist()
        [[0.5, 0.5, 2.5, 2.5]]
    """

    fraction: Any = 0.5
    steps: Any = None

    def prepare(self, problem: Any) -> ThreeOperators:
        """Fast grams and norms, once."""
        return _three_operators(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> CondatVuState:
        del key
        problem = self.prepare(problem)
        tau = 2 * self.fraction * problem.inverse_lipschitz
        sigma = 1 / tau - 0.5 / problem.inverse_lipschitz
        return _init(problem, x0, tau, sigma, self.steps)

    def step(
        self, problem: Any, state: CondatVuState, inputs: Any
    ) -> tuple[CondatVuState, CondatVuInfo]:
        del inputs
        return _step(self.prepare(problem), state, corrected=False)

    def value(self, state: CondatVuState) -> PyTree:
        return state.x

    def point(self, state: CondatVuState) -> PyTree:
        """(x, y), with the step sizes, which are not differentiated, riding along."""
        return state.x, state.y, (state.tau, state.sigmas)

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        """Equation (1) on (x, y)."""
        return _fixed_point(problem, point, corrected=False)

    def solution(self, problem: Any, point: PyTree) -> PyTree:
        """The x of (x, y)."""
        del problem
        return point[0]


@pytree
class PD3O(Algorithm):
    """Primal-dual three-operator splitting; see the module's text.

    The terms are used as by `CondatVu`, with longer steps.

    Args:
        fraction: of the largest step, in (0, 1): τ = fraction·2/L, and the largest σ beside it.
        steps: (τ, σ) instead, with σᵢ = σ/‖Aᵢ‖².
    """

    fraction: Any = 0.9
    steps: Any = None

    def prepare(self, problem: Any) -> ThreeOperators:
        """Fast grams and norms, once."""
        return _three_operators(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> CondatVuState:
        del key
        problem = self.prepare(problem)
        tau = 2 * self.fraction * problem.inverse_lipschitz
        return _init(problem, x0, tau, 1 / tau, self.steps)

    def step(
        self, problem: Any, state: CondatVuState, inputs: Any
    ) -> tuple[CondatVuState, CondatVuInfo]:
        del inputs
        return _step(self.prepare(problem), state, corrected=True)

    def value(self, state: CondatVuState) -> PyTree:
        return state.x

    def point(self, state: CondatVuState) -> PyTree:
        """(x, y), with the step sizes, which are not differentiated, riding along."""
        return state.x, state.y, (state.tau, state.sigmas)

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        """Equation (1) on (x, y)."""
        return _fixed_point(problem, point, corrected=True)

    def solution(self, problem: Any, point: PyTree) -> PyTree:
        """The x of (x, y)."""
        del problem
        return point[0]


def _three_operators(problem: Problem | ThreeOperators) -> ThreeOperators:
    if isinstance(problem, ThreeOperators):
        return problem
    smooth, others = smooth_and_split(problem)
    if not smooth:
        raise ValueError("`problem` has no smooth term of known curvature: use PDHG")
    primal, blocks = primal_and_blocks(others)
    if not blocks:
        raise ValueError("`problem` has no term to dualise: use FISTA")
    smooth = with_fast_grams(smooth)
    scales = scales_of(blocks, tree.zeros(problem.domain))
    return ThreeOperators(smooth, primal, blocks, inverse_lipschitz(smooth), scales)


def _init(problem: ThreeOperators, x0: PyTree, tau: Any, sigma: Any, steps: Any) -> CondatVuState:
    """σᵢ = σ/(c²‖Aᵢ‖²) of the rules above, or σ/‖Aᵢ‖² of a σ that was given."""
    real = problem.inverse_lipschitz.dtype
    if steps is not None:
        tau, sigma = steps
        sigmas = tuple(jnp.asarray(sigma / n, real) for n in squared_norms(problem.scales))
    else:
        scaled = (problem.scales.primal * s for s in problem.scales.dual)  # Sᵢ/c²
        sigmas = tuple(jnp.asarray(sigma * s, real) for s in scaled)
    y = tuple(tree.zeros(A.range) for A in problem.operators)
    slope = problem.gradient(x0)
    size = jnp.maximum(problem.scales.size, tree.sum_of_squares(slope)).astype(real)
    zero = jax.tree.map(jnp.zeros_like, x0)
    return CondatVuState(x0, slope, y, zero, jnp.asarray(tau, real), sigmas, size)


def _step(
    problem: ThreeOperators, state: CondatVuState, *, corrected: bool
) -> tuple[CondatVuState, CondatVuInfo]:
    moved = _moved(problem, state.x, state.slope, state.y, state.AHy, state, corrected)
    x, x_bar, slope, y, AHy = moved
    new = CondatVuState(x, slope, y, AHy, state.tau, state.sigmas, _largest(problem, state, moved))
    primal = tree.sub(tree.add(slope, AHy), tree.add(state.slope, state.AHy))
    primal = tree.add_scaled(primal, -1 / state.tau, tree.sub(x, state.x))
    gaps, images = [], []
    for A, old, now, s in zip(problem.operators, state.y, y, state.sigmas, strict=True):
        extrapolation = A.forward(tree.sub(x_bar, x))
        gaps.append(tree.add_scaled(extrapolation, -1 / s, tree.sub(now, old)))
        images.append(A.forward(x))
    weights = [1 / n for n in squared_norms(problem.scales)]
    dual = relative(weighted_squares(weights, gaps, x), weighted_squares(weights, images, x))
    primal = relative(tree.sum_of_squares(primal), new.size)
    return new, CondatVuInfo(jnp.maximum(primal, dual), primal, dual)


def _moved(problem, x, slope, y, AHy, steps, corrected):
    """Equation (1): x̃, x̄, ∇h(x̃), ỹ, Aᴴỹ."""
    new = proximal(problem.primal, descend(x, steps.tau, tree.add(slope, AHy)), steps.tau)
    new_slope = problem.gradient(new)
    x_bar = tree.add_scaled(new, 1.0, tree.sub(new, x))
    if corrected:
        x_bar = tree.add_scaled(x_bar, steps.tau, tree.sub(slope, new_slope))
    images = tuple(A.forward(x_bar) for A in problem.operators)
    y = dual_steps(problem.blocks, y, images, steps.sigmas)
    return new, x_bar, new_slope, y, sum_of_adjoints(problem.operators, y)


def _largest(problem: ThreeOperators, state: CondatVuState, moved: tuple) -> Array:
    x, _, slope, y, _ = moved
    duals = weighted_squares(squared_norms(problem.scales), y, x)
    now = jnp.maximum(duals, tree.sum_of_squares(slope))
    return jnp.maximum(state.size, now).astype(state.size.dtype)


class _Steps(NamedTuple):
    tau: Array
    sigmas: tuple


def _fixed_point(problem: ThreeOperators, point: PyTree, *, corrected: bool) -> PyTree:
    x, y, steps = point
    AHy = sum_of_adjoints(problem.operators, y)
    constants = _Steps(*jax.lax.stop_gradient(steps))
    new, _, _, y, _ = _moved(problem, x, problem.gradient(x), y, AHy, constants, corrected)
    return new, y, steps
