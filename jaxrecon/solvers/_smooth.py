"""What gradient methods ask of a problem: its smooth part, one proximal term, a step size."""

import functools
from typing import Any

import jax
from jaxtyping import Array, PyTree

from jaxrecon.core import Identity, LinearOperator, Problem, norm, stack, tree

Term = tuple[Any, LinearOperator]

_MARGIN = 1.02  # power iteration approaches the norm from below


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
    """Σ Aᴴ ∇f(A x)."""
    parts = []
    for f, A in terms:
        y, derivative = A.linearise(x)
        parts.append(derivative.adjoint(f.grad(y)))
    return functools.reduce(tree.add, parts)


def inverse_lipschitz(terms: tuple[Term, ...], *, n_iter: int = 50) -> Array:
    """1/L for the gradient of Σ f(A x), by power iteration; no gradient flows through it.

    Raises:
        ValueError: a term's curvature is not known.
    """
    roots = [f.curvature_root(A) for f, A in terms]
    root = roots[0] if len(roots) == 1 else stack(roots)
    root = jax.lax.stop_gradient(root)
    largest = norm(root, jax.random.key(0), n_iter=n_iter, tol=1e-3).value
    return jax.lax.stop_gradient(1 / (_MARGIN * largest) ** 2)


def relative_change(new: PyTree, old: PyTree) -> Array:
    """‖new − old‖ / ‖new‖, zero for two zeros."""
    size, change = tree.norm(new), tree.norm(tree.sub(new, old))
    return change / (size + (size == 0))
