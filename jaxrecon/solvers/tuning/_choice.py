"""What choosing a parameter gives, and the path of reconstructions that all criteria look at."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.core import tree

Reconstruct = Callable[[Any, Any], Any]
"""``reconstruct(parameter, data) -> image``, made of JAX operations."""


class Choice(NamedTuple):
    """A parameter chosen among candidates.

    Attributes:
        parameter: the chosen one.
        candidates: all that were tried, ``(candidate,)``.
        scores: the criterion of each; what it means is the criterion's business.
        at_edge: whether the best is the first or last candidate, so that a better one may lie
            outside: widen the range.
    """

    parameter: Array
    candidates: Float[Array, " candidate"]
    scores: Float[Array, " candidate"]
    at_edge: Array


def smallest(candidates: Any, scores: Array) -> Choice:
    """The candidate of the least score; a score that is not finite is never chosen."""
    candidates = jnp.asarray(candidates)
    best = jnp.argmin(jnp.where(jnp.isfinite(scores), scores, jnp.inf))
    return Choice(candidates[best], candidates, scores, is_edge(best, candidates.size))


def is_edge(index: Array, size: int) -> Array:
    """Whether an index is the first or the last."""
    return (index == 0) | (index == size - 1)


def check_candidates(candidates: Any) -> Array:
    """Candidates as an array.

    Raises:
        ValueError: there are fewer than three, or they are not one list of numbers.
    """
    candidates = jnp.asarray(candidates, jnp.result_type(float, jnp.asarray(candidates).dtype))
    if candidates.ndim != 1 or candidates.size < 3:
        raise ValueError(
            f"`candidates` has shape {candidates.shape}, expected at least three numbers in a row, "
            "such as `jnp.logspace(-4, 0, 20)`"
        )
    return candidates


def each(score: Callable[[Array], Any], candidates: Array) -> Any:
    """Scores one after the other: reconstructions may be too large for a batch."""
    return jax.lax.map(score, candidates)


def n_real(data: Any) -> int:
    """The number of real measurements: a complex one counts as two."""
    return sum((2 if jnp.iscomplexobj(y) else 1) * y.size for y in jax.tree.leaves(data))


def squared_distance(a: Any, b: Any) -> Array:
    """‖a − b‖² over all leaves."""
    return tree.sum_of_squares(tree.sub(a, b))
