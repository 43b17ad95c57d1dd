"""Choosing k of n candidates: one after the other, and by exchange.

Greedy choice takes what improves the objective most, k times. For information, which is submodular,
it reaches at least 1 − 1/e of what the best k could tell. Exchange then gives up each chosen
candidate in turn and takes the best in its place, until no single exchange helps. Neither need find
the best set; for candidates that are independent under the prior (Fourier samples of a stationary
one) greedy does.

Sources: Nemhauser, Wolsey and Fisher, Math. Program. 14 (1978); Fedorov, "Theory of optimal
experiments" (1972).
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.design.criteria._gaussian import LinearGaussian
from jaxrecon.design.selection._update import (
    check_objective,
    cumulative,
    gains,
    observe,
    prior_knowledge,
    prior_value,
)

__all__ = ["Chosen", "Exchanged", "exchange", "greedy"]

# An exchange must gain this much of what it gives up: equal candidates do not swap for ever.
_LEAST_IMPROVEMENT = 1e-4


class Chosen(NamedTuple):
    """What greedy choice took.

    Attributes:
        indices: candidates in the order chosen, `(k,)`.
        values: the objective after each, `(k,)`.
        weights: how often each candidate is measured, `(candidate,)`: for `criteria`.
    """

    indices: Int[Array, " k"]
    values: Float[Array, " k"]
    weights: Float[Array, " candidate"]


class Exchanged(NamedTuple):
    """A set that no single exchange improves, if `converged`.

    Attributes:
        indices: candidates, in the places of those they were exchanged for.
        weights: how often each candidate is measured.
        n_swaps: how many exchanges were made.
        converged: whether the last pass made none.
    """

    indices: Int[Array, " k"]
    weights: Float[Array, " candidate"]
    n_swaps: Int[Array, ""]
    converged: Bool[Array, ""]


def greedy(
    model: LinearGaussian,
    k: int,
    *,
    objective: str = "error",
    given: Sequence[int] | Int[Array, " given"] = (),
    repeats: bool = False,
) -> Chosen:
    """Takes k candidates, each time the one that improves the objective most.

    Args:
        model: of `criteria.linear_gaussian`.
        k: how many, the given ones included.
        objective: "error" (A-optimality) or "information" (D-optimality).
        given: candidates that are measured first in any case, such as calibration lines.
        repeats: whether a candidate may be measured again.

    Returns:
        The choice, computed in one compiled scan of low-rank updates.

    Raises:
        ValueError: more candidates than there are, given ones that are not there, or an unknown
            objective.

    Example:
        >>> from jaxrecon.design.criteria import linear_gaussian
        >>> model = linear_gaussian(jnp.eye(4), jnp.diag(jnp.array([1.0, 3.0, 2.0, 0.5])), 1.0)
        >>> greedy(model, 2).indices.tolist()
        [1, 2]
    """
    check_objective(objective)
    first = _checked(given, model.n_candidates, "given")
    if not max(1, len(first)) <= k <= (np.inf if repeats else model.n_candidates):
        raise ValueError(
            f"`k` is {k}, expected {max(1, len(first))} to the {model.n_candidates} candidates"
        )
    return _greedy(model, jnp.asarray(first, jnp.int32), k, objective, repeats)


def exchange(
    model: LinearGaussian,
    indices: Sequence[int] | Int[Array, " k"],
    *,
    objective: str = "error",
    n_fixed: int = 0,
    n_passes: int = 20,
) -> Exchanged:
    """Improves a set of candidates by exchanging one at a time.

    Args:
        model: of `criteria.linear_gaussian`.
        indices: the set to begin with, such as `greedy(...).indices`; all different.
        objective: "error" or "information".
        n_fixed: how many of the first are never exchanged.
        n_passes: over the whole set, at most.

    Returns:
        A set which is at least as good.

    Raises:
        ValueError: candidates that are not there or not different, or an unknown objective.

    Example:
        >>> from jaxrecon.design.criteria import linear_gaussian
        >>> model = linear_gaussian(jnp.eye(4), jnp.diag(jnp.array([1.0, 3.0, 2.0, 0.5])), 1.0)
        >>> sorted(exchange(model, [0, 3]).indices.tolist())
        [1, 2]
    """
    check_objective(objective)
    start = _checked(indices, model.n_candidates, "indices")
    if not 0 <= n_fixed <= len(start):
        raise ValueError(f"`n_fixed` is {n_fixed}, expected 0 to {len(start)}")
    return _exchange(model, jnp.asarray(start, jnp.int32), objective, n_fixed, n_passes)


@functools.partial(jax.jit, static_argnames=("k", "objective", "repeats"))
def _greedy(model: LinearGaussian, given: Array, k: int, objective: str, repeats: bool) -> Chosen:
    def take(carry: Any, forced: Array) -> Any:
        known, counts = carry
        gain = gains(model, known, objective)
        best = jnp.argmax(gain if repeats else jnp.where(counts > 0, -jnp.inf, gain))
        i = jnp.where(forced >= 0, forced, best)
        return (observe(model, known, i), counts.at[i].add(1)), (i, gain[i])

    forced = jnp.full(k, -1, jnp.int32).at[: given.size].set(given)
    counts = jnp.zeros(model.n_candidates, model.factor.real.dtype)
    (_, counts), (indices, steps) = jax.lax.scan(take, (prior_knowledge(model), counts), forced)
    values = cumulative(prior_value(model, objective), steps, objective)
    return Chosen(indices.astype(jnp.int32), values, counts)


@functools.partial(jax.jit, static_argnames=("objective", "n_fixed", "n_passes"))
def _exchange(
    model: LinearGaussian, indices: Array, objective: str, n_fixed: int, n_passes: int
) -> Exchanged:
    def measured(indices: Array) -> Any:
        """From the prior anew for every pass: rounding does not add up."""
        add = lambda known, i: (observe(model, known, i), None)  # noqa: E731
        return jax.lax.scan(add, prior_knowledge(model), indices)[0]

    def swap(carry: Any, place: Array) -> Any:
        known, indices, taken = carry
        old = indices[place]
        without = observe(model, known, old, -1)
        gain = gains(model, without, objective)
        best = jnp.argmax(jnp.where(taken, -jnp.inf, gain)).astype(indices.dtype)
        better = gain[best] > gain[old] * (1 + _LEAST_IMPROVEMENT)
        new = jnp.where(better, best, old)
        taken = taken.at[old].set(False).at[new].set(True)
        return (observe(model, without, new), indices.at[place].set(new), taken), better

    def one_pass(carry: Any) -> Any:
        indices, n_swaps, _, i = carry
        taken = jnp.zeros(model.n_candidates, bool).at[indices].set(True)
        places = jnp.arange(n_fixed, indices.size)
        (_, indices, _), swapped = jax.lax.scan(swap, (measured(indices), indices, taken), places)
        return indices, n_swaps + jnp.sum(swapped, dtype=jnp.int32), ~jnp.any(swapped), i + 1

    going = lambda carry: ~carry[2] & (carry[3] < n_passes)  # noqa: E731
    zero = jnp.zeros((), jnp.int32)
    start = (indices, zero, jnp.zeros((), bool), zero)
    indices, n_swaps, converged, _ = jax.lax.while_loop(going, one_pass, start)
    weights = jnp.zeros(model.n_candidates, model.factor.real.dtype).at[indices].set(1)
    return Exchanged(indices, weights, n_swaps, converged)


def _checked(indices: Any, n: int, name: str) -> np.ndarray:
    """Different candidates, known while tracing."""
    if isinstance(indices, jax.core.Tracer):
        raise ValueError(f"`{name}` is traced; pass numbers that are known outside jit")
    chosen = np.asarray(indices, int)
    different = np.unique(chosen).size == chosen.size
    if chosen.ndim != 1 or not different or not ((chosen >= 0) & (chosen < n)).all():
        raise ValueError(f"`{name}` is {chosen.tolist()}, expected different numbers 0 to {n - 1}")
    return chosen
