"""Quadratic functionals: weighted least squares and the squared norm."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import LinearOperator, diagonal, pytree, tree
from jaxrecon.functionals._functional import Functional, subsets, weigh


@pytree
class LeastSquares(Functional):
    """½ Σ w |x − y|², with data y and statistical weights w (1 if None).

    The maximum-likelihood fidelity of Gaussian noise of variance 1/w; PWLS for transmission data.

    Example:
        >>> f = LeastSquares(jnp.array([1.0, 2.0]))
        >>> float(f(jnp.zeros(2))), f.grad(jnp.zeros(2)).tolist()
        (2.5, [-1.0, -2.0])
    """

    smooth: ClassVar[bool] = True
    fidelity: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True

    data: Array
    weights: Array | None = None

    def __call__(self, x: Array) -> Array:
        difference = x - self.data
        return 0.5 * tree.dot(difference, weigh(self.weights, difference))

    def grad(self, x: Array) -> Array:
        return weigh(self.weights, x - self.data)

    def prox(self, x: Array, step: Any) -> Array:
        pull = step if self.weights is None else step * self.weights
        return (x + pull * self.data) / (1 + pull)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return A if self.weights is None else diagonal(jnp.sqrt(self.weights), A.range) @ A

    def normal(self, A: LinearOperator) -> tuple[LinearOperator, PyTree]:
        gram = A.gram if self.weights is None else A.weighted_gram(self.weights)
        return gram, A.H(weigh(self.weights, self.data))

    def subset(self, i: Any, n: int) -> "LeastSquares":
        return LeastSquares(*subsets(i, n, self.data, self.weights))


@pytree
class SquaredL2(Functional):
    """½ w ‖x‖², Tikhonov's regulariser with any operator in front."""

    smooth: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True

    weight: Any = 1.0

    def __call__(self, x: PyTree) -> Array:
        return 0.5 * self.weight * tree.sum_of_squares(x)

    def grad(self, x: PyTree) -> PyTree:
        return tree.scale(self.weight, x)

    def prox(self, x: PyTree, step: Any) -> PyTree:
        return tree.scale(1 / (1 + step * self.weight), x)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return jnp.sqrt(self.weight) * A

    def normal(self, A: LinearOperator) -> tuple[LinearOperator, PyTree]:
        return self.weight * A.gram, tree.zeros(A.domain)
