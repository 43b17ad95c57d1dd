"""Anderson acceleration of any fixed-point map, type II, on the real vector space.

With f = T(x) − x and the last m differences ΔX, ΔF in columns,

    γ = argmin ‖f − ΔF γ‖² + ε Σ ‖ΔFⱼ‖² γⱼ²,    x⁺ = x + f − (ΔX + ΔF) γ                    (1)

On a linear map it is GMRES in disguise (Walker and Ni, SIAM J. Numer. Anal. 49, 2011). A point with
a larger residual than the last good one is given up: the plain image of the good one follows, with
an empty memory (after Zhang, O'Donoghue and Boyd, SIAM J. Optim. 30, 2020).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxrecon.core import Algorithm, pytree, static, tree


class AndersonState(NamedTuple):
    """The point to evaluate, the image T of the last good one, and the memory.

    `good` and `f` are that point and its residual; `moves` and `changes` hold ΔX and ΔF with a
    leading axis, `count` columns of which (in a ring) are filled. `plain` tells that x is an image
    itself, which is never given up.
    """

    x: Any
    image: Any
    good: Any
    f: Any
    size: Array
    moves: Any
    changes: Any
    count: Array
    plain: Array


class AndersonInfo(NamedTuple):
    """‖T(x) − x‖/‖x‖ at the last good point, and whether this step's point was good."""

    residual: Array
    accepted: Array


@pytree
class Anderson(Algorithm):
    """Anderson acceleration of another algorithm's `fixed_point` map.

    One step costs one evaluation of that map. The algorithm must be deterministic; on a linear map
    the result is that of GMRES, and it needs no symmetry.

    Args:
        algorithm: any with a `fixed_point`, such as `ProximalGradient`.
        regularisation: ε of (1); ten times the rounding of the dtype if None.
        safeguard: a point is kept if its residual is at most this times the last good one's.
        memory: m, how many differences are kept.

    Example:
        >>> from jaxrecon.core import Problem, diagonal, run
        >>> from jaxrecon.functionals import LeastSquares
        >>> from jaxrecon.solvers.gradient import ProximalGradient
        >>> A = diagonal(jnp.array([1.0, 10.0]), jnp.zeros(2))
        >>> problem = Problem(((LeastSquares(jnp.array([1.0, 10.0])), A),))
        >>> algorithm = Anderson(ProximalGradient())
        >>> run(algorithm, problem, jnp.zeros(2), n_iter=8).value.round(2).tolist()
        [1.0, 1.0]
    """

    algorithm: Algorithm
    regularisation: Any = None
    safeguard: Any = 1.0
    memory: int = static(default=5)

    def prepare(self, problem: Any) -> Any:
        return self.algorithm.prepare(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> AndersonState:
        del problem, key
        if self.memory < 1:
            raise ValueError(f"`memory` is {self.memory}, expected at least 1")
        history = jax.tree.map(lambda s: jnp.zeros((self.memory, *s.shape), s.dtype), x0)
        size = jnp.full_like(tree.norm(x0), jnp.inf)
        still = jax.tree.map(jnp.zeros_like, x0)
        count = jnp.zeros((), jnp.int32)
        return AndersonState(x0, x0, x0, still, size, history, history, count, jnp.asarray(True))

    def step(
        self, problem: Any, state: AndersonState, inputs: Any
    ) -> tuple[AndersonState, AndersonInfo]:
        del inputs
        image = self.algorithm.fixed_point(problem, state.x)
        f = tree.sub(image, state.x)
        size = tree.norm(f)
        accepted = state.plain | (size <= self.safeguard * state.size)
        proposal = self._accelerated(state, image, f, size)
        # A point given up leaves the good one's image to go on from.
        fallback = state._replace(
            x=state.image,
            count=jnp.zeros_like(state.count),
            plain=jnp.ones_like(state.plain),
            size=jnp.full_like(state.size, jnp.inf),
        )
        new = tree.where(accepted, proposal, fallback)
        reported = jnp.where(accepted, size, state.size)
        scale = tree.norm(state.x)
        return new, AndersonInfo(reported / (scale + (scale == 0)), accepted)

    def value(self, state: AndersonState) -> PyTree:
        return state.image

    def fixed_point(self, problem: Any, x: PyTree) -> PyTree:
        return self.algorithm.fixed_point(problem, x)

    def _accelerated(self, state: AndersonState, image, f, size) -> AndersonState:
        first = jnp.isinf(state.size)  # nothing to take a difference with
        slot = state.count % self.memory
        put = lambda h, v: h.at[slot].set(jnp.where(first, h[slot], v))  # noqa: E731
        moves = jax.tree.map(put, state.moves, tree.sub(state.x, state.good))
        changes = jax.tree.map(put, state.changes, tree.sub(f, state.f))
        count = state.count + jnp.where(first, 0, 1).astype(state.count.dtype)
        filled = jnp.arange(self.memory) < count
        gamma = self._coefficients(changes, f, filled)
        both = tree.add(moves, changes)
        x = tree.sub(image, jax.tree.map(lambda h: _combine(gamma, h), both))
        plain = jnp.zeros_like(state.plain)
        return AndersonState(x, image, state.x, f, size, moves, changes, count, plain)

    def _coefficients(self, changes, f, filled) -> Float[Array, " memory"]:
        """γ of (1) from the normal equations of columns scaled to length one."""
        gram = jax.vmap(lambda a: jax.vmap(lambda b: tree.dot(a, b))(changes))(changes)
        inner = jax.vmap(lambda a: tree.dot(a, f))(changes)
        squares = jnp.diagonal(gram)
        usable = filled & (squares > 0)
        weight = jnp.where(usable, 1 / jnp.sqrt(jnp.where(usable, squares, 1)), 0)
        epsilon = self.regularisation
        epsilon = 10 * jnp.finfo(gram.dtype).eps if epsilon is None else epsilon
        diagonal = jnp.where(usable, epsilon, 1.0).astype(gram.dtype)
        system = weight[:, None] * gram * weight + jnp.diag(diagonal)
        return weight * jnp.linalg.solve(system, weight * inner)


def _combine(gamma: Array, history: Array) -> Array:
    weights = gamma.reshape(-1, *(1,) * (history.ndim - 1)).astype(tree.weak(1.0, history).dtype)
    return jnp.sum(weights * history, axis=0)
