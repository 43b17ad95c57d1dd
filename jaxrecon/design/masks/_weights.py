"""Weights with an exact sum: the dose of each view, or a mask between zero and one.

A weight multiplies the statistical precision of what it belongs to: a view of twice the dose has
half the variance. That is `LeastSquares(y, weights)`; where a mask multiplies k-space, as in
`mri.sense`, it is an amplitude, the root of a weight. Criteria of `design.criteria` are convex in
weights, so that gradient steps with this projection find the one optimum.
"""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxrecon.core import pytree, replace, static
from jaxrecon.design._optimise import Constant
from jaxrecon.design.masks._budget import project_budget
from jaxrecon.design.masks._draw import top_k

__all__ = ["Weights", "dose"]


@pytree
class Weights:
    """Weights between bounds that sum to a total; build it with `dose` or `mask_weights`.

    Attributes:
        values: `(position,)`.
        bounds: of the weights: (total, lower, upper), the latter two `(position,)`.
        shape: of what an operator takes.
    """

    values: Float[Array, " position"]
    bounds: Constant
    shape: tuple[int, ...] = static()

    def weights(self) -> Float[Array, "..."]:
        """The weights in their shape."""
        return self.values.reshape(self.shape)

    @property
    def total(self) -> Float[Array, ""]:
        """The sum of the weights."""
        return self.bounds.value[0]

    def project(self) -> "Weights":
        """The nearest weights within the bounds and of the right sum."""
        return replace(self, values=project_budget(self.values, *self.bounds.value))

    def keep_largest(self, k: int) -> "Weights":
        """Only the k largest, which share the total; the others are zero from now on.

        Raises:
            ValueError: there are not as many.
        """
        if not 1 <= k <= self.values.size:
            raise ValueError(f"`k` is {k}, expected 1 to {self.values.size}")
        kept, (total, lower, upper) = top_k(self.values, k), self.bounds.value
        lower, upper = jnp.where(kept, lower, 0), jnp.where(kept, upper, 0)
        share = jnp.where(kept, self.values, 0)
        scaled = share * (total / jnp.maximum(jnp.sum(share), jnp.finfo(share.dtype).tiny))
        return replace(self, values=scaled, bounds=Constant((total, lower, upper))).project()

    def gap(self, slope: Float[Array, "..."]) -> Float[Array, ""]:
        """How much a convex criterion with this gradient could still fall: at most so much.

        The Frank-Wolfe gap, max_v ⟨slope, w − v⟩ over all allowed v: zero at the optimum only.
        """
        total, lower, upper = self.bounds.value
        order = jnp.argsort(slope.reshape(-1))
        room = (upper - lower)[order]
        before = jnp.cumsum(room) - room
        filled = jnp.clip(total - jnp.sum(lower) - before, 0, room)
        best = lower.at[order].add(filled)
        return jnp.sum(slope.reshape(-1) * (self.values - best))


def dose(
    n_views: int, total: int | float, *, least: ArrayLike = 0.0, most: ArrayLike = np.inf
) -> Weights:
    """Equal doses of all views, on the simplex of a total.

    Args:
        n_views: number of views.
        total: the sum of the doses, exact after every projection.
        least: of a view, for all or for each.
        most: of a view.

    Raises:
        ValueError: bounds between which no doses sum to the total.

    Example:
        >>> views = dose(360, 16.0, most=4.0)
        >>> round(float(views.weights().sum()), 4)
        16.0
    """
    if n_views < 1:
        raise ValueError(f"`n_views` is {n_views}, expected at least 1")
    return bounded((n_views,), total, least, most, names=("total", "least", "most"))


def bounded(
    shape: tuple[int, ...],
    total: int | float,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    names: tuple[str, str, str],
) -> Weights:
    """The weights nearest to equal ones; `names` are those of the caller's arguments."""
    low, high = (np.broadcast_to(np.asarray(b, float), shape).ravel() for b in (lower, upper))
    name, name_low, name_high = names
    if not (low >= 0).all() or not (low <= high).all():
        raise ValueError(f"`{name_low}` exceeds `{name_high}` or is negative")
    if not (low.sum() <= total <= high.sum() and 0 < total < np.inf):
        raise ValueError(
            f"`{name}` is {total}, but `{name_low}` takes {low.sum():g} and `{name_high}` allows "
            f"{high.sum():g} of all {low.size} positions: pass a total in between, above zero"
        )
    equal = np.full(low.size, total / low.size)
    high = np.minimum(high, total)  # weights are not negative
    values, *bounds = (jnp.asarray(a, float) for a in (equal, total, low, high))
    return Weights(values, Constant(tuple(bounds)), shape).project()
