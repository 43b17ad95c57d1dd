"""What splitting methods share: which term goes where, norms of operators, residual balancing.

A term (f, A) is quadratic if its functional has normal equations; it is primal if it stands behind
the identity, so that its proximal map acts on the image itself; every other one is a block with a
variable of its own in the range of A. Blocks are measured in units of ‖A‖, so that operators of
different units stand side by side.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import Identity, LinearOperator, Problem, norm, operator, shared_sum, tree
from jaxrecon.core.operators._elementary import Gradient
from jaxrecon.core.operators._operator import Adjoint, Composition, Scaled
from jaxrecon.functionals._algebra import Scaled as ScaledFunctional
from jaxrecon.functionals._quadratic import LeastSquares
from jaxrecon.solvers.gradient._grams import is_fast

Term = tuple[Any, Any]

_MARGIN = 1.02  # power iteration approaches the norm from below


def primal_and_blocks(terms: Sequence[Term]) -> tuple[Any | None, tuple[Term, ...]]:
    """One functional of the image itself, or None, and the other terms.

    The first non-smooth term behind the identity; if there is none, the first smooth one there.
    """
    identities = [i for i, (_, A) in enumerate(terms) if isinstance(A, Identity)]
    rough = [i for i in identities if not terms[i][0].smooth]
    chosen = (rough or identities or [None])[0]
    blocks = tuple(t for i, t in enumerate(terms) if i != chosen)
    return (None if chosen is None else terms[chosen][0]), blocks


def is_quadratic(term: Term) -> bool:
    """Whether a term has normal equations."""
    functional, A = term
    if not isinstance(A, LinearOperator):
        return False
    try:
        jax.eval_shape(lambda f, A: f.normal(A)[1], functional, A)
    except ValueError:
        return False
    return True


def quadratic_and_split(problem: Problem) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    """The quadratic terms, and the others."""
    quadratic = tuple(t for t in problem.terms if is_quadratic(t))
    return quadratic, tuple(t for t in problem.terms if not is_quadratic(t))


def smooth_and_split(problem: Problem) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    """The smooth terms whose curvature is known, and the others."""
    known = [_has_curvature(t) for t in problem.terms]
    smooth = tuple(t for t, k in zip(problem.terms, known, strict=True) if k)
    return smooth, tuple(t for t, k in zip(problem.terms, known, strict=True) if not k)


def domain_term(terms: Sequence[Term]) -> int | None:
    """Which split term stands behind the identity, so that its z is an image: the first one."""
    return next((i for i, (_, C) in enumerate(terms) if isinstance(C, Identity)), None)


def multiple_of_identity(A: LinearOperator) -> Any | None:
    """C with AᴴA = c·I, or None."""
    factor, gram = 1.0, A.gram
    while isinstance(gram, Scaled):
        factor, gram = factor * gram.factor, gram.inner
    return factor if isinstance(gram, Identity) else None


def _has_curvature(term: Term) -> bool:
    functional, A = term
    if not functional.smooth or not isinstance(A, LinearOperator):
        return False
    try:
        functional.curvature_root(A)
    except ValueError:
        return False
    return True


def block_norm(A: LinearOperator, n_iter: int = 50) -> Array:
    """‖A‖, with a margin where it is not known, 1 for zero; no gradient flows through it."""
    A = jax.lax.stop_gradient(A)
    known = _known_norm(A)
    if known is not None:
        return jnp.asarray(known, real_dtype(A.domain))
    estimate = norm(A, jax.random.key(0), n_iter=n_iter, tol=1e-3).value
    return jax.lax.stop_gradient(_MARGIN * jnp.where(estimate > 0, estimate, 1))


def _known_norm(A: LinearOperator) -> Any | None:
    """‖A‖ where it has a closed form; the differences' eigenvalues are those of the cosines."""
    factor, spectrum = multiple_of_identity(A), A.gram_spectrum()
    if factor is not None:
        return jnp.sqrt(factor)
    if spectrum is not None:
        largest = jnp.sqrt(jnp.max(spectrum))
        return jnp.where(largest > 0, largest, 1)
    if isinstance(A, Gradient):
        lengths = zip((A.struct.shape[a] for a in A.axes), A.spacing, strict=True)
        squares = sum((2 * math.cos(math.pi / (2 * n)) / h) ** 2 for n, h in lengths)
        return math.sqrt(squares) or 1.0
    return A.size if isinstance(A, ThroughGram) else None


@operator
class ThroughGram(LinearOperator):
    """A block in which A and Aᴴ only ever meet as G = AᴴA: x ↦ Gx/‖A‖ with ‖A‖·1 for an adjoint.

    The pair is no operator and its adjoint. Its dual variable is Aᴴy/‖A‖, which obeys the same
    recursion as y where fᵢ* has a linear proximal map, so that a gram replaces A and Aᴴ.
    """

    gram_operator: LinearOperator
    size: Array

    @property
    def domain(self) -> PyTree:
        return self.gram_operator.domain

    @property
    def range(self) -> PyTree:
        return self.gram_operator.domain

    def forward(self, x: PyTree) -> PyTree:
        return tree.scale(1 / self.size, self.gram_operator.forward(x))

    def adjoint(self, y: PyTree) -> PyTree:
        return tree.scale(self.size, y)

    @property
    def gram(self) -> LinearOperator:
        return Composition(Adjoint(self), self)


def through_gram(functional: Any, A: Any) -> Term:
    """The same term for a primal-dual method, through a fast gram if an unweighted fit has one."""
    fit = functional.inner if isinstance(functional, ScaledFunctional) else functional
    if not isinstance(fit, LeastSquares) or fit.weights is not None or isinstance(A, Identity):
        return functional, A
    if not isinstance(A, LinearOperator) or not is_fast(A.gram):
        return functional, A
    size = block_norm(A)
    data = LeastSquares(tree.scale(1 / size, A.H(fit.data)))
    scaled = isinstance(functional, ScaledFunctional)
    return (functional.factor * data if scaled else data), ThroughGram(A.gram, size)


def sum_of_adjoints(operators: Sequence[LinearOperator], y: Sequence[PyTree]) -> PyTree:
    """Σ Aᵢᴴ yᵢ."""
    parts = (A.adjoint(yi) for A, yi in zip(operators, y, strict=True))
    return functools.reduce(tree.add, parts)


def mixed(old: PyTree, new: PyTree, relaxation: Any) -> PyTree:
    """Old + relaxation·(new − old)."""
    return tree.add_scaled(old, relaxation, tree.sub(new, old))


def weighted_squares(weights: Sequence[Any], parts: Sequence[PyTree], x: PyTree) -> Array:
    """Σ wᵢ ‖vᵢ‖² over measurements vᵢ of images like x, on all devices that share them."""
    pairs = zip(weights, parts, strict=True)
    squares = (w * shared_sum(tree.sum_of_squares(v), x) for w, v in pairs)
    return functools.reduce(jnp.add, squares)


def relative(squares: Array, size: Array) -> Array:
    """√(squares / size), with the size left out where it is zero."""
    return tree.safe_sqrt(squares / jnp.where(size > 0, size, 1))


def rebalanced(
    value: Array, adaptivity: Array, leading: Array, trailing: Array, *, limit: float
) -> tuple[Array, Array]:
    """Raises `value` while `leading` exceeds `limit` times `trailing`, lowers it the other way.

    Each change multiplies or divides by 1 + adaptivity, and shrinks the adaptivity, so that the
    changes can be summed and convergence survives them.
    """
    up, down = leading > limit * trailing, trailing > limit * leading
    factor = jnp.where(up, 1 + adaptivity, jnp.where(down, 1 / (1 + adaptivity), 1))
    factor, decay = jax.lax.stop_gradient((factor, jnp.where(up | down, 0.95, 1)))
    return (value * factor).astype(value.dtype), (adaptivity * decay).astype(adaptivity.dtype)


def real_dtype(x: PyTree) -> Any:
    """The precision of the first leaf."""
    return jnp.finfo(jax.tree.leaves(x)[0].dtype).dtype
