"""Measuring one candidate after the other, each chosen in the light of what came before.

A policy is a function ``policy(belief, open, key) -> index`` of what is known, of which candidates
may still be measured, and of a key. For Gaussian beliefs the best index does not depend on the
data, so that the adaptive scan is the one `greedy` finds beforehand: adaptivity can pay only where
what was seen changes what is uncertain.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact, Int, Key

from jaxrecon.design.selection._beliefs import Belief

__all__ = ["Acquisition", "acquire", "at_random", "in_order", "most_informative"]

Policy = Callable[[Any, Array, Array], Array]


class Acquisition(NamedTuple):
    """A scan as it was made.

    Attributes:
        indices: candidates in the order measured, `(step,)`.
        data: what was measured, `(step, datum)`.
        belief: what is known in the end.
        record: what `record` kept after each step.
    """

    indices: Int[Array, " step"]
    data: Inexact[Array, "step datum"]
    belief: Any
    record: Any = None


def acquire(
    belief: Belief,
    measure: Callable[[Array, Array], Array],
    *,
    n_candidates: int,
    n_steps: int,
    key: Key[Array, ""],
    policy: Policy | None = None,
    record: Callable[[Any], Any] | None = None,
) -> Acquisition:
    """Measures `n_steps` candidates, no one twice; one scan, for `jit` and for `vmap` over objects.

    Args:
        belief: what is known before.
        measure: ``measure(index, key)``, the noisy data `(datum,)` of a candidate.
        n_candidates: how many there are.
        n_steps: how many are measured.
        key: of policy and noise.
        policy: which one is next; `most_informative` by default.
        record: ``record(belief)`` is kept after every measurement, such as its estimate.

    Returns:
        The scan, its data and the final belief.

    Raises:
        ValueError: more steps than candidates, or none.

    Example:
        >>> from jaxrecon.design.selection import ensemble_belief
        >>> images = jnp.array([[0.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 9.0, 5.0]])
        >>> belief = ensemble_belief(images, images[:, :, None], 0.1)
        >>> look = lambda i, key: images[1, i][None]
        >>> scan = acquire(belief, look, n_candidates=3, n_steps=2, key=jax.random.key(0))
        >>> scan.indices.tolist(), scan.belief.estimate().round(3).tolist()
        ([1, 2], [0.0, 9.0, 0.0])
    """
    if not 1 <= n_steps <= n_candidates:
        raise ValueError(f"`n_steps` is {n_steps}, expected 1 to the {n_candidates} candidates")
    policy = most_informative if policy is None else policy

    def step(carry: Any, key: Array) -> Any:
        belief, still_open = carry
        choose, look = jax.random.split(key)
        i = policy(belief, still_open, choose).astype(jnp.int32)
        data = measure(i, look)
        belief = belief.update(i, data)
        kept = None if record is None else record(belief)
        return (belief, still_open.at[i].set(False)), (i, data, kept)

    start = belief, jnp.ones(n_candidates, bool)
    (belief, _), (indices, data, kept) = jax.lax.scan(step, start, jax.random.split(key, n_steps))
    return Acquisition(indices, data, belief, kept)


def most_informative(
    belief: Belief, still_open: Bool[Array, " candidate"], key: Key[Array, ""]
) -> Int[Array, ""]:
    """The open candidate of the highest score."""
    return jnp.argmax(jnp.where(still_open, belief.scores(key), -jnp.inf))


def at_random(
    belief: Belief, still_open: Bool[Array, " candidate"], key: Key[Array, ""]
) -> Int[Array, ""]:
    """Any open candidate with equal chances."""
    del belief
    return jnp.argmax(jnp.where(still_open, jax.random.uniform(key, still_open.shape), -1.0))


def in_order(indices: Int[Array, " step"]) -> Policy:
    """A policy that was decided beforehand: the first of `indices` that is still open."""
    indices = jnp.asarray(indices)

    def policy(belief: Any, still_open: Array, key: Array) -> Array:
        del belief, key
        return indices[jnp.argmax(still_open[indices])]

    return policy
