"""The constraint of the discrepancy principle: data are met to within the noise.

    {x : ‖x − y‖_W ≤ ε},  ‖r‖²_W = Σ w |r|²                                               (1)

With weights the projection is y + r/(1 + λw) for the λ ≥ 0 that solves ‖r/(1 + λw)‖_W = ε. The
reciprocal of that norm is concave and increasing in λ, so Newton's method climbs to the solution
from λ = 0, in a few steps (Moré and Sorensen, SIAM J. Sci. Stat. Comput. 4, 1983).
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import pytree, tree
from jaxrecon.functionals._functional import Functional, subsets, weigh
from jaxrecon.functionals._norms import indicator, slack, squared_magnitude
from jaxrecon.functionals.fidelities._newton import newton, with_derivatives


@pytree
class NoiseBall(Functional):
    """The indicator of a ball around the data, equation (1); convex.

    For noise of variance 1/w in n real numbers the radius is about √n (2n for n complex ones).

    Args:
        data: y.
        radius: ε > 0.
        weights: w ≥ 0; 1 if None. Entries of weight 0 are free.

    Example:
        >>> ball = NoiseBall(jnp.zeros(2), radius=2.5)
        >>> ball.prox(jnp.array([3.0, 4.0]), 1.0).tolist()
        [1.5, 2.0]
    """

    fidelity: ClassVar[bool] = True

    data: Array
    radius: Any
    weights: Any = None

    def __call__(self, x: Array) -> Array:
        squares = jnp.sum(weigh(self.weights, squared_magnitude(x - self.data)))
        return indicator(squares <= (self.radius * (1 + slack(x))) ** 2, x)

    def prox(self, x: Array, step: Any) -> Array:
        """The projection; with weights by 15 steps of Newton's method."""
        del step
        difference = x - self.data
        if self.weights is None:
            length = tree.norm(difference)
            outside = length > self.radius
            return self.data + difference * jnp.where(
                outside, self.radius / jnp.where(outside, length, 1), 1
            )
        return self.data + difference / (1 + self._multiplier(difference) * self.weights)

    def _multiplier(self, difference: Array) -> Array:
        squares = squared_magnitude(difference)
        outside = jnp.sum(self.weights * squares) > self.radius**2
        # Inside, the equation is solved for a residual that is outside, then dropped.
        squares = jnp.where(outside, squares, 1 + self.radius**2)
        weights = jnp.where(outside, self.weights, 1)
        parameters = (squares, weights, self.radius)
        multiplier = newton(_secular, parameters, jnp.zeros((), squares.dtype), 15)
        return jnp.where(outside, with_derivatives(_secular, parameters, multiplier), 0)

    def subset(self, i: Any, n: int) -> "NoiseBall":
        """A ball of radius ε/√n around a part: who meets all parts meets the whole."""
        data, weights = subsets(i, n, self.data, self.weights)
        return NoiseBall(data, self.radius / jnp.sqrt(float(n)).astype(data.real.dtype), weights)


def _secular(multiplier: Array, parameters: Any) -> tuple[Array, Array]:
    """1/‖r/(1 + λw)‖_W − 1/ε and its slope in λ."""
    squares, weights, radius = parameters
    shrink = 1 / (1 + multiplier * weights)
    energy = jnp.sum(weights * squares * shrink**2)
    slope = jnp.sum(weights**2 * squares * shrink**3)
    return 1 / jnp.sqrt(energy) - 1 / radius, slope / energy**1.5
