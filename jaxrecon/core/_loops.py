"""The two loops behind `run`: one that stops when it may, one of static length."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import _tree
from jaxrecon.core._algorithm import (
    COMPLETED,
    CONVERGED,
    NOT_CONVERGED,
    NOT_FINITE,
    RUNNING,
    STOPPED,
    Algorithm,
    Result,
    Status,
)
from jaxrecon.core._progress import Bar
from jaxrecon.core._pytree import pytree
from jaxrecon.core.operators import match_varying
from jaxrecon.core.operators._rule import varying


@pytree
class Watch:
    """What is looked at after every step: a tolerance, a stopping rule, things to record."""

    tol: Any
    stop: Any
    record: Any

    def judge(self, problem: Any, value: PyTree, info: Any) -> Array:
        """The status code after a step."""
        code = jnp.full((), RUNNING)
        if self.stop is not None:
            code = jnp.where(self.stop(problem, value, info), STOPPED, code)
        if self.tol is not None:
            code = jnp.where(info.residual <= self.tol, CONVERGED, code)
        return jnp.where(jnp.isfinite(info.residual), code, NOT_FINITE)

    def ended(self, code: Array) -> Array:
        """The status code of a run whose last step left `code`."""
        open_ended = self.tol is None and self.stop is None
        return jnp.where(code == RUNNING, COMPLETED if open_ended else NOT_CONVERGED, code)

    def notes(self, problem: Any, value: PyTree) -> PyTree:
        """What `record` says of a step, as arrays; None if there is none."""
        return None if self.record is None else _arrays(self.record(problem, value))


# Compiled here, so that a second scan of the same sizes runs at once, also outside jit.
@functools.partial(jax.jit, static_argnames=("n_iter", "progress"))
def iterated(
    algorithm: Algorithm, problem: Any, start: Any, watch: Watch, *, n_iter: int, progress: Any
) -> tuple[Result, PyTree]:
    """The result of a while loop, and the algorithm's point at its end."""
    x0, inputs, key = start
    prepared = algorithm.prepare(problem)
    state = algorithm.init(prepared, x0, key=key)

    def one(i, state):
        slice_i = jax.tree.map(lambda leaf: leaf[i], inputs)
        state, info = algorithm.step(prepared, state, slice_i)
        value = algorithm.value(state)
        return state, (info, watch.notes(problem, value)), watch.judge(problem, value, info)

    _, seen, _ = jax.eval_shape(functools.partial(one, 0), state)
    history = jax.tree.map(lambda s: _blank((n_iter, *s.shape), s.dtype), seen)

    def body(carry):
        i, _, state, history = carry
        state, seen, code = one(i, state)
        history = jax.tree.map(lambda h, v: h.at[i].set(v.astype(h.dtype)), history, seen)
        if progress is not None:
            jax.debug.callback(progress, i, seen[0])
        return i + 1, code, state, history

    carry = (jnp.zeros((), jnp.int32), jnp.full((), RUNNING), state, history)
    carry = jax.tree.map(jnp.asarray, carry)
    carry = _settled(body, carry)
    going = lambda c: (c[0] < n_iter) & (c[1] == RUNNING)  # noqa: E731
    i, code, state, (info, record) = jax.lax.while_loop(going, body, carry)
    if isinstance(progress, Bar):
        jax.debug.callback(progress.finish, i)
    result = Result(algorithm.value(state), Status(watch.ended(code)), info, i, record)
    return result, algorithm.point(state)


@functools.partial(jax.jit, static_argnames=("n_iter", "remat", "unroll"))
def unrolled(
    algorithm: Algorithm,
    problem: Any,
    start: Any,
    watch: Watch,
    *,
    n_iter: int,
    remat: bool,
    unroll: int,
) -> Result:
    """The result of a scan of static length, which freezes where the while loop would stop."""
    x0, inputs, key = start
    prepared = algorithm.prepare(problem)
    state = algorithm.init(prepared, x0, key=key)

    def go(state, inputs):
        new, info = algorithm.step(prepared, state, inputs)
        value = algorithm.value(new)
        new = jax.tree.map(match_varying, new, state)
        return watch.judge(problem, value, info), new, (info, watch.notes(problem, value))

    def body(carry, inputs):
        code, state = carry
        shapes = jax.eval_shape(go, state, inputs)
        blank = jax.tree.map(lambda s: match_varying(_blank(s.shape, s.dtype), s), shapes[2])
        running = code == RUNNING
        if watch.tol is None and watch.stop is None:
            # Nothing to freeze: what is not finite stays so. Under vmap a cond would give every
            # example its own copy of a network's weights, and convolutions one group for each.
            after, state, seen = go(state, inputs)
            code, seen = jnp.where(running, after, code), _tree.where(running, seen, blank)
            return (code, state), (seen, running)
        still = match_varying(code, shapes[0]), jax.tree.map(_like_output, state, shapes[1])
        stay = lambda state, inputs: (*still, blank)  # noqa: E731
        # A branch not taken has no derivative: beyond the solution that of a step may be 0/0.
        code, state, seen = jax.lax.cond(running, go, stay, state, inputs)
        return (code, state), (seen, running)

    body = jax.checkpoint(body) if remat else body
    carry = jax.tree.map(jnp.asarray, (jnp.full((), RUNNING), state))
    first = jax.tree.map(lambda leaf: leaf[0], inputs)
    carry = _settled(lambda carry: body(carry, first)[0], carry)
    (code, state), (seen, active) = jax.lax.scan(body, carry, inputs, length=n_iter, unroll=unroll)
    info, record = seen
    status = Status(watch.ended(code))
    return Result(algorithm.value(state), status, info, jnp.sum(active), record)


def _arrays(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.asarray, tree)


def _blank(shape: tuple[int, ...], dtype: Any) -> Array:
    return jnp.full(shape, jnp.nan if jnp.issubdtype(dtype, jnp.inexact) else 0, dtype)


def _settled(body: Callable[[PyTree], PyTree], carry: PyTree) -> PyTree:
    """A loop's initial carry as its turns leave it: in dtype, and in mesh axes inside shard_map.

    What varies after one turn may make more vary in the next.
    """
    while True:
        before = [varying(leaf) for leaf in jax.tree.leaves(carry)]
        carry = jax.tree.map(_like_output, carry, jax.eval_shape(body, carry))
        if before == [varying(leaf) for leaf in jax.tree.leaves(carry)]:
            return carry


def _like_output(leaf: Array, out: Any) -> Array:
    """The initial carry in the dtype and mesh variation that the loop gives it."""
    leaf = match_varying(leaf, out)
    return leaf if leaf.dtype == out.dtype else leaf.astype(out.dtype)
