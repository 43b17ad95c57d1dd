"""Patterns of a single-pixel camera that are free pixel by pixel, within what a modulator shows.

    y_i = Σ_p P_ip x_p,   |P_ip| ≤ 1/√N                                                     (1)

for N pixels: the range of the orthonormal Hadamard patterns, which are at its ends everywhere, so
that both see the same light and are compared at equal noise.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxrecon.core import LinearOperator, from_function, pytree, replace

__all__ = ["FreePatterns", "free_patterns"]


@pytree
class FreePatterns:
    """Equation (1); build it with `free_patterns`.

    Attributes:
        values: P, `(measurement, y, x)`.
    """

    values: Float[Array, "measurement y x"]

    def operator(self) -> LinearOperator:
        """The `LinearOperator` from `(y, x)` to `(measurement,)`, differentiable in the values."""
        return from_function(_measure, self.values[0], self.values)

    def project(self) -> "FreePatterns":
        """With every value in the modulator's range."""
        most = 1 / math.sqrt(self.values[0].size)
        return replace(self, values=jnp.clip(self.values, -most, most))


def free_patterns(values: ArrayLike) -> FreePatterns:
    """Free patterns that begin with some, such as Hadamard's or random ones.

    Args:
        values: `(measurement, y, x)`; clipped to the range of equation (1).

    Raises:
        ValueError: the shape is another.

    Example:
        >>> import numpy as np
        >>> patterns = free_patterns(np.full((3, 2, 2), 9.0))
        >>> patterns.operator()(jnp.ones((2, 2))).tolist()
        [2.0, 2.0, 2.0]
    """
    array = jnp.asarray(values, float)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"`values` has shape {array.shape}, expected (measurement, y, x)")
    return FreePatterns(array).project()


def _measure(patterns: Any, image: Array) -> Array:
    return jnp.tensordot(patterns, image, 2, precision=jax.lax.Precision.HIGHEST)
