"""A problem seen through a part of its measurement.

    F_i(x) = Σ_fidelities fᵢ(Aᵢ x) + (1/n) Σ_others f(A x),     Σ_i F_i = F                      (1)

The parts are those of `A.subset(i, n)` and `f.subset(i, n)`: every n-th view, spoke or row from i
on, so that each sees the object from all sides. i may be traced: one compiled step serves them all.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import Identity, LinearOperator, Operator, Problem

_STORED_SUBSETS = 32  # up to here one image a subset is kept, beyond it is computed at every step


def subset_problem(problem: Problem, i: Any, n: int) -> Problem:
    """F_i of equation (1): fidelities in part, everything else divided by n.

    Args:
        problem: the whole.
        i: which part; may be traced.
        n: number of parts; must divide the leading axis of the data.

    Raises:
        ValueError: a fidelity's data or operator cannot be divided into n.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.functionals import SquaredL2
        >>> x = jnp.array([3.0, 4.0])
        >>> part = subset_problem(Problem(((SquaredL2(), identity(x)),)), 0, 5)
        >>> float(part(x))
        2.5
    """
    if n == 1:
        return problem
    parts = [
        (f.subset(i, n), A.subset(i, n)) if f.fidelity else ((1 / n) * f, A)
        for f, A in problem.terms
    ]
    return Problem(tuple(parts))


def each_subset(function: Callable[[Any], PyTree], n: int) -> PyTree | None:
    """``function(i)`` of all subsets, stacked; None where they are too many to be kept."""
    return jax.lax.map(function, jnp.arange(n)) if n <= _STORED_SUBSETS else None


def recall(stored: PyTree | None, function: Callable[[Any], PyTree], i: Any) -> PyTree:
    """The i-th of what `each_subset` gave, or computed now."""
    return function(i) if stored is None else jax.tree.map(lambda a: a[i], stored)


def one_fidelity(problem: Problem, kind: type, method: str) -> tuple[Any, Any]:
    """The one data term of a problem, which must be of a certain kind.

    Raises:
        ValueError: there is none, several, or one of another kind.
    """
    found = [t for t in problem.terms if t[0].fidelity]
    if len(found) != 1 or not isinstance(found[0][0], kind):
        names = ", ".join(type(f).__name__ for f, _ in found) or "none"
        raise ValueError(
            f"`problem` has the fidelities ({names}); {method} takes one, a {kind.__name__}"
        )
    return found[0]


def constraints(problem: Problem, method: str, *, elementwise: bool = True) -> tuple[Any, ...]:
    """The non-smooth terms, which act on x itself.

    Raises:
        ValueError: one stands behind an operator, or is not a sum over single pixels though the
            method's metric differs from pixel to pixel.
    """
    rough = [t for t in problem.terms if not (t[0].fidelity or t[0].smooth)]
    for f, A in rough:
        if not isinstance(A, Identity) or (elementwise and not f.elementwise):
            raise ValueError(
                f"`problem` has the term {type(f).__name__} of {type(A).__name__}; {method} takes "
                "constraints on single pixels, such as non_negative(). Use PDHG, or smooth the term"
            )
    return tuple(f for f, _ in rough)


def check_real(A: Operator, method: str) -> None:
    """Refuses complex images, which have no order, and nonlinear models.

    Raises:
        ValueError: the domain is complex, or the operator is not linear.
    """
    if not isinstance(A, LinearOperator):
        raise ValueError(
            f"`problem` has the nonlinear {type(A).__name__}: {method} is for linear models. Use "
            "GaussNewton or GradientDescent"
        )
    leaves = jax.tree.leaves(A.domain)
    if any(jnp.issubdtype(s.dtype, jnp.complexfloating) for s in leaves):
        raise ValueError(f"`problem` has complex images: {method} is for real ones. Use CGLS")


def ones(structs: PyTree) -> PyTree:
    """Arrays of ones."""
    return jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), structs)


def inverse(a: PyTree) -> PyTree:
    """1/a, and zero where a is not above rounding: rays beside the image, pixels beside rays."""

    def one(a: Array) -> Array:
        seen = a > 100 * jnp.finfo(a.dtype).eps * jnp.max(a)
        return jnp.where(seen, 1 / jnp.where(seen, a, 1), 0)

    return jax.tree.map(one, a)
