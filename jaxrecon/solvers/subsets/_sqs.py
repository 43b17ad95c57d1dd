"""Separable quadratic surrogates in ordered subsets: penalised weighted least squares, and more.

    x⁺ = prox_g^D(x − D⁻¹ n ∇F_i(x)),     D = AᴴWA 1 + Σ ‖B‖²                                   (1)

with F_i the i-th part of all smooth terms and g a constraint or sparsity on single pixels. For a
nonnegative A the diagonal D majorises AᴴWA (Erdogan and Fessler, Phys. Med. Biol. 44, 1999); every
prior adds the squared norm of its curvature root B. One subset descends monotonically; several get
near faster, by about their number in the first rounds, and then circle. Nesterov's momentum on top
(Kim, Ramani, Fessler, IEEE Trans. Med. Imaging 34, 2015) gives k² where (1) gives k, and is less
stable the more subsets there are.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Problem, norm, pytree, static, tree
from jaxrecon.solvers.gradient._smooth import gradient_of
from jaxrecon.solvers.subsets import _problem as parts
from jaxrecon.solvers.subsets._order import subset_index
from jaxrecon.solvers.subsets._sirt import SubsetInfo, relaxation_of


@pytree
class Surrogate:
    """The smooth terms, the inverse of their majorising diagonal, constraints."""

    smooth: Problem
    metric: Any
    constraints: tuple

    @property
    def domain(self) -> PyTree:
        """Structs of x."""
        return self.smooth.domain


class SqsState(NamedTuple):
    """Iterate, extrapolated point, momentum parameter, number of steps done, key."""

    x: Any
    z: Any
    t: Array
    k: Array
    key: Any


@pytree
class OSSQS(Algorithm):
    """Ordered-subset separable quadratic surrogates, equation (1); a step is one subset.

    The problem is made of smooth terms of known curvature, fidelities with nonnegative operators
    among them, and terms on single pixels (`non_negative()`, `L1`). With one subset it converges to
    the solution and can be differentiated implicitly.

    Args:
        n_subsets: must divide the leading axis of the data.
        order: "sequential", "bit_reversed", "golden" or "random", which needs a key.
        momentum: Nesterov's.
        relaxation: scales the step; ``inputs={"step": ...}`` overrides it step by step.

    Example:
        >>> from jaxrecon.core import diagonal, run
        >>> from jaxrecon.functionals import LeastSquares
        >>> A = diagonal(jnp.array([1.0, 4.0]), jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([3.0, 2.0])), A),))
        >>> run(OSSQS(), problem, n_iter=1).value.tolist()
        [3.0, 0.5]
    """

    n_subsets: int = static(default=1)
    order: str = static(default="bit_reversed")
    momentum: bool = static(default=False)
    relaxation: Any = 1.0

    def prepare(self, problem: Any) -> Surrogate:
        if isinstance(problem, Surrogate):
            return problem
        parts.check_real(problem.terms[0][1], "OSSQS")
        smooth = Problem(tuple(t for t in problem.terms if t[0].smooth))
        curvatures = [_curvature(f, A) for f, A in smooth.terms]
        metric = parts.inverse(functools.reduce(tree.add, curvatures))
        return Surrogate(smooth, metric, parts.constraints(problem, "OSSQS"))

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> SqsState:
        one = jnp.ones((), jax.tree.leaves(x0)[0].dtype)
        return SqsState(x0, x0, one, jnp.zeros((), jnp.int32), key)

    def step(self, problem: Any, state: SqsState, inputs: Any) -> tuple[SqsState, SubsetInfo]:
        surrogate = self.prepare(problem)
        i = subset_index(self.order, self.n_subsets, state.k, state.key)
        x = self._descended(surrogate, state.z, i, relaxation_of(inputs, self.relaxation))
        t = (1 + jnp.sqrt(1 + 4 * state.t**2)) / 2 if self.momentum else state.t
        z = tree.add_scaled(x, (state.t - 1) / t, tree.sub(x, state.x))
        info = SubsetInfo(tree.relative_change(x, state.x), i)
        return SqsState(x, z, t, state.k + 1, state.key), info

    def value(self, state: SqsState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Any, x: PyTree) -> PyTree:
        """One step without subsets.

        Raises:
            ValueError: there are several subsets, which do not converge to the solution.
        """
        if self.n_subsets > 1:
            return Algorithm.fixed_point(self, problem, x)
        return self._descended(self.prepare(problem), x, 0, 1.0)

    def _descended(self, surrogate: Surrogate, x: PyTree, i: Any, relaxation: Any) -> PyTree:
        part = parts.subset_problem(surrogate.smooth, i, self.n_subsets)
        slope = tree.scale(self.n_subsets, gradient_of(part.terms, x))
        metric = tree.scale(relaxation, surrogate.metric)
        x = jax.tree.map(lambda x, m, g: x - m * g, x, metric, slope)
        for constraint in surrogate.constraints:
            x = constraint.prox(x, metric)
        return x


def _curvature(functional: Any, A: Any) -> PyTree:
    """A diagonal above the Hessian of f∘A; no gradient flows through it."""
    root = jax.lax.stop_gradient(functional.curvature_root(A))
    unit = parts.ones(A.domain)
    if functional.fidelity:
        return jax.lax.stop_gradient(root.gram.forward(unit))
    size = norm(root, jax.random.key(0), n_iter=50, tol=1e-3).value
    return tree.scale(jax.lax.stop_gradient((1.02 * size) ** 2), unit)
