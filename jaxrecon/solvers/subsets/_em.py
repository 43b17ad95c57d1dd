"""Expectation maximisation for Poisson data: MLEM, OSEM, and with a prior one step late.

    x⁺ = x ⊙ (Aᵢᴴ(yᵢ / (Aᵢx + bᵢ)) + [∇R(x)]₋/n) / (Aᵢᴴ1 + [∇R(x)]₊/n)                         (1)

Without a prior R this is MLEM (Shepp and Vardi, IEEE Trans. Med. Imaging 1, 1982), which raises the
likelihood in every step, keeps x ≥ 0, and without a background b keeps the counts, Σ Ax = Σ y; in
subsets OSEM (Hudson and Larkin, IEEE Trans. Med. Imaging 13, 1994), faster by about their number
and circling in the end. The prior's gradient is taken at the old image (one step late: Green, IEEE
Trans. Med. Imaging 9, 1990), its negative part in the numerator (split gradient: Lantéri, Roche,
Cuevas, Aime, Signal Process. 81, 2001), so that x stays positive for any weight; where R is convex
and weak it descends, which is not guaranteed otherwise. The fixed points are those of the problem.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, pytree, shared_sum, static, tree
from jaxrecon.functionals.fidelities._counts import Poisson
from jaxrecon.solvers.gradient._smooth import gradient_of
from jaxrecon.solvers.subsets import _problem as parts
from jaxrecon.solvers.subsets._order import subset_index
from jaxrecon.solvers.subsets._sirt import SubsetInfo, SubsetState, first_state, next_state


@pytree
class Counts:
    """The Poisson fidelity, its operator, sensitivities of every subset or None, priors, bounds."""

    fidelity: Poisson
    operator: LinearOperator
    sensitivities: Any
    priors: tuple
    constraints: tuple

    @property
    def domain(self) -> PyTree:
        """Structs of x."""
        return self.operator.domain


@pytree
class MLEM(Algorithm):
    """Maximum likelihood for Poisson data by EM, equation (1) with all data at once.

    The problem is one `Poisson` with a nonnegative operator, smooth priors behind any
    operators, and constraints on pixels (positivity is kept without one). A start of zeros, from
    which EM cannot move, stands for the constant image of the right number of counts. Pixels that
    no detector sees become zero.

    Example:
        >>> from jaxrecon.core import Problem, diagonal, run
        >>> A = diagonal(jnp.array([1.0, 4.0]), jnp.zeros(2))
        >>> problem = Problem(((Poisson(jnp.array([3.0, 2.0])), A),))
        >>> run(MLEM(), problem, n_iter=1).value.tolist()
        [3.0, 0.5]
    """

    def prepare(self, problem: Any) -> Counts:
        return _counts(problem, 1)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> SubsetState:
        return first_state(_start(_counts(problem, 1), x0, 1), key)

    def step(self, problem: Any, state: SubsetState, inputs: Any) -> tuple[SubsetState, SubsetInfo]:
        del inputs
        x = _update(_counts(problem, 1), state.x, 0, 1)
        return next_state(state, x, jnp.zeros_like(state.k))

    def value(self, state: SubsetState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Any, x: PyTree) -> PyTree:
        return _update(_counts(problem, 1), x, 0, 1)


@pytree
class OSEM(Algorithm):
    """EM in ordered subsets, equation (1); a step is one subset. The problem is as for `MLEM`.

    For up to 32 subsets the sensitivities Aᵢᴴ1 are kept, for more they are computed in every step.

    Args:
        n_subsets: must divide the leading axis of the data.
        order: "sequential", "bit_reversed", "golden" or "random", which needs a key.
    """

    n_subsets: int = static()
    order: str = static(default="bit_reversed")

    def prepare(self, problem: Any) -> Counts:
        return _counts(problem, self.n_subsets)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> SubsetState:
        return first_state(_start(self.prepare(problem), x0, self.n_subsets), key)

    def step(self, problem: Any, state: SubsetState, inputs: Any) -> tuple[SubsetState, SubsetInfo]:
        del inputs
        i = subset_index(self.order, self.n_subsets, state.k, state.key)
        x = _update(self.prepare(problem), state.x, i, self.n_subsets)
        return next_state(state, x, i)

    def value(self, state: SubsetState) -> PyTree:
        return state.x


def _counts(problem: Any, n: int) -> Counts:
    if isinstance(problem, Counts):
        return problem
    f, A = parts.one_fidelity(problem, Poisson, "MLEM")
    parts.check_real(A, "MLEM")
    priors = tuple(t for t in problem.terms if t[0].smooth and not t[0].fidelity)
    sensitivities = parts.each_subset(lambda i: _sensitivity(A, i, n), n)
    return Counts(f, A, sensitivities, priors, parts.constraints(problem, "MLEM"))


def _sensitivity(A: LinearOperator, i: Any, n: int) -> PyTree:
    part = A if n == 1 else A.subset(i, n)
    return part.adjoint(parts.ones(part.range))


def _start(counts: Counts, x0: PyTree, n: int) -> PyTree:
    """x0 without negative pixels; a constant image with the measured counts if nothing is left."""
    first = parts.recall(counts.sensitivities, lambda i: _sensitivity(counts.operator, i, n), 0)
    measured = shared_sum(jnp.sum(counts.fidelity.counts), x0)
    level = measured / (n * tree.dot(first, parts.ones(counts.domain)))
    x0 = jax.tree.map(lambda x: jnp.maximum(x, 0), x0)
    return tree.where(tree.sum_of_squares(x0) > 0, x0, tree.scale(level, parts.ones(counts.domain)))


def _update(counts: Counts, x: PyTree, i: Any, n: int) -> PyTree:
    f, A = counts.fidelity, counts.operator
    sensitivity = parts.recall(counts.sensitivities, lambda i: _sensitivity(A, i, n), i)
    if n > 1:
        f, A = f.subset(i, n), A.subset(i, n)
    numerator, denominator = A.adjoint(_ratio(f, A.forward(x))), sensitivity
    if counts.priors:
        slope = tree.scale(1 / n, gradient_of(counts.priors, x))
        seen = jax.tree.map(lambda s, g: jnp.where(s > 0, g, 0), sensitivity, slope)
        numerator = jax.tree.map(lambda a, g: a + jnp.maximum(-g, 0), numerator, seen)
        denominator = jax.tree.map(lambda a, g: a + jnp.maximum(g, 0), denominator, seen)
    factor = jax.tree.map(jnp.multiply, numerator, parts.inverse(denominator))
    metric = jax.tree.map(jnp.multiply, x, parts.inverse(denominator))
    x = jax.tree.map(jnp.multiply, x, factor)
    for constraint in counts.constraints:
        x = constraint.prox(x, metric)
    return x


def _ratio(f: Poisson, projection: Array) -> Array:
    """The ratio y/(Ax + b), zero where nothing is expected."""
    expected = projection + f.background
    positive = expected > 0
    quotient = jnp.where(positive, f.counts / jnp.where(positive, expected, 1), 0)
    return quotient.astype(projection.dtype)
