"""What a functional is: a real value, its gradient, its proximal map, in the space it acts on.

prox_{t f}(x) = argmin_u f(u) + ‖u − x‖² / (2t) with the norm of Re⟨·,·⟩, t a positive scalar or an
array of them.
"""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import LinearOperator


class Functional(abc.ABC):
    """A functional f of a pytree; data belong to it, and are differentiable."""

    smooth: ClassVar[bool] = False
    """Whether `grad` exists everywhere; decides how a solver uses the term."""

    @abc.abstractmethod
    def __call__(self, x: Any) -> Array:
        """F(x), a real scalar; +inf outside an indicator's set."""

    def grad(self, x: Any) -> Any:
        """The direction of steepest ascent, for complex x conj(jax.grad f).

        Raises:
            ValueError: f is not smooth.
        """
        if not self.smooth:
            raise ValueError(f"`{type(self).__name__}` is not smooth: use its `prox`")
        return jax.tree.map(jnp.conj, jax.grad(self)(x))

    def prox(self, x: Any, step: Any) -> Any:
        """The proximal map of step·f at x.

        Raises:
            ValueError: f has no proximal map in closed form.
        """
        raise ValueError(f"`{type(self).__name__}` has no proximal map: use its `grad`")

    def conjugate_prox(self, x: Array, step: Any) -> Array:
        """The proximal map of step·f*, by Moreau: x − step·prox_{f/step}(x/step)."""
        return x - step * self.prox(x / step, 1 / step)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        """B with BᴴB ≽ ∇²(f∘A), whose squared norm bounds the step of gradient methods.

        Raises:
            ValueError: no such bound is known.
        """
        raise ValueError(
            f"`{type(self).__name__}` has no known curvature: pass `step_size` to the algorithm"
        )

    def normal(self, A: LinearOperator) -> tuple[LinearOperator, PyTree]:
        """G and b with ∇(f∘A)(x) = G x − b, for a quadratic f.

        Raises:
            ValueError: f is not quadratic.
        """
        raise ValueError(f"`{type(self).__name__}` is not quadratic: it has no normal equations")

    def subset(self, i: Any, n: int) -> "Functional":
        """The part of a fidelity that belongs to `operator.subset(i, n)`."""
        raise ValueError(f"`{type(self).__name__}` has no subsets")

    def randomised(self, key: Key[Array, ""]) -> "Functional":
        """The functional as a stochastic step sees it; itself unless it has a random part."""
        del key
        return self
