"""Projections onto a budget: the weights that are allowed, and shapes brought to a sum.

    project_budget      argmin ‖w − v‖ over {lower ≤ w ≤ upper, Σ w = total}                 (1)
    scale_to_budget     p = min(1, c d) with Σ p = k                                         (2)
    rescale             P α/P̄, or 1 − (1 − P)(1 − α)/(1 − P̄) where the mean P̄ is below α   (3)

Both solutions hang on one number, τ in w = clip(v − τ, lower, upper) and c, found by bisection;
the set of positions at a bound is read off, and the number follows from it in closed form: the sum
is exact to rounding, and the derivative is that of the projection.

Source of (3): Bahadir, Wang, Dalca and Sabuncu, "Deep-learning-based optimization of the
under-sampling pattern in MRI" (LOUPE), IEEE Trans. Comput. Imaging 6 (2020).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

__all__ = ["project_budget", "rescale", "scale_to_budget"]

_N_HALVINGS = 60  # from any bracket to neighbouring numbers in float32, nearly so in float64


@jax.jit
def project_budget(
    values: Float[Array, " position"],
    total: ArrayLike,
    lower: ArrayLike = 0.0,
    upper: ArrayLike = jnp.inf,
) -> Float[Array, " position"]:
    """The nearest weights between bounds that sum to a total, equation (1).

    With the default bounds they lie on a simplex; with `upper` 1 they are probabilities of a mask.
    Positions whose bounds are both 1 are always kept, inside the budget.

    Args:
        values: any numbers.
        total: the sum, between those of the bounds.
        lower: bound, one for all or for each.
        upper: bound, one for all or for each; may be infinite.

    Returns:
        Weights; differentiable in all arguments almost everywhere.

    Example:
        >>> project_budget(jnp.array([0.9, 0.5, 0.1, -2.0]), 1.0)
        Array([0.7, 0.3, 0. , 0. ], dtype=float32)
    """
    total, lower, upper = (jnp.asarray(a, values.dtype) for a in (total, lower, upper))
    lower, upper = (jnp.broadcast_to(a, values.shape) for a in (lower, upper))

    def excess(tau: Array) -> Array:
        return jnp.sum(jnp.clip(values - tau, lower, upper)) - total

    start = jnp.min(values) - jnp.abs(total), jnp.max(values - lower)
    tau = root(excess, *start)
    inside = (values - tau > lower) & (values - tau < upper)
    bound = jnp.where(values - tau <= lower, lower, upper)
    left = total - jnp.sum(jnp.where(inside, 0, bound))
    n_inside = jnp.sum(inside)
    shift = (jnp.sum(jnp.where(inside, values, 0)) - left) / jnp.maximum(n_inside, 1)
    return jnp.clip(jnp.where(inside, values - shift, bound), lower, upper)


@jax.jit
def scale_to_budget(
    density: Float[Array, " position"],
    budget: ArrayLike,
    fixed: Bool[ArrayLike, " position"] | None = None,
) -> Float[Array, " position"]:
    """Probabilities proportional to a density but for those that reach one, equation (2).

    Args:
        density: positive.
        budget: their sum.
        fixed: positions of probability one, inside the budget.

    Returns:
        Probabilities; differentiable in the density.

    Example:
        >>> scale_to_budget(jnp.array([4.0, 2.0, 1.0, 1.0]), 2).tolist()
        [1.0, 0.5, 0.25, 0.25]
    """
    fixed = jnp.zeros(density.shape, bool) if fixed is None else jnp.asarray(fixed)
    budget = jnp.asarray(budget, density.dtype)
    free = jnp.log(jnp.maximum(density, jnp.finfo(density.dtype).tiny))

    def excess(log_c: Array) -> Array:
        return budget - jnp.sum(jnp.where(fixed, 1, jnp.minimum(jnp.exp(free + log_c), 1)))

    start = -jnp.max(free) - 60, -jnp.min(free) + 1
    full = fixed | (free + root(excess, *start) >= 0)
    left = budget - jnp.sum(full)
    rest = jnp.sum(jnp.where(full, 0, density))
    scaled = density * (left / jnp.where(rest > 0, rest, 1))
    return jnp.where(full, 1, jnp.clip(scaled, 0, 1))


def rescale(probabilities: Float[Array, " position"], mean: ArrayLike) -> Float[Array, " position"]:
    """Probabilities in [0, 1] brought to a mean by one linear map that keeps the range: (3).

    Example:
        >>> rescale(jnp.array([0.0, 0.5, 1.0]), 0.25).tolist()
        [0.0, 0.25, 0.5]
    """
    now = jnp.mean(probabilities)
    down = mean / jnp.where(now > 0, now, 1)
    up = (1 - mean) / jnp.where(now < 1, 1 - now, 1)
    return jnp.where(now >= mean, probabilities * down, 1 - (1 - probabilities) * up)


def root(excess: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Where a non-increasing function crosses zero, by bisection; a constant to derivatives."""

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (bracket[0] + bracket[1]) / 2
        above = excess(middle) > 0
        return jnp.where(above, middle, bracket[0]), jnp.where(above, bracket[1], middle)

    low, high = jax.lax.stop_gradient((low, high))
    found = jax.lax.fori_loop(0, _N_HALVINGS, halve, (low, high))
    return jax.lax.stop_gradient((found[0] + found[1]) / 2)
