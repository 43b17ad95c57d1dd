"""Potentials whose derivative is a linear spline, on the responses of filters.

    f(z) = λ Σ_c Σ_i ψ_c(|z_ci|),    ψ_c'(t) = Σ_k s_k clip(t − kΔ_c, 0, Δ_c)                  (1)

One profile of slopes s serves all filters; spacings Δ_c stretch it, ψ_c(t) = Δ_c² ψ(t/Δ_c), and its
curvatures are s whatever Δ_c is. If −m ≤ s ≤ L, then f + ½λm‖·‖² is convex and ∇f is Lipschitz with
λ·max(L, m).

The proximal map is exact where t·λ·m < 1: u + tλψ'(u) is then an increasing linear spline with
knots g_k = kΔ + tλψ'(kΔ), and its inverse is one as well.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.core import LinearOperator, pytree, tree
from jaxrecon.functionals import Functional
from jaxrecon.functionals.priors._ridge import _magnitude, _potential, _spline


@pytree
class SplinePotentials(Functional):
    """A sum of spline potentials (1) of an array whose last axis is that of the filters.

    With the operator `filter_bank` in front it is a ridge regulariser for splitting methods.
    Complex responses count by magnitude.

    Args:
        slopes: s.
        spacing: Δ of each filter, or one for all.
        weight: λ.

    Example:
        >>> huber = SplinePotentials(jnp.array([1.0, 0.0]), 1.0)
        >>> huber.grad(jnp.array([0.5, -3.0])).tolist(), huber.prox(jnp.array([4.0]), 1.0).tolist()
        ([0.5, -1.0], [3.0])
    """

    smooth: ClassVar[bool] = True
    convex: ClassVar[bool] = False  # unless all slopes are positive, which is data
    elementwise: ClassVar[bool] = True

    slopes: Float[Array, " knot"]
    spacing: Any
    weight: Any = 1.0

    def __call__(self, x: Array) -> Array:
        return self.weight * jnp.sum(_potential(_magnitude(x), self.slopes, self.spacing))

    def grad(self, x: Array) -> Array:
        size = _magnitude(x)
        # ψ'(t)/t, which for t → 0 is the first slope.
        zero = size == 0
        slope = _spline(size, self.slopes, self.spacing)
        ratio = jnp.where(zero, self.slopes[0], slope / jnp.where(zero, 1, size))
        return self.weight * ratio * x

    def prox(self, x: Array, step: Any) -> Array:
        """The exact map while step · weight · m < 1."""
        size, pull = _magnitude(x), self.weight * step
        knot, shrunk = jnp.zeros_like(size), jnp.zeros_like(size)
        for s in self.slopes:
            height = self.spacing * (1 + pull * s)
            shrunk = shrunk + jnp.clip(size - knot, 0, height) / (1 + pull * s)
            knot = knot + height
        shrunk = shrunk + jnp.maximum(size - knot, 0)
        zero = size == 0
        return jnp.where(zero, 0, shrunk / jnp.where(zero, 1, size)) * x

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        """√(λ max |s|) A."""
        return tree.safe_sqrt(self.weight * self.steepest) * A

    @property
    def steepest(self) -> Array:
        """Max |s|, the Lipschitz constant of ∇f for λ = 1."""
        return jnp.max(jnp.abs(self.slopes))
