"""What gradient methods ask of a problem: its smooth part, one proximal term, a step size."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import (
    Identity,
    LinearOperator,
    Operator,
    Problem,
    identity,
    norm,
    pytree,
    shared_sum,
    static,
    tree,
)
from jaxrecon.solvers.gradient._grams import NormalForm, Term, normal_or_none, with_fast_grams

_MARGIN = 1.04  # power iteration approaches the norm from below


@pytree
class Composite:
    """A problem as a proximal gradient method sees it: F + g, prepared once.

    Attributes:
        terms: of the smooth F, with fast grams.
        rough: g, used through its proximal map, or None.
        step: the step size, or None where a line search finds it.
    """

    terms: tuple[Term, ...]
    rough: Any | None
    step: Array | None

    @property
    def domain(self) -> PyTree:
        """Structs of x."""
        return self.terms[0][1].domain

    def __call__(self, x: PyTree) -> Array:
        """The objective, a real scalar."""
        smooth = value_and_gradient(self.terms, x)[0]
        return smooth if self.rough is None else smooth + self.rough(x)


def composite(problem: Problem | Composite, step: Any, *, estimate: bool = True) -> Composite:
    """Splits a problem and does once what every step would repeat.

    Args:
        problem: smooth terms and at most one proximal term; a `Composite` is left as it is.
        step: the step size; None for 1/L.
        estimate: whether a step of None is estimated here, or left to a line search.

    Raises:
        ValueError: no smooth term, several non-smooth ones or one behind an operator, or a term of
            unknown curvature where 1/L is asked for.
    """
    if isinstance(problem, Composite):
        return problem
    terms, rough = with_fast_grams(smooth_terms(problem)), proximal_term(problem)
    if not terms:
        raise ValueError("`problem` has no smooth term; this method needs one: use PDHG or ADMM")
    if step is None:
        step = inverse_lipschitz(terms) if estimate else None
    real = jax.tree.leaves(problem.domain)[0].dtype
    step = None if step is None else jnp.asarray(step, jnp.finfo(real).dtype)
    return Composite(terms, rough, step)


def smooth_terms(problem: Problem) -> tuple[Term, ...]:
    """The terms used through their gradient."""
    return tuple(t for t in problem.terms if t[0].smooth)


def proximal_term(problem: Problem) -> Any | None:
    """The one term used through its proximal map, or None.

    Raises:
        ValueError: there are several, or it stands behind an operator other than the identity.
    """
    rough = [t for t in problem.terms if not t[0].smooth]
    if len(rough) > 1 or any(not isinstance(A, Identity) for _, A in rough):
        names = ", ".join(f"{type(f).__name__} of {type(A).__name__}" for f, A in rough)
        raise ValueError(
            f"`problem` has the non-smooth terms ({names}); this method takes one, with the "
            "identity operator. Use PDHG, or a functional that contains its transform"
        )
    return rough[0][0] if rough else None


def gradient_of(terms: tuple[Term, ...], x: PyTree) -> PyTree:
    """Σ A'(x)ᴴ ∇f(A x)."""
    return value_and_gradient(terms, x)[1]


def value_and_gradient(terms: tuple[Term, ...], x: PyTree) -> tuple[Array, PyTree]:
    """Σ f(A x) and its gradient for one A and one Aᴴ, or one gram, of each term.

    Where one of the two is not used, compilation drops what only it needs.
    """
    here = expansion(terms, x)
    return here.value, here.gradient


@pytree
class Expansion:
    """Σ f(A x) to the first order at a point."""

    x: PyTree
    parts: "tuple[_Part, ...]"

    @property
    def value(self) -> Array:
        """Σ f(A x)."""
        return functools.reduce(jnp.add, (part.value for part in self.parts))

    @property
    def gradient(self) -> PyTree:
        """Σ A'(x)ᴴ ∇f(A x)."""
        pulled = (part.derivative.adjoint(part.slope) for part in self.parts)
        return functools.reduce(tree.add, pulled)

    def bend(self, other: "Expansion") -> Array:
        """Re⟨∇F(other) − ∇F(self), other.x − self.x⟩, without an adjoint."""
        move = tree.sub(other.x, self.x)
        pairs = zip(self.parts, other.parts, strict=True)
        return functools.reduce(jnp.add, (_bend(*pair, move) for pair in pairs))


def expansion(terms: tuple[Term, ...], x: PyTree) -> Expansion:
    """Of the smooth terms at x; compilation drops what is not used of it."""
    return Expansion(x, tuple(_part(f, A, x) for f, A in terms))


def curvature(functional: Any, A: Operator) -> LinearOperator:
    """G with G ≽ ∇²(f∘A), equal for a quadratic f; through its fast gram where there is one.

    Raises:
        ValueError: no bound is known.
    """
    normal = normal_or_none(functional, A)
    if normal is not None:
        return normal[0]
    if not isinstance(A, LinearOperator):
        raise ValueError(
            f"`{type(A).__name__}` is not linear, so its curvature is not known beforehand: pass "
            "`step_size` or `line_search=Backtracking()`"
        )
    return functional.curvature_root(A).gram


def inverse_lipschitz(terms: tuple[Term, ...], *, n_iter: int = 30) -> Array:
    """1/L for the gradient of Σ f(A x), by power iteration; no gradient flows through it.

    Raises:
        ValueError: a term's curvature is not known.
    """
    gram = functools.reduce(lambda a, b: a + b, (curvature(f, A) for f, A in terms))
    gram = jax.lax.stop_gradient(gram)
    largest = norm(gram, jax.random.key(0), n_iter=n_iter, tol=1e-3).value
    return jax.lax.stop_gradient(1 / (_MARGIN * largest))


def secant_step(terms: tuple[Term, ...], x: PyTree) -> Array:
    """A step size of the right order for unknown curvature: ‖δ‖ / ‖∇F(x + δ) − ∇F(x)‖.

    δ is a small random move, upwards on real images so that it stays where likelihoods are defined.
    No gradient flows through it.
    """
    terms, x = jax.lax.stop_gradient((terms, x))
    draw = tree.random_normal(jax.random.key(0), tree.structs(x))
    draw = jax.tree.map(lambda v: v if jnp.iscomplexobj(v) else jnp.abs(v), draw)
    size = tree.norm(x)
    delta = tree.scale(1e-3 * jnp.where(size > 0, size, 1) / tree.norm(draw), draw)
    change = tree.sub(gradient_of(terms, tree.add(x, delta)), gradient_of(terms, x))
    slope = tree.norm(change)
    return jnp.where(slope > 0, tree.norm(delta) / jnp.where(slope > 0, slope, 1), 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recalled(function: Any, known: PyTree, *arguments: Any) -> PyTree:
    """``function(*arguments)`` whose value is already known, with the derivative of computing it.

    For what a line search has found under stop_gradient, so that it is not computed twice unless a
    gradient is taken. `function` may not close over arrays.
    """
    del function, arguments
    return known


def _recalled_forward(function, known, *arguments):
    return recalled(function, known, *arguments), arguments


def _recalled_backward(function, arguments, ct):
    pulled = jax.vjp(function, *arguments)[1](ct)
    return jax.tree.map(jnp.zeros_like, ct), *pulled


recalled.defvjp(_recalled_forward, _recalled_backward)


@pytree
class _Part:
    """A term f(A x): its value, y = A x, ∇f(y), and A'(x)."""

    value: Array
    y: PyTree
    slope: PyTree
    derivative: LinearOperator
    linear: bool = static()


def _part(functional: Any, A: Operator, x: PyTree) -> _Part:
    if isinstance(functional, NormalForm):
        value, gradient = functional.value_and_grad(x)
        return _Part(value, x, gradient, identity(tree.structs(x)), linear=True)
    y, derivative = A.linearise(x)
    value, linear = shared_sum(functional(y), x), isinstance(A, LinearOperator)
    return _Part(value, y, functional.grad(y), derivative, linear=linear)


def _bend(here: _Part, there: _Part, move: PyTree) -> Array:
    if here.linear:
        both = tree.dot(tree.sub(there.slope, here.slope), tree.sub(there.y, here.y))
    else:
        along = [tree.dot(part.slope, part.derivative(move)) for part in (here, there)]
        both = along[1] - along[0]
    return shared_sum(both, move)
