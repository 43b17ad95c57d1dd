"""Primal-dual hybrid gradient: minimise g(x) + Σ fᵢ(Aᵢ x) with proximal maps alone.

Chambolle and Pock (J. Math. Imaging Vis. 40, 2011):

    yᵢ⁺ = prox_{σᵢ fᵢ*}(yᵢ + σᵢ Aᵢ x̄)
    x⁺  = prox_{τ g}(x − τ Σ Aᵢᴴ yᵢ⁺),    x̄ = 2 x⁺ − x                                    (1)

with σᵢ = σ/‖Aᵢ‖², so that operators of different units stand side by side, and σ τ n ≤ 1. The
balance σ/τ follows the residuals with vanishing adaptivity (Goldstein, Li, Yuan, Esser, Baraniuk,
arXiv:1305.0546). Each step costs one forward and one adjoint of every operator: A x and Aᴴ y are
carried, so the residuals are free.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Identity, LinearOperator, Problem, norm, pytree, static, tree
from jaxrecon.solvers._smooth import Term


class PdhgState(NamedTuple):
    """Primal x with Ax, extrapolated A x̄, duals y with Σ Aᴴy, operator norms, σ/τ balance."""

    x: Any
    Ax: tuple
    Ax_bar: tuple
    y: tuple
    AHy: Any
    norms: tuple
    balance: Array
    adaptivity: Array


class PdhgInfo(NamedTuple):
    """The larger of both residuals, relative; each by itself; and the balance σ/τ."""

    residual: Array
    primal: Array
    dual: Array
    balance: Array


@pytree
class PDHG(Algorithm):
    """Adaptive Chambolle-Pock; see the module's text.

    A non-smooth term behind the identity is the primal g (the first such term); every other term
    is dualised through its proximal map. One that leaves the first iterate out of scale wants a
    `balance`: σ/τ, about the ratio of the dual's to the image's size, in normalised units.

    Args:
        balance: initial σ/τ.
        adaptive: let the balance follow the residuals.
    """

    balance: Any = 1.0
    adaptive: bool = static(default=True)

    def init(self, problem: Problem, x0: PyTree, *, key: Key[Array, ""] | None = None) -> PdhgState:
        del key
        _, terms = _split(problem)
        Ax = tuple(A.forward(x0) for _, A in terms)
        y = jax.tree.map(jnp.zeros_like, Ax)
        norms = tuple(_norm(A) for _, A in terms)
        real = jax.tree.leaves(x0)[0].real.dtype
        scalars = jnp.asarray(self.balance, real), jnp.asarray(0.5, real)
        return PdhgState(x0, Ax, Ax, y, jax.tree.map(jnp.zeros_like, x0), norms, *scalars)

    def step(self, problem: Problem, state: PdhgState, inputs: Any) -> tuple[PdhgState, PdhgInfo]:
        del inputs
        primal, terms = _split(problem)
        root = jnp.sqrt(state.balance)
        tau = 1 / (root * jnp.sqrt(1.0 * len(terms)))
        sigmas = tuple(root / (jnp.sqrt(1.0 * len(terms)) * n**2) for n in state.norms)

        blocks = zip(terms, state.y, state.Ax_bar, sigmas, strict=True)
        y = tuple(_dual_step(f, yi, Ax_bar, s) for (f, _), yi, Ax_bar, s in blocks)
        AHy = _sum_of_adjoints(terms, y)
        x = tree.add_scaled(state.x, -tau, AHy)
        x = x if primal is None else primal.prox(x, tau)
        Ax = tuple(A.forward(x) for _, A in terms)
        Ax_bar = tree.sub(tree.scale(2.0, Ax), state.Ax)

        r_primal, r_dual = _residuals(state, x, Ax, y, AHy, tau, sigmas)
        new = PdhgState(
            x, Ax, Ax_bar, y, AHy, state.norms, *self._rebalanced(state, r_primal, r_dual)
        )
        info = PdhgInfo(jnp.maximum(r_primal, r_dual), r_primal, r_dual, state.balance)
        return new, info

    def value(self, state: PdhgState) -> PyTree:
        return state.x

    def _rebalanced(self, state: PdhgState, primal: Array, dual: Array) -> tuple[Array, Array]:
        """The next σ/τ: smaller (longer primal steps) while the primal residual leads."""
        if not self.adaptive:
            return state.balance, state.adaptivity
        factor = (1 - state.adaptivity) ** 2
        shorter = jnp.where(primal > 2 * dual, factor, 1.0)
        longer = jnp.where(dual > 2 * primal, 1 / factor, 1.0)
        changed = (primal > 2 * dual) | (dual > 2 * primal)
        adaptivity = jnp.where(changed, 0.95, 1.0) * state.adaptivity
        balance = state.balance * shorter * longer
        return balance.astype(state.balance.dtype), adaptivity.astype(state.adaptivity.dtype)


def _split(problem: Problem) -> tuple[Any | None, tuple[Term, ...]]:
    """The primal functional, if any, and the terms that are dualised."""
    is_primal = [not f.smooth and isinstance(A, Identity) for f, A in problem.terms]
    first = is_primal.index(True) if any(is_primal) else None
    dual = tuple(t for i, t in enumerate(problem.terms) if i != first)
    return (None if first is None else problem.terms[first][0]), dual


def _norm(A: LinearOperator) -> Array:
    A = jax.lax.stop_gradient(A)
    estimate = norm(A, jax.random.key(0), n_iter=50, tol=1e-3).value
    return jax.lax.stop_gradient(1.02 * jnp.where(estimate > 0, estimate, 1))


def _dual_step(functional: Any, y: PyTree, Ax_bar: PyTree, sigma: Array) -> PyTree:
    return functional.conjugate_prox(tree.add_scaled(y, sigma, Ax_bar), sigma)


def _sum_of_adjoints(terms: tuple[Term, ...], y: tuple) -> PyTree:
    parts = [A.adjoint(yi) for (_, A), yi in zip(terms, y, strict=True)]
    total = parts[0]
    for part in parts[1:]:
        total = tree.add(total, part)
    return total


def _residuals(state, x, Ax, y, AHy, tau, sigmas) -> tuple[Array, Array]:
    """Primal and dual optimality residuals of (1), relative to ‖y‖ and ‖Ax‖ in normalised units.

    (x − x⁺)/τ − Aᴴ(y − y⁺) ∈ ∂g(x⁺) + Aᴴy⁺ and (y − y⁺)/σ − A(x − x⁺) ∈ ∂f*(y⁺) − Ax⁺. Without a g
    Aᴴy itself tends to zero, so it cannot be the yardstick.
    """
    primal = tree.add_scaled(tree.sub(AHy, state.AHy), -1 / tau, tree.sub(x, state.x))
    dual, x_size, y_size = 0.0, 0.0, 0.0
    blocks = zip(state.Ax, Ax, state.y, y, sigmas, state.norms, strict=True)
    for Ax_old, Ax_new, y_old, y_new, sigma, size in blocks:
        gap = tree.add_scaled(tree.sub(Ax_new, Ax_old), -1 / sigma, tree.sub(y_new, y_old))
        dual = dual + tree.sum_of_squares(gap) / size**2
        x_size = x_size + tree.sum_of_squares(Ax_new) / size**2
        y_size = y_size + tree.sum_of_squares(y_new) * size**2
    relative = lambda squares, scale: tree.safe_sqrt(squares / (scale + (scale == 0)))  # noqa: E731
    return relative(tree.sum_of_squares(primal), y_size), relative(dual, x_size)
