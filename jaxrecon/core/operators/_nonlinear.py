"""Nonlinear forward models: an elementwise map, and chains of operators.

`A.linearise(x)` gives A(x) and the derivative as a `LinearOperator` built from operators, so
Gauss-Newton and gradient methods need no forward mode, which the projectors' rules do not have.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core._pytree import operator, static
from jaxrecon.core.operators._abstract import Operator
from jaxrecon.core.operators._elementary import Diagonal
from jaxrecon.core.operators._operator import Composition, LinearOperator


@operator
class Pointwise(Operator):
    """x ↦ f(x) elementwise, for a real (or, on complex arrays, holomorphic) function f."""

    function: Callable[[Array], Array] = static()
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> PyTree:
        return self.struct

    @property
    def range(self) -> PyTree:
        return jax.eval_shape(self.function, self.struct)

    def forward(self, x: Array) -> Array:
        return self.function(x)

    def linearise(self, x: Array) -> tuple[Array, LinearOperator]:
        y, slope = jax.jvp(self.function, (x,), (jnp.ones_like(x),))
        return y, Diagonal(slope, self.struct)


@operator
class Chain(Operator):
    """A(B(x)) where at least one is nonlinear."""

    outer: Operator
    inner: Operator

    @property
    def domain(self) -> PyTree:
        return self.inner.domain

    @property
    def range(self) -> PyTree:
        return self.outer.range

    def forward(self, x: Any) -> Any:
        return self.outer.forward(self.inner.forward(x))

    def linearise(self, x: Any) -> tuple[Any, LinearOperator]:
        """The chain rule: A'(B(x)) B'(x)."""
        middle, inner = self.inner.linearise(x)
        y, outer = self.outer.linearise(middle)
        return y, Composition(outer, inner)


def pointwise(function: Callable[[Array], Array], domain: Any) -> Operator:
    """The elementwise map x ↦ f(x) on arrays like `domain`.

    Example:
        >>> A = pointwise(jnp.exp, jnp.zeros(2))
        >>> y, derivative = A.linearise(jnp.zeros(2))
        >>> derivative(jnp.ones(2)).tolist()
        [1.0, 1.0]
    """
    return Pointwise(function, jax.ShapeDtypeStruct(tuple(domain.shape), jnp.dtype(domain.dtype)))


def chain(outer: Operator, inner: Operator) -> Operator:
    """A after B for any two operators; linear ones compose to a linear one.

    Raises:
        ValueError: B's range is not A's domain.
    """
    if isinstance(outer, LinearOperator) and isinstance(inner, LinearOperator):
        return outer @ inner
    shapes = [[s.shape for s in jax.tree.leaves(t)] for t in (outer.domain, inner.range)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"`outer` takes {outer.domain}, but `inner` gives {inner.range}")
    return Chain(outer, inner)
