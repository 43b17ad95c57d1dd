"""Gauss-Newton methods with conjugate gradients inside, for nonlinear forward models.

For F(x) = Σ f(A(x)), with J the derivative of A at x and W the curvature of f,

    H = Σ JᴴWJ,    (H + α) d = −∇F(x) − α (x − x₀)                                          (1)

H is exact for quadratic f (least squares, Tikhonov); for another f with a known bound of its
curvature (1) majorises it. `GaussNewton` lets α decay, the iteratively regularised method
(Bakushinsky 1992; for joint image and coil estimation Uecker et al., MRM 60, 2008).
`LevenbergMarquardt` pulls to the last iterate instead (no x₀) and adapts α to the ratio of actual
to predicted decrease (Nielsen, IMM-REP-1999-05, Technical University of Denmark):

    ρ = (F(x) − F(x + d)) / ½(α‖d‖² − Re⟨∇F, d⟩)                                            (2)

which holds for every iterate of CG from zero, not just for exact solutions.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Identity, LinearOperator, Problem, pytree, run, static, tree
from jaxrecon.solvers.gradient._linesearch import rounding_of
from jaxrecon.solvers.gradient._proximal import smooth_composite
from jaxrecon.solvers.gradient._smooth import (
    Composite,
    Term,
    curvature,
    gradient_of,
    inverse_lipschitz,
    value_and_gradient,
)
from jaxrecon.solvers.linear._cg import ConjugateGradient, LinearSystem


class NewtonState(NamedTuple):
    """Iterate, the point x₀ of the regularisation, its weight α."""

    x: Any
    start: Any
    damping: Array


class NewtonInfo(NamedTuple):
    """Relative change of the iterate, α, F before the step, the inner solve's residual."""

    residual: Array
    damping: Array
    objective: Array
    inner: Array


class MarquardtState(NamedTuple):
    """Iterate, damping α, and the factor by which a rejection raises it."""

    x: Any
    damping: Array
    factor: Array


class MarquardtInfo(NamedTuple):
    """‖d‖/‖x‖ of the step tried, α, F before it, the gain ratio ρ, the inner solve's residual."""

    residual: Array
    damping: Array
    objective: Array
    gain: Array
    inner: Array


@pytree
class GaussNewton(Algorithm):
    """Gauss-Newton, equation (1); with `damping`, iteratively regularised.

    Args:
        damping: α of the first step; ``inputs={"damping": alphas}`` gives all of them.
        decay: factor from one α to the next.
        floor: the smallest α.
        n_inner: conjugate gradient iterations of one step, at most.
        inner_tol: relative residual at which those stop.

    Example:
        >>> from jaxrecon.core import pointwise, run
        >>> from jaxrecon.functionals import LeastSquares
        >>> problem = Problem(((LeastSquares(jnp.array([4.0])), pointwise(jnp.exp, jnp.zeros(1))),))
        >>> x = run(GaussNewton(), problem, jnp.ones(1), n_iter=10).value
        >>> bool(jnp.allclose(x, jnp.log(4.0)))
        True
    """

    damping: Any = 0.0
    decay: Any = 0.5
    floor: Any = 0.0
    n_inner: int = static(default=30)
    inner_tol: Any = 1e-6

    def prepare(self, problem: Problem | Composite) -> Composite:
        return smooth_composite(self, problem, None, estimate=False)

    def init(
        self, problem: Problem | Composite, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> NewtonState:
        del problem, key
        return NewtonState(x0, x0, jnp.asarray(self.damping, _real(x0)))

    def step(
        self, problem: Problem | Composite, state: NewtonState, inputs: Any
    ) -> tuple[NewtonState, NewtonInfo]:
        terms = self.prepare(problem).terms
        given = None if inputs is None else inputs.get("damping")
        damping = state.damping if given is None else jnp.asarray(given, state.damping.dtype)
        value, gradient = value_and_gradient(terms, state.x)
        pull = tree.scale(damping, tree.sub(state.x, state.start))
        rhs = tree.scale(-1.0, tree.add(gradient, pull))
        H = _curvature_at(terms, state.x)
        d, inner = _solve(H, damping, rhs, self.n_inner, self.inner_tol)
        x = tree.add(state.x, d)
        info = NewtonInfo(tree.relative_change(x, state.x), damping, value, inner)
        following = jnp.maximum(self.decay * damping, self.floor).astype(damping.dtype)
        return NewtonState(x, state.start, following), info

    def value(self, state: NewtonState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Problem | Composite, x: PyTree) -> PyTree:
        """A gradient step: stationarity of F, as α has decayed."""
        return _gradient_step(self.prepare(problem).terms, x)


@pytree
class LevenbergMarquardt(Algorithm):
    """Gauss-Newton with adaptive damping: descends from anywhere; equation (2).

    Args:
        damping: the first α, relative to the largest eigenvalue of H at the start.
        n_inner: conjugate gradient iterations of one step, at most.
        inner_tol: relative residual at which those stop.

    Example:
        >>> from jaxrecon.core import pointwise, run
        >>> from jaxrecon.functionals import LeastSquares
        >>> problem = Problem(((LeastSquares(jnp.array([4.0])), pointwise(jnp.exp, jnp.zeros(1))),))
        >>> x = run(LevenbergMarquardt(), problem, -3 * jnp.ones(1), n_iter=30).value
        >>> bool(jnp.allclose(x, jnp.log(4.0)))
        True
    """

    damping: Any = 1e-3
    n_inner: int = static(default=30)
    inner_tol: Any = 1e-6

    def prepare(self, problem: Problem | Composite) -> Composite:
        return smooth_composite(self, problem, None, estimate=False)

    def init(
        self, problem: Problem | Composite, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> MarquardtState:
        del key
        largest = 1 / inverse_lipschitz(_linearised(self.prepare(problem).terms, x0))
        damping = jnp.asarray(self.damping * largest, _real(x0))
        return MarquardtState(x0, damping, jnp.full_like(damping, 2))

    def step(
        self, problem: Problem | Composite, state: MarquardtState, inputs: Any
    ) -> tuple[MarquardtState, MarquardtInfo]:
        del inputs
        terms = self.prepare(problem).terms
        value, gradient = value_and_gradient(terms, state.x)
        rhs = tree.scale(-1.0, gradient)
        H = _curvature_at(terms, state.x)
        d, inner = _solve(H, state.damping, rhs, self.n_inner, self.inner_tol)
        trial = tree.add(state.x, d)
        gain = _gain(terms, value, gradient, trial, d, state.damping)
        accepted = gain > 0
        damping, factor = _nielsen(state.damping, state.factor, gain)
        x = tree.where(accepted, trial, state.x)
        size = tree.norm(state.x)
        info = MarquardtInfo(tree.norm(d) / (size + (size == 0)), state.damping, value, gain, inner)
        return MarquardtState(x, damping, factor), info

    def value(self, state: MarquardtState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Problem | Composite, x: PyTree) -> PyTree:
        """A gradient step."""
        return _gradient_step(self.prepare(problem).terms, x)


def _linearised(terms: tuple[Term, ...], x: PyTree) -> tuple[Term, ...]:
    return tuple((f, A.linearise(x)[1]) for f, A in terms)


def _curvature_at(terms: tuple[Term, ...], x: PyTree) -> LinearOperator:
    """H of equation (1)."""
    return functools.reduce(lambda a, b: a + b, (curvature(f, J) for f, J in _linearised(terms, x)))


def _solve(H: LinearOperator, damping: Array, rhs: PyTree, n_iter: int, tol: Any):
    """(H + α)⁻¹ rhs by a scan of CG steps, differentiable as it is, and its relative residual."""
    system = LinearSystem(H + damping * Identity(H.domain), rhs)
    start = tree.zeros(tree.structs(rhs))
    result = run(ConjugateGradient(), system, start, n_iter=n_iter, tol=tol, gradient="unrolled")
    return result.value, result.info.residual[result.n_iter - 1]


def _gradient_step(terms: tuple[Term, ...], x: PyTree) -> PyTree:
    at_x = _linearised(*jax.lax.stop_gradient((terms, x)))
    return tree.add_scaled(x, -inverse_lipschitz(at_x), gradient_of(terms, x))


def _gain(terms, value, gradient, trial, d, damping) -> Array:
    """ρ of (2), 1 where the prediction is lost in rounding; no gradient flows through it."""
    fixed = jax.lax.stop_gradient((terms, value, gradient, trial, d, damping))
    terms, value, gradient, trial, d, damping = fixed
    actual = value - value_and_gradient(terms, trial)[0]
    predicted = (damping * tree.sum_of_squares(d) - tree.dot(gradient, d)) / 2
    visible = predicted > rounding_of(value)
    gain = jnp.where(visible, actual / jnp.where(visible, predicted, 1), 1)
    return jnp.where(jnp.isfinite(actual), gain, -1)


def _nielsen(damping: Array, factor: Array, gain: Array) -> tuple[Array, Array]:
    accepted = gain > 0
    eased = damping * jnp.maximum(1 / 3, 1 - (2 * gain - 1) ** 3)
    following = jnp.where(accepted, eased, damping * factor)
    raised = jnp.where(accepted, 2, 2 * factor)
    return following.astype(damping.dtype), raised.astype(factor.dtype)


def _real(x: PyTree) -> Any:
    return jnp.finfo(jax.tree.leaves(x)[0].dtype).dtype
