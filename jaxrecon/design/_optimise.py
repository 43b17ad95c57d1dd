"""The one loop in which patterns are designed.

    p ← Π(p − optimiser(∇ criterion(p, key_t, t)))                                          (1)

with Π the projection onto what the scanner can do, taken after every step, and a fresh key each
step, folded from one: the outcome is reproducible from it, and the same whether the steps are taken
at once or resumed. A criterion may be stochastic in its key (noise, a batch of objects, a drawn
mask) and anneal with the step t.

The pattern is any pytree. Its inexact leaves are optimised, also complex ones; integers, booleans,
keys and what stands in a `Constant` stay as they are. A loss, gradient or pattern that is not
finite ends the run at the last pattern whose loss was finite, and the status says so.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxrecon.core import Algorithm, Result, Status, pytree, run, static, tree
from jaxrecon.core._algorithm import NOT_FINITE

Criterion = Callable[[Any, Array, Array], Array]


@pytree
class Constant:
    """A part of a pattern that is not to be optimised: bounds, limits, data.

    Example:
        >>> pattern = {"views": jnp.zeros(3), "limit": Constant(jnp.ones(()))}
    """

    value: Any


class DesignState(NamedTuple):
    """What the next step needs: with it a run resumes to the bit.

    Attributes:
        pattern: the current one, whose loss is not yet known.
        good: the last one with a finite loss.
        optimiser: the optimiser's own state.
        step: how many steps were taken.
        key: the key that every step folds its own from.
    """

    pattern: Any
    good: Any
    optimiser: Any
    step: Int[Array, "..."]
    key: Key[Array, "..."]


class DesignInfo(NamedTuple):
    """Of every step: the loss before it, ‖∇‖, and the relative change of the pattern."""

    loss: Float[Array, "..."]
    gradient: Float[Array, "..."]
    residual: Float[Array, "..."]


class Design(NamedTuple):
    """The outcome of `optimise`.

    Attributes:
        value: the pattern, feasible, with a finite loss.
        status: how the run ended.
        info: a `DesignInfo` of leaves ``(step,)``, NaN after the last step.
        n_iter: steps taken.
        state: to go on from, as ``optimise(..., state=design.state)``.
        record: what `record` kept of every step, leading axis n_steps.
    """

    value: Any
    status: Status
    info: DesignInfo
    n_iter: Array
    state: DesignState
    record: Any = None

    def check(self) -> "Design":
        """Itself, or `NotConvergedError` where the run met a value that is not finite."""
        Result(self.value, self.status, self.info, self.n_iter).check()
        return self


class Starts(NamedTuple):
    """The outcome of `multi_start`.

    Attributes:
        best: the design that validates best.
        index: which start it came from.
        scores: of all starts, ``(start,)``; infinite where not finite.
        designs: all of them, leading axis start.
    """

    best: Design
    index: Int[Array, ""]
    scores: Float[Array, " start"]
    designs: Design


def optimise(
    criterion: Criterion,
    pattern: PyTree,
    *,
    n_steps: int,
    key: Key[Array, ""],
    project: Callable[[Any], Any] | None = None,
    optimiser: Any = None,
    tol: Any = None,
    state: DesignState | None = None,
    record: Callable[[Any], Any] | None = None,
    progress: Callable[[Any, Any], None] | bool | None = None,
) -> Design:
    """Minimises a criterion over a pattern, equation (1), in one compiled loop.

    Args:
        criterion: ``criterion(pattern, key, step)``, a real scalar; `step` is an integer array from
            0 to n_steps − 1, for annealing. A pytree callable if it carries arrays that change; a
            plain function is part of the program, so a new one compiles again.
        pattern: where to start; projected first.
        n_steps: steps of the optimiser.
        key: of all randomness.
        project: ``project(pattern)``, the nearest allowed pattern, of the same structure; None
            where every pattern is allowed.
        optimiser: an optax transformation; Adam with step 0.01 by default.
        tol: stop once a step changes the pattern by less than this, relatively; None takes all
            steps.
        state: of an earlier design, to take `n_steps` more steps from there; `pattern` and `key`
            are then its own.
        record: ``record(pattern)`` is kept of every step.
        progress: True for a bar, or ``progress(i, info)`` on the host after every step.

    Returns:
        The pattern with its status and history.

    Raises:
        ValueError: the pattern has nothing to optimise, the criterion is no real scalar, the
            projection changes the structure, or there are no steps.

    Example:
        >>> import optax
        >>> loss = lambda p, key, step: jnp.sum((p - 3.0) ** 2)
        >>> design = optimise(loss, jnp.zeros(2), n_steps=100, key=jax.random.key(0),
        ...                   project=lambda p: jnp.minimum(p, 2.0), optimiser=optax.sgd(0.1))
        >>> design.value.tolist(), design.status
        ([2.0, 2.0], Status(did all iterations; no tolerance was asked for))
    """
    optimiser = _adam() if optimiser is None else optimiser
    _check_steps(n_steps)
    task = _Task(_callable_pytree(criterion), _callable_pytree(project))
    state = _start(task, optimiser, pattern, key) if state is None else state
    _check_loss(task, state)
    keep = None if record is None else _Record(_callable_pytree(record))
    options: dict[str, Any] = {"n_iter": n_steps, "tol": tol, "record": keep, "progress": progress}
    result = run(_Descent(optimiser), task, state, **options)
    return _closed(task, result)


def multi_start(
    criterion: Criterion,
    patterns: PyTree,
    *,
    validate: Callable[[Any, Array], Array],
    n_steps: int,
    key: Key[Array, ""],
    project: Callable[[Any], Any] | None = None,
    optimiser: Any = None,
) -> Starts:
    """Designs from several starts at once, and keeps the one that validates best.

    Args:
        criterion: as for `optimise`.
        patterns: starts along the leading axis of every leaf.
        validate: ``validate(pattern, key)``, smaller is better; all starts are given the same key,
            so that they are compared on the same objects and noise.
        n_steps: steps of the optimiser.
        key: of all randomness; every start has its own.
        project: as for `optimise`.
        optimiser: as for `optimise`.

    Returns:
        The best design, and all.

    Raises:
        ValueError: as for `optimise`.

    Example:
        >>> loss = lambda p, key, step: jnp.cos(p) + 0.1 * p  # two valleys
        >>> found = multi_start(loss, jnp.array([-3.0, 3.0]), n_steps=50, key=jax.random.key(0),
        ...                     validate=lambda p, key: loss(p, key, 0))
        >>> int(found.index), found.best.value < 0
        (0, Array(True, dtype=bool))
    """
    optimiser = _adam() if optimiser is None else optimiser
    n_starts = jax.tree.leaves(patterns)[0].shape[0]
    runs, judge = jax.random.split(key)
    options: dict[str, Any] = {"n_steps": n_steps, "project": project, "optimiser": optimiser}
    one = lambda p, k: optimise(criterion, p, key=k, **options)  # noqa: E731
    designs = jax.vmap(one)(patterns, jax.random.split(runs, n_starts))
    scores = jax.vmap(validate, (0, None))(designs.value, judge)
    scores = jnp.where(jnp.isfinite(scores), scores, jnp.inf)
    index = jnp.argmin(scores)
    return Starts(jax.tree.map(lambda leaf: leaf[index], designs), index, scores, designs)


@pytree
class _Task:
    """A criterion and a projection, each a pytree."""

    criterion: Any
    projection: Any

    def project(self, pattern: PyTree) -> PyTree:
        return pattern if self.projection is None else self.projection(pattern)

    def loss(self, state: DesignState) -> Array:
        return self.criterion(state.pattern, jax.random.fold_in(state.key, state.step), state.step)


@pytree
class _Record:
    function: Any

    def __call__(self, task: _Task, state: DesignState) -> Any:
        return self.function(state.pattern)


@pytree
class _Descent(Algorithm):
    """Equation (1) on a `_Task`; what the driver carries and returns is the whole state."""

    optimiser: Any = static()

    def init(self, problem: _Task, x0: DesignState, *, key: Any = None) -> DesignState:
        del problem, key
        return x0

    def step(self, problem: _Task, state: DesignState, inputs: Any):
        del inputs
        theta, rebuild = _partition(state.pattern)
        lossy = lambda t: problem.loss(state._replace(pattern=rebuild(t)))  # noqa: E731
        loss, slope = jax.value_and_grad(lossy)(theta)
        slope = jax.tree.map(jnp.conj, slope)  # the descent direction of complex leaves
        updates, moved = self.optimiser.update(slope, state.optimiser, theta)
        # An optimiser may compute in float32 what came in float64, and the reverse.
        stepped = [p + u.astype(p.dtype) for p, u in zip(theta, updates, strict=True)]
        new = problem.project(rebuild(stepped))
        size, moved_by = tree.norm(slope), tree.norm(tree.sub(_partition(new)[0], theta))
        change = moved_by / jnp.maximum(tree.norm(theta), jnp.finfo(size.dtype).tiny)
        usable = jnp.isfinite(loss) & jnp.isfinite(size) & jnp.isfinite(moved_by)
        after = DesignState(new, state.pattern, moved, state.step + 1, state.key)
        good = tree.where(jnp.isfinite(loss), state.pattern, state.good)
        after = tree.where(usable, after, state._replace(pattern=good, good=good))
        return after, DesignInfo(loss, size, jnp.where(usable, change, jnp.nan))

    def value(self, state: DesignState) -> DesignState:
        return state


def _closed(task: _Task, result: Result) -> Design:
    """The outcome, after a look at the last pattern: no step has yet seen its loss."""
    state = result.value
    finite = jnp.isfinite(_loss(task, state))
    value = tree.where(finite, state.pattern, state.good)
    status = result.status.worse(Status(jnp.where(finite, 0, NOT_FINITE)))
    return Design(value, status, result.info, result.n_iter, state, result.record)


@jax.jit
def _loss(task: _Task, state: DesignState) -> Array:
    return task.loss(state)


def _start(task: _Task, optimiser: Any, pattern: PyTree, key: Array) -> DesignState:
    pattern = jax.tree.map(jnp.asarray, pattern)
    before, after = tree.structs(pattern), jax.eval_shape(task.project, pattern)
    if jax.tree.flatten(before) != jax.tree.flatten(tree.structs(after)):
        raise ValueError(f"`project` turns {before} into {after}, expected the same structure")
    pattern = task.project(pattern)
    theta, _ = _partition(pattern)
    if not theta:
        raise ValueError("`pattern` has no leaf of real or complex numbers: nothing to optimise")
    return DesignState(pattern, pattern, optimiser.init(theta), jnp.zeros((), jnp.int32), key)


def _partition(pattern: PyTree) -> tuple[list[Array], Callable[[list[Array]], PyTree]]:
    """The leaves to optimise, and the pattern with others in their place."""
    leaves, structure = jax.tree.flatten(pattern, is_leaf=lambda node: isinstance(node, Constant))
    places = [i for i, leaf in enumerate(leaves) if _is_free(leaf)]

    def rebuild(theta: list[Array]) -> PyTree:
        new = list(leaves)
        for i, leaf in zip(places, theta, strict=True):
            new[i] = leaf
        return jax.tree.unflatten(structure, new)

    return [leaves[i] for i in places], rebuild


def _is_free(leaf: Any) -> bool:
    return not isinstance(leaf, Constant) and bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _check_steps(n_steps: int) -> None:
    if n_steps < 1:
        raise ValueError(f"`n_steps` is {n_steps}, expected at least 1")


def _check_loss(task: _Task, state: DesignState) -> None:
    loss = jax.eval_shape(task.loss, state)
    if getattr(loss, "shape", None) != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(f"`criterion` returns {loss}, expected a real scalar")


def _callable_pytree(function: Any) -> Any:
    """A callable as a pytree: itself if it is one, else static."""
    alone = function is not None and jax.tree_util.all_leaves([function])
    return jax.tree_util.Partial(function) if alone else function


def _adam() -> Any:
    import optax  # half a second, for those who design

    return optax.adam(0.01)
