"""Fidelities that forgive outliers, with r = x − y, statistical weights w (1 if None) and complex
residuals judged by their magnitude.

    least absolute   Σ w |r|                                                              (1)
    Huber            Σ w h(|r|),  h(r) = r²/2 up to δ, then δ r − δ²/2                    (2)
    Student's t      Σ w (ν + 1)/2 · log(1 + |r|² / (ν s²))                               (3)

(1) and (2) are convex. (3), with ν = 1 the Cauchy loss, is not: it stops pulling where r is large.
Source: Huber, Ann. Math. Statist. 35 (1964); Aravkin et al., Math. Program. 146 (2014).
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import LinearOperator, diagonal, pytree
from jaxrecon.functionals._functional import Functional, subsets, weigh
from jaxrecon.functionals._norms import L1, magnitude, soft_threshold, squared_magnitude


@pytree
class LeastAbsolute(Functional):
    """Σ w |x − y|, equation (1): the fidelity of Laplacian and impulsive noise.

    Example:
        >>> f = LeastAbsolute(jnp.array([1.0, 2.0]))
        >>> float(f(jnp.zeros(2))), f.prox(jnp.zeros(2), 1.5).tolist()
        (3.0, [1.0, 1.5])
    """

    fidelity: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True

    data: Array
    weights: Any = None

    def __call__(self, x: Array) -> Array:
        return L1(1.0 if self.weights is None else self.weights)(x - self.data)

    def prox(self, x: Array, step: Any) -> Array:
        return self.data + soft_threshold(x - self.data, weigh(self.weights, step))

    def subset(self, i: Any, n: int) -> "LeastAbsolute":
        return LeastAbsolute(*subsets(i, n, self.data, self.weights))


@pytree
class Huber(Functional):
    """Σ w h(|x − y|), equation (2): quadratic up to residuals of δ, absolute beyond.

    Example:
        >>> f = Huber(jnp.array([0.0, 0.0]), delta=1.0)
        >>> f.grad(jnp.array([0.5, 9.0])).tolist()
        [0.5, 1.0]
    """

    smooth: ClassVar[bool] = True
    fidelity: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True

    data: Array
    delta: Any = 1.0
    weights: Any = None

    def __call__(self, x: Array) -> Array:
        r = magnitude(x - self.data)
        near = jnp.minimum(r, self.delta)
        return jnp.sum(weigh(self.weights, near * (r - near / 2)))

    def grad(self, x: Array) -> Array:
        difference = x - self.data
        return weigh(self.weights, difference / _excess(difference, self.delta))

    def prox(self, x: Array, step: Any) -> Array:
        difference, pull = x - self.data, weigh(self.weights, step)
        # Inside the quadratic zone the residual shrinks by 1/(1+pull), outside by pull·δ.
        size = _excess(difference, self.delta * (1 + pull))
        return self.data + difference * (1 - pull / ((1 + pull) * size))

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return _weighted(self.weights, A)

    def subset(self, i: Any, n: int) -> "Huber":
        return Huber(*subsets(i, n, self.data, self.delta, self.weights))


@pytree
class StudentT(Functional):
    """Student's t with scale s and ν degrees of freedom, equation (3); not convex.

    Smooth, with curvature of at most w (ν + 1)/(ν s²). It has no proximal map.

    Example:
        >>> cauchy = StudentT(jnp.zeros(2), scale=1.0)
        >>> near, far = cauchy.grad(jnp.array([1.0, 99.0]))
        >>> float(near), bool(far < 0.03)
        (1.0, True)
    """

    smooth: ClassVar[bool] = True
    fidelity: ClassVar[bool] = True
    convex: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True

    data: Array
    scale: Any = 1.0
    dof: Any = 1.0
    weights: Any = None

    def __call__(self, x: Array) -> Array:
        squares = squared_magnitude(x - self.data) / (self.dof * self.scale**2)
        return jnp.sum(weigh(self.weights, (self.dof + 1) / 2 * jnp.log1p(squares)))

    def grad(self, x: Array) -> Array:
        difference = x - self.data
        spread = self.dof * self.scale**2 + squared_magnitude(difference)
        return weigh(self.weights, difference * ((self.dof + 1) / spread))

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        largest = jnp.asarray((self.dof + 1) / (self.dof * self.scale**2))
        return _weighted(weigh(self.weights, largest), A)

    def subset(self, i: Any, n: int) -> "StudentT":
        return StudentT(*subsets(i, n, self.data, self.scale, self.dof, self.weights))


def _weighted(weights: Any, A: LinearOperator) -> LinearOperator:
    return A if weights is None else diagonal(jnp.sqrt(weights), A.range) @ A


def _excess(difference: Array, threshold: Any) -> Array:
    """max(1, |difference| / threshold)."""
    return jnp.maximum(1, magnitude(difference) / threshold)
