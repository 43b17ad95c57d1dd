"""Gradient descent and proximal gradient methods: minimise F(x) + g(x), F = Σ f(A x) smooth.

Proximal gradient (ISTA) steps x⁺ = prox_{tg}(x − t ∇F(x)). FISTA takes that step from an
extrapolated point z (Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009):

    t⁺ = (1 + √(1 + 4t²)) / 2,    z⁺ = x⁺ + (t − 1)/t⁺ (x⁺ − x)                             (1)

and forgets its momentum when it goes uphill (O'Donoghue and Candès, Found. Comput. Math. 15, 2015).
Without g it is Nesterov's method. For an F that is μ-strongly convex the momentum is constant,

    z⁺ = x⁺ + (1 − √q)/(1 + √q) (x⁺ − x),    q = μ·step                                     (2)

(Nesterov, Introductory Lectures on Convex Optimization, 2004, section 2.2). The step is 1/L by
power iteration unless given, or found by backtracking. Quadratic terms with a fast gram cost one
gram in each iteration (see `_grams`). Operators may be nonlinear: give a step or a line search.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Problem, pytree, static, tree
from jaxrecon.solvers.gradient._linesearch import Backtracking, proximal_step
from jaxrecon.solvers.gradient._smooth import Composite, composite, secant_step


class ProximalState(NamedTuple):
    """Iterate, last step size, and the key of a stochastic proximal map."""

    x: Any
    step: Array
    key: Any


class FistaState(NamedTuple):
    """Iterate, extrapolated point, momentum t, last step size, the next to try, F + g, key."""

    x: Any
    z: Any
    t: Array
    step: Array
    trial: Array
    objective: Array | None
    key: Any


class StepInfo(NamedTuple):
    """Relative change of the iterate, and the step size used."""

    residual: Array
    step: Array


@pytree
class ProximalGradient(Algorithm):
    """ISTA; without a non-smooth term, gradient descent.

    Args:
        step_size: 1/L of the smooth terms if None; with a line search, where it begins. A step
            among `run`'s inputs overrides both: ``inputs={"step": steps}``.
        line_search: finds the steps of functionals without a known curvature; each starts
            `growth` times beyond the last.

    Example:
        >>> from jaxrecon.core import identity, run
        >>> from jaxrecon.functionals import L1, LeastSquares
        >>> I = identity(jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([3.0, 0.5])), I), (L1(1.0), I)))
        >>> run(ProximalGradient(), problem, jnp.zeros(2), n_iter=20).value.round(3).tolist()
        [2.0, 0.0]
    """

    step_size: Any = None
    line_search: Backtracking | None = None

    def prepare(self, problem: Problem | Composite) -> Composite:
        return composite(problem, self.step_size, estimate=self.line_search is None)

    def init(
        self, problem: Problem | Composite, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> ProximalState:
        return ProximalState(x0, step_at(self.prepare(problem), x0), key)

    def step(
        self, problem: Problem | Composite, state: ProximalState, inputs: Any
    ) -> tuple[ProximalState, StepInfo]:
        return _advance(self.line_search, self.prepare(problem), state, inputs)

    def value(self, state: ProximalState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Problem | Composite, x: PyTree) -> PyTree:
        return plain_step(self.prepare(problem), x)


@pytree
class GradientDescent(Algorithm):
    """Gradient descent, x⁺ = x − t ∇F(x), on smooth terms only.

    For momentum take `FISTA` (Nesterov's method when all terms are smooth) or `POGM` (then the
    optimised gradient method); for steps that adapt to the curvature `BarzilaiBorwein`.

    Args:
        step_size: 1/L if None; with a line search, where it begins. ``inputs={"step": steps}``
            overrides both.
        line_search: backtracking by Armijo's condition with constant ½.

    Example:
        >>> from jaxrecon.core import identity, pointwise, run
        >>> from jaxrecon.functionals import LeastSquares
        >>> problem = Problem(((LeastSquares(jnp.array([4.0])), pointwise(jnp.exp, jnp.zeros(1))),))
        >>> algorithm = GradientDescent(line_search=Backtracking())
        >>> x = run(algorithm, problem, jnp.ones(1), n_iter=100).value
        >>> bool(jnp.allclose(x, jnp.log(4.0), rtol=1e-3))
        True
    """

    step_size: Any = None
    line_search: Backtracking | None = None

    def prepare(self, problem: Problem | Composite) -> Composite:
        return smooth_composite(self, problem, self.step_size, estimate=self.line_search is None)

    def init(
        self, problem: Problem | Composite, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> ProximalState:
        del key
        return ProximalState(x0, step_at(self.prepare(problem), x0), None)

    def step(
        self, problem: Problem | Composite, state: ProximalState, inputs: Any
    ) -> tuple[ProximalState, StepInfo]:
        return _advance(self.line_search, self.prepare(problem), state, inputs)

    def value(self, state: ProximalState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Problem | Composite, x: PyTree) -> PyTree:
        return plain_step(self.prepare(problem), x)


@pytree
class FISTA(Algorithm):
    """Accelerated proximal gradient; without a non-smooth term, Nesterov's method.

    Args:
        step_size: 1/L of the smooth terms if None; with a line search, where it begins.
            ``inputs={"step": steps}`` overrides both.
        line_search: finds the steps of functionals without a known curvature. From the start, and
            from each restart on, they grow until one has to be shortened.
        strong_convexity: μ of the smooth terms, for the constant momentum (2) instead of (1).
        restart: drop the momentum when the last step went against the gradient map ("gradient"),
            when the objective rose ("function", one more evaluation of it), or never (None).
    """

    step_size: Any = None
    line_search: Backtracking | None = None
    strong_convexity: Any = None
    restart: str | None = static(default="gradient")

    def prepare(self, problem: Problem | Composite) -> Composite:
        return composite(problem, self.step_size, estimate=self.line_search is None)

    def init(
        self, problem: Problem | Composite, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> FistaState:
        check_restart(self.restart, ("gradient", "function"))
        problem = self.prepare(problem)
        step = step_at(problem, x0)
        objective = problem(x0) if self.restart == "function" else None
        growth = 1.0 if self.line_search is None else self.line_search.growth
        trial = (growth * step).astype(step.dtype)
        return FistaState(x0, x0, jnp.ones_like(step), step, trial, objective, key)

    def step(
        self, problem: Problem | Composite, state: FistaState, inputs: Any
    ) -> tuple[FistaState, StepInfo]:
        key, draw = next_key(state.key)
        problem = randomised(self.prepare(problem), draw)
        given = step_of(inputs, state.step)
        if self.line_search is None or given is not state.step:
            new, step = proximal_step(problem, state.z, given), given
        else:
            new, step = self.line_search.search(problem, state.z, state.trial, state.step)
        moved = tree.sub(new, state.x)
        objective = problem(new) if self.restart == "function" else None
        uphill = self._goes_uphill(state, new, moved, objective)
        kept = step if self.line_search is not None else state.step
        trial = self._next_trial(state, kept, uphill)
        t, momentum = self._momentum(state.t, kept, trial, uphill)
        z = tree.add_scaled(new, momentum, moved)
        info = StepInfo(tree.relative_change(new, state.x), step)
        return FistaState(new, z, t.astype(state.t.dtype), kept, trial, objective, key), info

    def value(self, state: FistaState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Problem | Composite, x: PyTree) -> PyTree:
        return plain_step(self.prepare(problem), x)

    def _goes_uphill(self, state: FistaState, new: PyTree, moved: PyTree, objective: Any) -> Array:
        if self.restart == "gradient":
            return tree.dot(tree.sub(state.z, new), moved) > 0
        if self.restart == "function":
            return objective > state.objective
        return jnp.asarray(False)

    def _next_trial(self, state: FistaState, step: Array, restarted: Array) -> Array:
        """Steps grow from a restart on until a search has had to shorten one."""
        if self.line_search is None:
            return step
        growing = restarted | ((state.trial > state.step) & (step >= state.trial))
        return jnp.where(growing, self.line_search.growth * step, step).astype(step.dtype)

    def _momentum(
        self, t: Array, step: Array, following: Array, restarted: Array
    ) -> tuple[Array, Array]:
        """The next t and the factor of extrapolation, (1) or (2).

        With a longer step to follow, 4t² is multiplied by the ratio of both steps: Scheinberg,
        Goldfarb and Bai, Found. Comput. Math. 14 (2014).
        """
        if self.strong_convexity is not None:
            root = jnp.sqrt(self.strong_convexity * step)
            return t, jnp.where(restarted, 0, (1 - root) / (1 + root))
        t = jnp.where(restarted, 1.0, t)
        t_next = (1 + jnp.sqrt(1 + 4 * t**2 * step / following)) / 2
        return t_next, (t - 1) / t_next


def smooth_composite(
    algorithm: Algorithm, problem: Problem | Composite, step: Any, *, estimate: bool
) -> Composite:
    """`composite`, for methods that take no proximal term.

    Raises:
        ValueError: there is one.
    """
    prepared = composite(problem, step, estimate=estimate)
    if prepared.rough is not None:
        raise ValueError(
            f"`problem` has the non-smooth term {type(prepared.rough).__name__}, but "
            f"`{type(algorithm).__name__}` takes smooth ones: use ProximalGradient, FISTA or POGM"
        )
    return prepared


def plain_step(problem: Composite, x: PyTree) -> PyTree:
    """The momentum-free map prox_{tg}(x − t∇F(x)) with this problem's own step."""
    return proximal_step(problem, x, step_at(problem, x))


def step_at(problem: Composite, x: PyTree) -> Array:
    """The prepared step, or one of the right order where a line search is to find it."""
    if problem.step is not None:
        return problem.step
    real = jax.tree.leaves(problem.domain)[0].dtype
    return secant_step(problem.terms, x).astype(jnp.finfo(real).dtype)


def step_of(inputs: Any, default: Array) -> Array:
    """This iteration's step size from the inputs, else the default."""
    given = None if inputs is None else inputs.get("step")
    return default if given is None else jnp.asarray(given, default.dtype)


def next_key(key: Any) -> tuple[Any, Any]:
    """The key to carry on and the one to use now; None stays None."""
    if key is None:
        return None, None
    following, draw = jax.random.split(key)
    return following, draw


def randomised(problem: Composite, key: Any) -> Composite:
    """The problem with its proximal term as a stochastic step sees it."""
    if key is None or problem.rough is None:
        return problem
    return Composite(problem.terms, problem.rough.randomised(key), problem.step)


def check_restart(restart: Any, known: tuple[str, ...]) -> None:
    """Refuses an unknown rule.

    Raises:
        ValueError: `restart` is neither among the known ones nor None.
    """
    if restart and restart not in known:
        raise ValueError(f"`restart` is {restart!r}, expected one of {known} or None")


def _advance(
    line_search: Backtracking | None, problem: Composite, state: ProximalState, inputs: Any
) -> tuple[ProximalState, StepInfo]:
    key, draw = next_key(state.key)
    problem = randomised(problem, draw)
    given = step_of(inputs, state.step)
    if line_search is None or given is not state.step:
        new, step, kept = proximal_step(problem, state.x, given), given, state.step
    else:
        trial = (line_search.growth * state.step).astype(state.step.dtype)
        new, step = line_search.search(problem, state.x, trial, state.step)
        kept = step
    return ProximalState(new, kept, key), StepInfo(tree.relative_change(new, state.x), step)
