"""Block Kaczmarz (ART): projections onto the solutions of one block of rows after the other.

    x⁺ = P(x + λ Aᵢ⁺ (yᵢ − Aᵢ x)),     0 < λ < 2                                                (1)

With one row a block this is Kaczmarz's method, ART in tomography (Gordon, Bender, Herman, J. Theor.
Biol. 29, 1970): Aᵢ⁺ = aᵢ/‖aᵢ‖². On consistent data it converges to the solution nearest to the
start, in expectation linearly if blocks are drawn with probability proportional to ‖Aᵢ‖²_F
(Strohmer and Vershynin, J. Fourier Anal. Appl. 15, 2009; blocks: Needell and Tropp, Linear Algebra
Appl. 441, 2014). On inconsistent data it circles around one, closer with a falling λ.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, pytree, static, tree
from jaxrecon.functionals._quadratic import LeastSquares
from jaxrecon.solvers.linear._pseudo_inverse import PseudoInverse
from jaxrecon.solvers.subsets import _problem as parts
from jaxrecon.solvers.subsets._order import subset_index
from jaxrecon.solvers.subsets._sirt import (
    SubsetInfo,
    SubsetState,
    first_state,
    next_state,
    relaxation_of,
)


@pytree
class Blocks:
    """Data and operator, log ‖Aᵢ‖²_F of every block where a draw needs them, constraints."""

    fidelity: LeastSquares
    operator: LinearOperator
    log_sizes: Any
    constraints: tuple

    @property
    def domain(self) -> PyTree:
        """Structs of x."""
        return self.operator.domain


@pytree
class Kaczmarz(Algorithm):
    """Block Kaczmarz, equation (1); a step is one block. Works on complex images.

    The problem is one `LeastSquares` without weights, an operator with `subset`, and constraint
    sets.

    Args:
        n_blocks: how many; by default every entry of the data's leading axis (a row, a view) is
            one. Must divide that axis.
        relaxation: λ; ``inputs={"step": ...}`` overrides it step by step.
        order: "sequential", "bit_reversed", "golden", "random", or "weighted": drawn with
            probability proportional to ‖Aᵢ‖²_F. The last two need a key.
        n_inner: iterations at most in applying Aᵢ⁺ by CGLS; a single row takes one.
        inner_tol: its tolerance.
    """

    n_blocks: int | None = static(default=None)
    relaxation: Any = 1.0
    order: str = static(default="bit_reversed")
    n_inner: int = static(default=20)
    inner_tol: float = static(default=1e-6)

    def prepare(self, problem: Any) -> Blocks:
        if isinstance(problem, Blocks):
            return problem
        f, A = parts.one_fidelity(problem, LeastSquares, "Kaczmarz")
        if f.weights is not None:
            raise ValueError("`problem` has weights, which projections ignore: use CGLS or OSSQS")
        n = f.data.shape[0] if self.n_blocks is None else self.n_blocks
        sizes = None
        if self.order == "weighted":
            sizes = jax.lax.map(lambda i: _log_size(A.subset(i, n)), jnp.arange(n))
        return Blocks(f, A, sizes, parts.constraints(problem, "Kaczmarz", elementwise=False))

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> SubsetState:
        return first_state(x0, key)

    def step(self, problem: Any, state: SubsetState, inputs: Any) -> tuple[SubsetState, SubsetInfo]:
        blocks = self.prepare(problem)
        n = blocks.fidelity.data.shape[0] if self.n_blocks is None else self.n_blocks
        i = self._draw(blocks, n, state)
        f, A = blocks.fidelity.subset(i, n), blocks.operator.subset(i, n)
        missing = tree.scale(-1.0, f.grad(A.forward(state.x)))
        move = PseudoInverse(A, self.n_inner, self.inner_tol).forward(missing)
        x = tree.add_scaled(state.x, relaxation_of(inputs, self.relaxation), move)
        for constraint in blocks.constraints:
            x = constraint.prox(x, 1.0)
        return next_state(state, x, i)

    def value(self, state: SubsetState) -> PyTree:
        return state.x

    def _draw(self, blocks: Blocks, n: int, state: SubsetState) -> Array:
        if self.order != "weighted":
            return subset_index(self.order, n, state.k, state.key)
        if state.key is None:
            raise ValueError("`order` is 'weighted', which needs a `key`: pass one to `run`")
        key = jax.random.fold_in(state.key, state.k)
        return jax.random.categorical(key, blocks.log_sizes).astype(jnp.int32)


def _log_size(A: LinearOperator) -> Array:
    """The logarithm of ‖A‖²_F by one random vector of signs, exact for one row; for draws only."""
    A = jax.lax.stop_gradient(A)
    leaves, structure = jax.tree.flatten(A.range)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    signs = [jax.random.rademacher(k, s.shape).astype(s.dtype) for k, s in zip(keys, leaves)]
    return jnp.log(tree.sum_of_squares(A.adjoint(jax.tree.unflatten(structure, signs))))
