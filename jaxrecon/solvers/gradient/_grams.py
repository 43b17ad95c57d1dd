"""Quadratic terms through their normal equations, where AᴴWA is faster than A and then Aᴴ.

    f(Ax) = ½ Re⟨x, Gx⟩ − Re⟨b, x⟩ + c,    ∇ = G x − b,    G = AᴴWA, b = AᴴWy              (1)

so a gradient costs one G instead of one A and one Aᴴ: half the Fourier transforms of a SENSE model,
two FFTs instead of two non-uniform ones for a NUFFT (Toeplitz embedding). Gradients with respect to
data and operator flow through G and b.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import Identity, LinearOperator, Operator, pytree, tree
from jaxrecon.core.operators._blocks import BlockDiagonal
from jaxrecon.core.operators._elementary import Diagonal
from jaxrecon.core.operators._operator import Adjoint, Composition, Scaled, Sum, WeightedGram
from jaxrecon.functionals._functional import Functional

Term = tuple[Any, Operator]


@pytree
class NormalForm(Functional):
    """A quadratic of the image itself by equation (1); it stands in front of an identity."""

    smooth: ClassVar[bool] = True

    gram: LinearOperator
    rhs: Any
    constant: Array

    def __call__(self, x: PyTree) -> Array:
        return 0.5 * tree.dot(x, self.gram.forward(x)) - tree.dot(self.rhs, x) + self.constant

    def grad(self, x: PyTree) -> PyTree:
        return tree.sub(self.gram.forward(x), self.rhs)

    def value_and_grad(self, x: PyTree) -> tuple[Array, PyTree]:
        """Both for one G."""
        Gx = self.gram.forward(x)
        value = 0.5 * tree.dot(x, Gx) - tree.dot(self.rhs, x) + self.constant
        return value, tree.sub(Gx, self.rhs)

    def normal(self, A: LinearOperator) -> tuple[LinearOperator, PyTree]:
        if isinstance(A, Identity):
            return self.gram, self.rhs
        return Composition(A.H, Composition(self.gram, A)), A.H(self.rhs)


def with_fast_grams(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """The same sum of terms, with a `NormalForm` for each that is cheaper that way.

    A term is replaced if it is quadratic and its gram is more than A followed by Aᴴ (see
    `is_fast`). The set-up, such as the kernel of a Toeplitz gram, happens here: call it outside
    loops.
    """
    return tuple(_with_fast_gram(f, A) for f, A in terms)


def normal_or_none(functional: Any, A: Operator) -> tuple[LinearOperator, PyTree] | None:
    """G and b of a quadratic functional of a linear operator, else None."""
    if not isinstance(A, LinearOperator):
        return None
    try:
        return functional.normal(A)
    except ValueError:
        return None


def is_fast(gram: LinearOperator) -> bool:
    """Whether a gram spares a part of A and Aᴴ.

    Written out as a chain of factors, a gram without a way of its own is Aₙᴴ … A₁ᴴ A₁ … Aₙ, with
    an even number of them; an odd chain has one in the middle that decides. Sums are fast if a part
    is. Weighting by a diagonal is no way of its own.
    """
    match gram:
        case Composition():
            factors = _chain(gram)
            return len(factors) % 2 == 1 and is_fast(factors[len(factors) // 2])
        case Scaled():
            return is_fast(gram.inner)
        case Sum() | BlockDiagonal():
            return any(is_fast(part) for part in gram.parts)
        case WeightedGram() | Adjoint() | Diagonal():
            return False
    return True


def _with_fast_gram(functional: Any, A: Operator) -> Term:
    if isinstance(A, Identity) or isinstance(functional, NormalForm):
        return functional, A
    normal = normal_or_none(functional, A)
    if normal is None or not is_fast(normal[0]):
        return functional, A
    at_zero = functional(tree.zeros(A.range))
    structs = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, jnp.dtype(s.dtype)), A.domain)
    return NormalForm(*normal, at_zero), Identity(structs)


def _chain(A: LinearOperator) -> list[LinearOperator]:
    return [*_chain(A.outer), *_chain(A.inner)] if isinstance(A, Composition) else [A]
