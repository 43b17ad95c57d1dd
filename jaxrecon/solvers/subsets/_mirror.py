"""Mirror descent with the entropy: multiplicative steps on positive images or on the simplex.

    x⁺ ∝ x ⊙ exp(−t n ∇F_i(x))                                                                 (1)

(Nemirovski and Yudin 1983; Beck and Teboulle, Oper. Res. Lett. 31, 2003; exponentiated gradient:
Kivinen and Warmuth, Inf. Comput. 132, 1997). The entropy's Hessian is diag(1/x), so that, with L
the Lipschitz constant of ∇F, a step t = 1/(L e max x) descends on all images below e·max x; the
exponent is held within ±1, which keeps the next image there. On the simplex of mass m, t = 1/(L m)
is enough. Pixels that tend to zero do so linearly, without ever being cut off.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Problem, pytree, static, tree
from jaxrecon.solvers.gradient._smooth import gradient_of, inverse_lipschitz
from jaxrecon.solvers.subsets import _problem as parts
from jaxrecon.solvers.subsets._order import subset_index


class MirrorState(NamedTuple):
    """Iterate, 1/L or the step given, number of steps done, key."""

    x: Any
    step: Array
    k: Array
    key: Any


class MirrorInfo(NamedTuple):
    """Relative change of the iterate, step size t, subset."""

    residual: Array
    step: Array
    subset: Array


@pytree
class MirrorDescent(Algorithm):
    """Entropic mirror descent, equation (1).

    The problem is made of smooth terms; positivity is built in, so that `non_negative()` among them
    is allowed and idle. A start of zeros stands for ones.

    Args:
        mass: Σ x, for the simplex; None for the positive orthant.
        step_size: t; None for the one of the module's text. ``inputs={"step": ...}`` overrides it.
        n_subsets: ordered subsets of the fidelities.
        order: of the subsets.

    Example:
        >>> from jaxrecon.core import identity, run
        >>> from jaxrecon.functionals import LeastSquares
        >>> y = jnp.array([0.5, 2.0])
        >>> problem = Problem(((LeastSquares(y), identity(y)),))
        >>> run(MirrorDescent(), problem, n_iter=100).value.round(3).tolist()
        [0.5, 2.0]
    """

    mass: Any = None
    step_size: Any = None
    n_subsets: int = static(default=1)
    order: str = static(default="bit_reversed")

    def init(self, problem: Problem, x0: PyTree, *, key: Key[Array, ""] | None = None):
        parts.check_real(problem.terms[0][1], "MirrorDescent")
        x0 = jax.tree.map(lambda x: jnp.maximum(x, 0), x0)
        x0 = tree.where(tree.sum_of_squares(x0) > 0, x0, parts.ones(problem.domain))
        dtype = jax.tree.leaves(x0)[0].dtype
        step = inverse_lipschitz(_smooth(problem)) if self.step_size is None else self.step_size
        step = jnp.asarray(step, dtype)
        return MirrorState(self._on_simplex(x0), step, jnp.zeros((), jnp.int32), key)

    def step(
        self, problem: Problem, state: MirrorState, inputs: Any
    ) -> tuple[MirrorState, MirrorInfo]:
        i = subset_index(self.order, self.n_subsets, state.k, state.key)
        step = self._length(state.x, state.step, inputs)
        x = self._moved(problem, state.x, step, i)
        info = MirrorInfo(tree.relative_change(x, state.x), step, i)
        return MirrorState(x, state.step, state.k + 1, state.key), info

    def value(self, state: MirrorState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Problem, x: PyTree) -> PyTree:
        """One step without subsets.

        Raises:
            ValueError: there are several subsets, which do not converge to the solution.
        """
        if self.n_subsets > 1:
            return Algorithm.fixed_point(self, problem, x)
        step = inverse_lipschitz(_smooth(problem)) if self.step_size is None else self.step_size
        length = jax.lax.stop_gradient(self._length(x, step, None))
        return self._moved(problem, x, length, 0)

    def _length(self, x: PyTree, step: Any, inputs: Any) -> Array:
        leaves = jax.tree.leaves(x)
        if inputs is not None:
            return jnp.asarray(inputs["step"], leaves[0].dtype)
        if self.step_size is not None:
            return jnp.asarray(step, leaves[0].dtype)
        if self.mass is not None:
            return jnp.asarray(step / self.mass, leaves[0].dtype)
        largest = jnp.max(jnp.stack([jnp.max(leaf) for leaf in leaves]))
        return jnp.asarray(step / (jnp.e * largest), leaves[0].dtype)

    def _moved(self, problem: Problem, x: PyTree, step: Any, i: Any) -> PyTree:
        part = parts.subset_problem(Problem(_smooth(problem)), i, self.n_subsets)
        slope = tree.scale(self.n_subsets * step, gradient_of(part.terms, x))
        if self.mass is None:
            exponent = jax.tree.map(lambda g: jnp.clip(-g, -1, 1), slope)
        else:
            lowest = jnp.min(jnp.stack([jnp.min(g) for g in jax.tree.leaves(slope)]))
            exponent = jax.tree.map(lambda g: lowest - g, slope)
        return self._on_simplex(jax.tree.map(lambda x, e: x * jnp.exp(e), x, exponent))

    def _on_simplex(self, x: PyTree) -> PyTree:
        if self.mass is None:
            return x
        total = jnp.sum(jnp.stack([jnp.sum(leaf) for leaf in jax.tree.leaves(x)]))
        return tree.scale(self.mass / total, x)


def _smooth(problem: Problem) -> tuple:
    parts.constraints(problem, "MirrorDescent")
    return tuple(t for t in problem.terms if t[0].smooth)
