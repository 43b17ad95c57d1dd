"""How the temperature of a relaxation falls."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxrecon.core import pytree

__all__ = ["Geometric", "geometric"]


@pytree
class Geometric:
    """From `first` to `last` by equal factors; build it with `geometric`."""

    first: Float[Array, ""]
    last: Float[Array, ""]
    n_steps: Float[Array, ""]

    def __call__(self, step: ArrayLike) -> Float[Array, ""]:
        """The value at a step; `last` from the last one on."""
        share = jnp.clip(step / jnp.maximum(self.n_steps - 1, 1), 0, 1)
        return self.first * (self.last / self.first) ** share


def geometric(first: int | float, last: int | float, n_steps: int) -> Geometric:
    """A schedule that falls (or rises) by equal factors over the steps of a design.

    Raises:
        ValueError: a value that is not positive.

    Example:
        >>> cooling = geometric(1.0, 0.01, 101)
        >>> [round(float(cooling(step)), 3) for step in (0, 50, 100, 200)]
        [1.0, 0.1, 0.01, 0.01]
    """
    if not (first > 0 and last > 0):
        raise ValueError(f"`first` and `last` are {first} and {last}, expected positive numbers")
    return Geometric(*(jnp.asarray(a, float) for a in (first, last, n_steps)))
