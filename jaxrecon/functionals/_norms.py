"""Norms and indicators with closed proximal maps; complex values shrink in magnitude."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import pytree, static, tree
from jaxrecon.functionals._functional import Functional


@pytree
class L1(Functional):
    """Σ w |x|, w a scalar or an array."""

    weight: Any = 1.0

    def __call__(self, x: Array) -> Array:
        return jnp.sum(self.weight * tree.safe_sqrt(_squares(x)))

    def prox(self, x: Array, step: Any) -> Array:
        return soft_threshold(x, step * self.weight)


@pytree
class L21(Functional):
    """Σ w ‖x‖₂ over groups along one axis: with the image gradient, isotropic total variation."""

    weight: Any = 1.0
    axis: int = static(default=0)

    def __call__(self, x: Array) -> Array:
        return jnp.sum(self.weight * _length(x, self.axis))

    def prox(self, x: Array, step: Any) -> Array:
        length = _length(x, self.axis)
        return x * _shrinkage(length, step * self.weight)


@pytree
class Box(Functional):
    """The indicator of lower ≤ x ≤ upper, for real x; a bound of None is no bound."""

    lower: Any = None
    upper: Any = None

    def __call__(self, x: Array) -> Array:
        return jnp.where(jnp.all(x == self.prox(x, 1.0)), 0.0, jnp.inf)

    def prox(self, x: Array, step: Any) -> Array:
        """The projection onto the box.

        Raises:
            ValueError: x is complex.
        """
        del step
        if jnp.iscomplexobj(x):
            raise ValueError("`x` is complex: a box constrains real images")
        return jnp.clip(x, self.lower, self.upper)


def non_negative() -> Box:
    """The indicator of x ≥ 0."""
    return Box(lower=0.0)


def soft_threshold(x: Array, threshold: Any) -> Array:
    """X · max(0, 1 − threshold/|x|): the proximal map of threshold·|x|, real or complex.

    Example:
        >>> soft_threshold(jnp.array([3.0, -1.5]), 1.0).tolist()
        [2.0, -0.5]
    """
    if jnp.iscomplexobj(x):
        return x * _shrinkage(tree.safe_sqrt(_squares(x)), threshold)
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)


def _shrinkage(length: Array, threshold: Any) -> Array:
    positive = length > threshold
    return jnp.where(positive, 1 - threshold / jnp.where(positive, length, 1), 0)


def _squares(x: Array) -> Array:
    return x.real**2 + x.imag**2 if jnp.iscomplexobj(x) else x**2


def _length(x: Array, axis: int) -> Array:
    return tree.safe_sqrt(jnp.sum(_squares(x), axis, keepdims=True))
