"""One move of Langevin's equation on p(x) ∝ exp(−U(x)), as it is and with an accept step.

    x' = x − δ ∇U(x) + √(2δ) n                                                             (1)
    accepted with probability min(1, exp(U(x) − U(x')) q(x | x') / q(x' | x)),             (2)
    log q(x' | x) = −‖x' − x + δ ∇U(x)‖² / 4δ

(1) alone has a bias that shrinks with δ; with (2) p is kept exactly (Roberts and Tweedie, Bernoulli
2, 1996), as far as δ lets moves be accepted.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import tree

Potential = Callable[[Any], tuple[Array, Any]]


class Place(NamedTuple):
    """A point with U and ∇U there."""

    x: Any
    value: Array
    slope: Any


def langevin_move(x: PyTree, slope: PyTree, step: Any, key: Any) -> PyTree:
    """Equation (1)."""
    moved = tree.add_scaled(x, -step, slope)
    return tree.add_scaled(moved, jnp.sqrt(2 * jnp.asarray(step)), tree.standard_noise(key, x))


def metropolis_move(
    potential: Potential, here: Place, step: Any, key: Any, *, adjusted: bool = True
) -> tuple[Place, Array]:
    """Equations (1) and (2): the next place, and the probability that a move there is accepted.

    Without `adjusted` every move is taken.
    """
    propose, accept = jax.random.split(key)
    x = langevin_move(here.x, here.slope, step, propose)
    there = Place(x, *potential(x))
    ratio = here.value - there.value + _log_move(there, here, step) - _log_move(here, there, step)
    # What is not finite is never accepted; away from it everything is.
    possible = jnp.isfinite(there.value) & ~jnp.isnan(ratio)
    acceptance = jnp.where(possible, jnp.exp(jnp.minimum(ratio, 0)), 0)
    accepted = jax.random.uniform(accept, (), ratio.dtype) < acceptance
    place = tree.where(accepted, there, here) if adjusted else there
    return place, acceptance


def _log_move(start: Place, end: Place, step: Any) -> Array:
    """Log q(end | start)."""
    mean = tree.add_scaled(start.x, -step, start.slope)
    return -tree.sum_of_squares(tree.sub(end.x, mean)) / (4 * step)
