"""SIRT and SART: algebraic reconstruction with the sums of rays and of pixels as metric.

    x⁺ = P(x + λ Cᵢ Aᵢᴴ Rᵢ (yᵢ − Aᵢ x)),     R = 1/(A 1),   Cᵢ = 1/(Aᵢᴴ 1)                     (1)

for a nonnegative A. With all rays at once (SIRT: Gilbert, J. Theor. Biol. 36, 1972; Gregor and
Benson, IEEE Trans. Med. Imaging 27, 2008) it descends on ½‖Ax − y‖²_R for 0 < λ < 2; a view at a
time (SART: Andersen and Kak, Ultrason. Imaging 6, 1984) or several (OS-SART: Wang and Jiang, J.
X-Ray Sci. Technol. 12, 2004) it gets near in a few rounds, and then circles around, unless the
data are consistent or λ falls. P is the projection of a constraint such as `non_negative()`. Rays
beside the image and pixels beside all rays are left alone.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, pytree, static, tree
from jaxrecon.functionals._quadratic import LeastSquares
from jaxrecon.solvers.subsets import _problem as parts
from jaxrecon.solvers.subsets._order import subset_index


@pytree
class Rays:
    """The fidelity ½‖Ax − y‖²_R, its operator, 1/(Aᵢᴴ1) of every subset or None, constraints."""

    fidelity: LeastSquares
    operator: LinearOperator
    columns: Any
    constraints: tuple

    @property
    def domain(self) -> PyTree:
        """Structs of x."""
        return self.operator.domain


class SubsetState(NamedTuple):
    """Iterate, number of steps done, key of a random order."""

    x: Any
    k: Array
    key: Any


class SubsetInfo(NamedTuple):
    """Relative change of the iterate in this step, and the subset that made it."""

    residual: Array
    subset: Array


@pytree
class SIRT(Algorithm):
    """Simultaneous iterative reconstruction: equation (1) with all rays at once.

    The problem is one `LeastSquares` without weights (rays are weighted by R), a nonnegative real
    operator, and constraints.

    Args:
        relaxation: λ, between 0 and 2; ``inputs={"step": ...}`` overrides it step by step.

    Example:
        >>> from jaxrecon.core import Problem, diagonal, run
        >>> A = diagonal(jnp.array([1.0, 4.0]), jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([3.0, 2.0])), A),))
        >>> run(SIRT(), problem, n_iter=1).value.tolist()
        [3.0, 0.5]
    """

    relaxation: Any = 1.0

    def prepare(self, problem: Any) -> Rays:
        return _rays(problem, 1)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> SubsetState:
        return first_state(x0, key)

    def step(self, problem: Any, state: SubsetState, inputs: Any) -> tuple[SubsetState, SubsetInfo]:
        x = _update(_rays(problem, 1), state.x, 0, 1, relaxation_of(inputs, self.relaxation))
        return next_state(state, x, jnp.zeros_like(state.k))

    def value(self, state: SubsetState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Any, x: PyTree) -> PyTree:
        return _update(_rays(problem, 1), x, 0, 1, self.relaxation)


@pytree
class SART(Algorithm):
    """SART and OS-SART: equation (1), a step being one subset.

    The problem is as for `SIRT`; A and the data need `subset`. For up to 32 subsets the sums Cᵢ are
    kept, for more they are computed in every step, at the cost of one more back-projection.

    Args:
        n_subsets: how many; by default every view is one (SART). Must divide the views.
        relaxation: λ, between 0 and 2; ``inputs={"step": ...}`` overrides it step by step.
        order: "sequential", "bit_reversed", "golden" or "random", which needs a key.
    """

    n_subsets: int | None = static(default=None)
    relaxation: Any = 1.0
    order: str = static(default="bit_reversed")

    def prepare(self, problem: Any) -> Rays:
        return _rays(problem, self.n_subsets)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> SubsetState:
        return first_state(x0, key)

    def step(self, problem: Any, state: SubsetState, inputs: Any) -> tuple[SubsetState, SubsetInfo]:
        rays = self.prepare(problem)
        n = _number(rays.fidelity, self.n_subsets)
        i = subset_index(self.order, n, state.k, state.key)
        x = _update(rays, state.x, i, n, relaxation_of(inputs, self.relaxation))
        return next_state(state, x, i)

    def value(self, state: SubsetState) -> PyTree:
        return state.x


def first_state(x0: PyTree, key: Any) -> SubsetState:
    """The state before the first step."""
    return SubsetState(x0, jnp.zeros((), jnp.int32), key)


def next_state(state: SubsetState, x: PyTree, i: Array) -> tuple[SubsetState, SubsetInfo]:
    """The state and info after a step with subset i."""
    return SubsetState(x, state.k + 1, state.key), SubsetInfo(tree.relative_change(x, state.x), i)


def relaxation_of(inputs: Any, default: Any) -> Any:
    """This step's relaxation."""
    return default if inputs is None else inputs["step"]


def _rays(problem: Any, n: int | None) -> Rays:
    if isinstance(problem, Rays):
        return problem
    fidelity, A = parts.one_fidelity(problem, LeastSquares, "SIRT")
    parts.check_real(A, "SIRT")
    if fidelity.weights is not None:
        raise ValueError(
            "`problem` has weights, but SIRT weights rays by their lengths: use OSSQS or CGLS"
        )
    weighted = LeastSquares(fidelity.data, parts.inverse(A.forward(parts.ones(A.domain))))
    n = _number(fidelity, n)
    columns = parts.each_subset(lambda i: _columns(A, i, n), n)
    return Rays(weighted, A, columns, parts.constraints(problem, "SIRT"))


def _number(fidelity: LeastSquares, n: int | None) -> int:
    return fidelity.data.shape[0] if n is None else n


def _columns(A: LinearOperator, i: Any, n: int) -> PyTree:
    part = A if n == 1 else A.subset(i, n)
    return parts.inverse(part.adjoint(parts.ones(part.range)))


def _update(rays: Rays, x: PyTree, i: Any, n: int, relaxation: Any) -> PyTree:
    f, A = rays.fidelity, rays.operator
    columns = parts.recall(rays.columns, lambda i: _columns(A, i, n), i)
    if n > 1:
        f, A = f.subset(i, n), A.subset(i, n)
    metric = tree.scale(relaxation, columns)
    slope = A.adjoint(f.grad(A.forward(x)))
    x = jax.tree.map(lambda x, m, g: x - m * g, x, metric, slope)
    for constraint in rays.constraints:
        x = constraint.prox(x, metric)
    return x
