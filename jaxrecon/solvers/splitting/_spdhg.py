"""Stochastic primal-dual hybrid gradient: one ordered subset of the data at each step.

Chambolle, Ehrhardt, Richtárik, Schönlieb (SIAM J. Optim. 28, 2018), with the n subsets of the data
drawn one at a time, with probabilities pᵢ, and the regularisers' blocks r updated always:

    x⁺  = prox_{τ g}(x − τ z̄)
    yⱼ⁺ = prox_{σⱼ fⱼ*}(yⱼ + σⱼ Aⱼ x⁺)             for the drawn i and all r                 (1)
    z⁺  = z + Σⱼ Aⱼᴴ(yⱼ⁺ − yⱼ),    z̄ = z⁺ + Σⱼ pⱼ⁻¹ Aⱼᴴ(yⱼ⁺ − yⱼ),    pᵣ = 1

Steps: with m blocks touched at once, E‖Σ Cⱼyⱼ‖² ≤ m Σ pⱼ‖Cⱼ‖²‖yⱼ‖², so that σⱼ τ ‖Aⱼ‖² = pⱼ/m is
safe. A step costs one forward and one adjoint of one subset.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, Problem, pytree, static, tree
from jaxrecon.solvers.splitting._blocks import (
    Term,
    block_norm,
    primal_and_blocks,
    real_dtype,
    sum_of_adjoints,
)
from jaxrecon.solvers.splitting._pdhg import descend, dual_steps, proximal


class SpdhgState(NamedTuple):
    """X, duals of the subsets (stacked) and of the regularisers, z, z̄, probabilities, σ, τ, key."""

    x: Any
    y: tuple
    y_rest: tuple
    z: Any
    z_bar: Any
    probabilities: Array
    sigmas: tuple
    sigmas_rest: tuple
    tau: Array
    key: Any


class SpdhgInfo(NamedTuple):
    """Relative change of x, times the number of subsets; and which subset was drawn."""

    residual: Array
    subset: Array


@pytree
class SPDHG(Algorithm):
    """Stochastic PDHG on ordered subsets; see the module's text.

    Terms with data (`fidelity`) are divided by `subset`; g is the first other term behind the
    identity; the rest are updated at every step. Needs a key.

    Args:
        n_subsets: number of subsets; must divide the data's leading axis.
        balance: σ/τ in normalised units.
        importance: draw subsets with probabilities like their norms instead of uniformly.
    """

    n_subsets: int = static()
    balance: Any = 1.0
    importance: bool = static(default=False)

    def init(
        self, problem: Problem, x0: PyTree, *, key: Key[Array, ""] | None = None
    ) -> SpdhgState:
        if key is None:
            raise ValueError("`key` is None, but SPDHG draws subsets: pass `key` to `run`")
        n, real = self.n_subsets, real_dtype(x0)
        data, _, rest = _roles(problem)
        norms = [_subset_norms(A, n) for _, A in data]
        p = _probabilities(norms) if self.importance else jnp.full((n,), 1 / n)
        blocks, root = len(data) + len(rest), jnp.sqrt(jnp.asarray(self.balance, real))
        sigmas = tuple((root * p / (blocks * s**2)).astype(real) for s in norms)
        sigmas_rest = tuple((root / (blocks * block_norm(A) ** 2)).astype(real) for _, A in rest)
        y = tuple(_stacked_zeros(A, n) for _, A in data)
        y_rest = tuple(tree.zeros(A.range) for _, A in rest)
        zero = jax.tree.map(jnp.zeros_like, x0)
        steps = p.astype(real), sigmas, sigmas_rest, 1 / root
        return SpdhgState(x0, y, y_rest, zero, zero, *steps, key)

    def step(
        self, problem: Problem, state: SpdhgState, inputs: Any
    ) -> tuple[SpdhgState, SpdhgInfo]:
        del inputs
        data, g, rest = _roles(problem)
        key, draw = jax.random.split(state.key)
        i = jax.random.choice(draw, self.n_subsets, p=state.probabilities)
        x = proximal(g, descend(state.x, state.tau, state.z_bar), state.tau)

        part = _part(data, i, self.n_subsets)
        old = jax.tree.map(lambda a: a[i], state.y)
        drawn, change = _update(part, x, old, tuple(s[i] for s in state.sigmas))
        y = jax.tree.map(lambda a, new: a.at[i].set(new), state.y, drawn)
        z = tree.add(state.z, change)
        z_bar = tree.add_scaled(z, 1 / state.probabilities[i], change)
        y_rest = state.y_rest
        if rest:
            y_rest, change = _update(rest, x, state.y_rest, state.sigmas_rest)
            z, z_bar = tree.add(z, change), tree.add_scaled(z_bar, 2.0, change)
        new = state._replace(x=x, y=y, y_rest=y_rest, z=z, z_bar=z_bar, key=key)
        return new, SpdhgInfo(self.n_subsets * tree.relative_change(x, state.x), i)

    def value(self, state: SpdhgState) -> PyTree:
        return state.x

    def point(self, state: SpdhgState) -> PyTree:
        """X and all duals, with the step sizes, which are not differentiated, riding along."""
        return state.x, state.y, state.y_rest, (state.tau, state.sigmas, state.sigmas_rest)

    def fixed_point(self, problem: Problem, point: PyTree) -> PyTree:
        """PDHG's step on all subsets at once, with the same fixed points."""
        x, y, y_rest, steps = point
        tau, sigmas, sigmas_rest = jax.lax.stop_gradient(steps)
        data, g, rest = _roles(problem)
        n = self.n_subsets

        def slope(i):
            operators = [A for _, A in _part(data, i, n)]
            return sum_of_adjoints(operators, jax.tree.map(lambda a: a[i], y))

        slopes = jax.vmap(slope)(jnp.arange(n))
        total = jax.tree.map(lambda a: jnp.sum(a, 0), slopes)
        if rest:
            total = tree.add(total, sum_of_adjoints([A for _, A in rest], y_rest))
        new = proximal(g, descend(x, tau, total), tau)
        x_bar = tree.add_scaled(new, 1.0, tree.sub(new, x))

        def dual(i, y, sigmas):
            part = _part(data, i, n)
            return dual_steps(part, y, tuple(A.forward(x_bar) for _, A in part), sigmas)

        y = jax.vmap(dual)(jnp.arange(n), y, sigmas)
        images = tuple(A.forward(x_bar) for _, A in rest)
        return new, y, dual_steps(rest, y_rest, images, sigmas_rest), steps

    def solution(self, problem: Problem, point: PyTree) -> PyTree:
        """The x of a point."""
        del problem
        return point[0]


def _roles(problem: Problem) -> tuple[tuple[Term, ...], Any, tuple[Term, ...]]:
    """Terms with data, the primal functional, and the other terms.

    Raises:
        ValueError: no term has data.
    """
    data = tuple(t for t in problem.terms if t[0].fidelity)
    if not data:
        raise ValueError("`problem` has no fidelity to divide into subsets: use PDHG")
    primal, rest = primal_and_blocks([t for t in problem.terms if not t[0].fidelity])
    return data, primal, rest


def _part(data: tuple[Term, ...], i: Any, n: int) -> tuple[Term, ...]:
    return tuple((f.subset(i, n), A.subset(i, n)) for f, A in data)


def _update(blocks: tuple[Term, ...], x: PyTree, y: tuple, sigmas: tuple) -> tuple[tuple, PyTree]:
    """The new duals of some blocks, and what that changes in Σ Aᴴy."""
    new = dual_steps(blocks, y, tuple(A.forward(x) for _, A in blocks), sigmas)
    return new, sum_of_adjoints([A for _, A in blocks], tree.sub(new, y))


def _subset_norms(A: LinearOperator, n: int) -> Array:
    return jax.lax.map(lambda i: block_norm(A.subset(i, n)), jnp.arange(n))


def _probabilities(norms: list[Array]) -> Array:
    total = jnp.sqrt(sum((s**2 for s in norms), jnp.zeros_like(norms[0])))
    return total / jnp.sum(total)


def _stacked_zeros(A: LinearOperator, n: int) -> PyTree:
    structs = jax.eval_shape(lambda i: tree.zeros(A.subset(i, n).range), jnp.zeros((), int))
    return jax.tree.map(lambda s: jnp.zeros((n, *s.shape), s.dtype), structs)
