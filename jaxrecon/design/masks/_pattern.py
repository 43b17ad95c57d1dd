"""What a discrete pattern is: probabilities of positions, of which exactly k are measured.

Positions are the lines of a one-dimensional mask, the points of a two-dimensional one row by row,
rows of a transform, or candidates of any kind; with several frames each has its own k. What an
operator takes has the shape `shape`, behind the axis of frames if there is one: `(1, x)` for lines
along x, which `mri.sense` takes as it is.

Fixed positions, the calibration region among them, are measured always, inside the budget.
"""

import abc
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key

from jaxrecon.core import pytree, replace, static
from jaxrecon.design.masks._draw import (
    logit,
    pivotal_sample,
    soft_top_k,
    straight_through,
    top_k,
)

__all__ = ["MaskPattern", "Selection", "project"]

# Beyond these log odds a probability hardly follows its gradient any more.
_MOST_CERTAIN = 10.0


class MaskPattern(abc.ABC):
    """A distribution over masks of `budget` positions in each frame; abstract."""

    fixed: Bool[Array, " position"]
    budget: int
    shape: tuple[int, ...]

    @abc.abstractmethod
    def inclusion(self) -> Float[Array, "*frame position"]:
        """The probability of every position: one where fixed, summing to the budget."""

    @abc.abstractmethod
    def project(self) -> "MaskPattern":
        """The nearest pattern whose parameters are allowed."""

    def probabilities(self) -> Float[Array, "..."]:
        """`inclusion` in the shape of a mask."""
        return self._shaped(self.inclusion())

    def sample(self, key: Key[Array, ""]) -> Bool[Array, "..."]:
        """A mask of exactly `budget` positions in each frame; E[mask] = probabilities."""
        return self._shaped(self._drawn(key))

    def most_probable(self) -> Bool[Array, "..."]:
        """The mask of the most probable positions."""
        return self._shaped(self._each(lambda p: top_k(p, self.budget), self._sure()))

    def positions(self) -> Int[Array, "*frame chosen"]:
        """Indices of the most probable positions, the most probable first."""
        return jax.lax.top_k(self._sure(), self.budget)[1]

    def straight_through(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """A sample, with the derivative of the probabilities.

        Not the derivative of what it returns, but without bias for what is linear in the mask.
        """
        return self._shaped(straight_through(self._drawn(key), self.inclusion()))

    def relaxed(self, key: Key[Array, ""], temperature: ArrayLike) -> Float[Array, "..."]:
        """A relaxed sample, Gumbel top-k: between 0 and 1, summing to the budget."""
        return self._shaped(self._soft(self._noisy(key), temperature))

    def gumbel(self, key: Key[Array, ""], temperature: ArrayLike) -> Float[Array, "..."]:
        """A Gumbel top-k sample of exactly `budget` positions, with the derivative of `relaxed`.

        Not the derivative of what it returns.
        """
        scores = self._noisy(key)
        hard = self._each(lambda z: top_k(jnp.where(self.fixed, jnp.inf, z), self.budget), scores)
        return self._shaped(straight_through(hard, self._soft(scores, temperature)))

    def _drawn(self, key: Key[Array, ""]) -> Bool[Array, "*frame position"]:
        free = jnp.where(self.fixed, 0, self.inclusion())
        keys = jax.random.split(key, free.shape[:-1]) if free.ndim > 1 else key
        drawn = jax.vmap(pivotal_sample) if free.ndim > 1 else pivotal_sample
        return drawn(keys, free) | self.fixed

    def _noisy(self, key: Key[Array, ""]) -> Float[Array, "*frame position"]:
        odds = logit(self.inclusion())
        return odds + jax.random.gumbel(key, odds.shape, odds.dtype)

    def _soft(self, scores: Array, temperature: ArrayLike) -> Array:
        return self._each(lambda z: soft_top_k(z, self.budget, temperature, self.fixed), scores)

    def _sure(self) -> Array:
        """The probabilities, with fixed positions before all others."""
        return jnp.where(self.fixed, 2, self.inclusion())

    def _each(self, function: Callable[[Array], Array], values: Array) -> Array:
        """A function of positions, frame by frame."""
        return jax.vmap(function)(values) if values.ndim > 1 else function(values)

    def _shaped(self, values: Array) -> Array:
        return values.reshape(*values.shape[:-1], *self.shape)


@pytree
class Selection(MaskPattern):
    """A free log odds for every position: p = σ(logit − τ), with τ such that the sum is the budget.

    Build it with `lines`, `points` or `rows`.

    Attributes:
        logits: `(position,)`, or `(frame, position)`.
        fixed: positions that are measured always.
        budget: how many positions are measured, the fixed ones included.
        shape: of the mask of a frame.
    """

    logits: Float[Array, "*frame position"]
    fixed: Bool[Array, " position"]
    budget: int = static()
    shape: tuple[int, ...] = static()

    def inclusion(self) -> Float[Array, "*frame position"]:
        return self._soft(self.logits, 1.0)

    def project(self) -> "Selection":
        """The same probabilities, from logits centred at τ = 0 and kept where they can move."""
        centred = logit(self.inclusion())
        return replace(self, logits=jnp.clip(centred, -_MOST_CERTAIN, _MOST_CERTAIN))


def selection(
    probabilities: Float[Array, "*frame position"],
    budget: int,
    fixed: Bool[Array, " position"],
    shape: tuple[int, ...],
) -> Selection:
    """A `Selection` that begins with the given probabilities."""
    return Selection(logit(probabilities), fixed, budget, shape)


def project(pattern: Any) -> Any:
    """``pattern.project()``: what `optimise(..., project=masks.project)` wants.

    Example:
        >>> from jaxrecon.design.masks import dose
        >>> project(dose(4, 1.0)).weights().tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    return pattern.project()


def n_positions(shape: tuple[int, ...]) -> int:
    """Positions of a mask."""
    return math.prod(shape)
