"""What a functional is: a real value, its gradient, its proximal map, in the space it acts on.

prox_{t f}(x) = argmin_u f(u) + ‖u − x‖² / (2t) with the norm of Re⟨·,·⟩, t a positive scalar or,
where f is elementwise, an array of them. The map of a non-convex f is a global minimiser unless
its class says otherwise.
"""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import LinearOperator


class Functional(abc.ABC):
    """A functional f of a pytree; data belong to it, and are differentiable.

    ``f + g`` and ``c * f`` (c > 0) are functionals again, and keep what they can of the rest.
    """

    smooth: ClassVar[bool] = False
    """Whether `grad` exists everywhere that matters; decides how a solver uses the term."""

    fidelity: ClassVar[bool] = False
    """Whether f carries data, so that it belongs to the forward model and has `subset`."""

    convex: ClassVar[bool] = True
    """Whether f is convex for every value of its arrays."""

    elementwise: ClassVar[bool] = False
    """Whether f is a sum over single entries of one array, so that steps may differ by entry."""

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

    def conjugate_prox(self, x: Any, step: Any) -> Any:
        """The proximal map of step·f*, by Moreau: x − step·prox_{f/step}(x/step); f convex."""
        inner = self.prox(jax.tree.map(lambda a: a / step, x), 1 / step)
        return jax.tree.map(lambda a, p: a - step * p, x, inner)

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
        """The part of a fidelity that belongs to `operator.subset(i, n)`: every n-th entry of the
        data's leading axis from i on, which may be traced.

        Raises:
            ValueError: f carries no data, or n does not divide the leading axis.
        """
        raise ValueError(f"`{type(self).__name__}` has no subsets")

    def randomised(self, key: Key[Array, ""]) -> "Functional":
        """The functional as a stochastic step sees it; itself unless it has a random part."""
        del key
        return self

    def __add__(self, other: "Functional") -> "Functional":
        from jaxrecon.functionals._algebra import Sum  # which builds on this module

        if not isinstance(other, Functional):
            return NotImplemented
        terms = [f.terms if isinstance(f, Sum) else (f,) for f in (self, other)]
        return Sum(terms[0] + terms[1])

    def __mul__(self, factor: Any) -> "Functional":
        from jaxrecon.functionals._algebra import Scaled  # which builds on this module

        if isinstance(factor, Functional) or jnp.shape(factor) != ():
            raise ValueError(
                f"`c * f` needs a positive scalar c, got {factor!r}: for weights by entry use the "
                "functional's own"
            )
        return Scaled(factor, self)

    __rmul__ = __mul__


def subsets(i: Any, n: int, data: Array, *others: Any) -> tuple[Any, ...]:
    """Entries i, i + n, ... of the leading axis of the data and of what is broadcast against them.

    Raises:
        ValueError: n does not divide the axis.
    """
    n_rows = data.shape[0]
    if n_rows % n:
        raise ValueError(f"`n` is {n}, which does not divide the {n_rows} rows of the data")

    def part(x: Any) -> Any:
        if x is None or jnp.ndim(x) < data.ndim or jnp.shape(x)[0] != n_rows:
            return x  # the same for every row
        x = jnp.asarray(x)
        return x.reshape(n_rows // n, n, *x.shape[1:])[:, i]

    return tuple(part(x) for x in (data, *others))


def weigh(weights: Any, x: Any) -> Any:
    """W ⊙ x, where None stands for weights of one."""
    return x if weights is None else weights * x
