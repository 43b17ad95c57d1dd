"""Markov chains on p(x | y) ∝ exp(−Σ f(A x)) p_ε(x), with p_ε the prior blurred by noise of ε.

Its gradient is known from the denoiser, −∇ log p(x|y) = ∇Σf(A x) + (x − D(x, ε))/ε², its value is
not: so these chains have no accept step, and a bias that shrinks with their step δ.

    x ← x − δ ∇U(x) + √(2δ) n                                                              (1)

Equation (1) is the unadjusted Langevin algorithm; with a denoiser PnP-ULA (Laumont, De Bortoli,
Almansa, Delon, Durmus and Pereyra, SIAM J. Imaging Sci. 15, 2022). `run(..., record=...)` keeps
what is wanted of a chain, `jax.vmap` over keys runs several.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxrecon.core import Algorithm, pytree, static, tree
from jaxrecon.posterior._posterior import Posterior, standard_noise


class ChainState(NamedTuple):
    """Where the chain is, and the key of its next step."""

    x: Any
    key: Any


class ChainInfo(NamedTuple):
    """The relative size of the last move, and the likelihood's negative logarithm before it."""

    residual: Array
    misfit: Array


@pytree
class Langevin(Algorithm):
    """Equation (1), with an optional weight on the prior and a box that chains are drawn back to.

    The box makes the chain's law exist whatever the denoiser does far out: ∇U gets (x − P(x))/λ
    with the projection P and λ = δ.

    Attributes:
        step_size: δ; below 1/L with L = ‖Σ∇²f‖ + weight/ε² or so.
        epsilon: ε, which D is asked for.
        weight: of log p_ε; 1 for Bayes' rule.
        box: least and largest value of a pixel, or None.
    """

    step_size: Any
    epsilon: Any
    weight: Any = 1.0
    box: tuple[Any, Any] | None = None

    def init(self, problem: Posterior, x0: PyTree, *, key: Any = None) -> ChainState:
        del problem
        return _started(x0, key)

    def step(self, problem: Posterior, state: ChainState, inputs: Any):
        del inputs
        key, fresh = jax.random.split(state.key)
        misfit, slope = _slope(self, problem, state.x)
        x = tree.add_scaled(state.x, -self.step_size, slope)
        root = jnp.sqrt(2 * jnp.asarray(self.step_size))
        x = tree.add_scaled(x, root, standard_noise(fresh, x))
        return ChainState(x, key), _info(state.x, x, misfit)

    def value(self, state: ChainState) -> PyTree:
        return state.x


@pytree
class SKROCK(Algorithm):
    """Stabilised explicit Langevin steps: s gradients that go about s² times as far as s of (1).

    Pereyra, Vargas Mieles and Zygalakis, SIAM J. Imaging Sci. 13, 2020: an orthogonal Runge-Kutta
    method of Chebyshev polynomials. Stable for step_size · L ≤ (s − ½)²(2 − 4η/3) − 3/2.

    Attributes:
        step_size: δ.
        epsilon: ε, which D is asked for.
        n_stages: s, at least 2.
        weight: of log p_ε.
        box: as for `Langevin`, with λ = δ.
        damping: η.
    """

    step_size: Any
    epsilon: Any
    n_stages: int = static(default=10)
    weight: Any = 1.0
    box: tuple[Any, Any] | None = None
    damping: float = static(default=0.05)

    def init(self, problem: Posterior, x0: PyTree, *, key: Any = None) -> ChainState:
        del problem
        if self.n_stages < 2:
            raise ValueError(f"`n_stages` is {self.n_stages}, expected at least 2")
        return _started(x0, key)

    def step(self, problem: Posterior, state: ChainState, inputs: Any):
        del inputs
        key, fresh = jax.random.split(state.key)
        first, mu, nu, kappa = _chebyshev(self.n_stages, self.damping)
        delta = jnp.asarray(self.step_size)
        noise = tree.scale(jnp.sqrt(2 * delta), standard_noise(fresh, state.x))
        moved = tree.add_scaled(state.x, first[1], noise)
        misfit, slope = _slope(self, problem, moved)
        x = tree.add_scaled(state.x, -first[0] * delta, slope)
        start = state.x, tree.add_scaled(x, first[2], noise)

        def stage(pair: Any, coefficients: Any) -> tuple[Any, None]:
            before, here = pair
            m, n, k = coefficients
            slope = _slope(self, problem, here)[1]
            new = tree.add_scaled(tree.scale(n, here), -m * delta, slope)
            return (here, tree.add_scaled(new, k, before)), None

        (_, x), _ = jax.lax.scan(stage, start, (mu, nu, kappa))
        return ChainState(x, key), _info(state.x, x, misfit)

    def value(self, state: ChainState) -> PyTree:
        return state.x


def _chebyshev(s: int, damping: float) -> tuple[tuple[float, float, float], Array, Array, Array]:
    """μ₁, ν₁, κ₁ of the first stage, and μ, ν, κ of the others."""
    w0 = 1 + damping / s**2
    T = [np.polynomial.chebyshev.Chebyshev.basis(i) for i in range(s + 1)]
    w1 = T[s](w0) / T[s].deriv()(w0)
    values = np.array([t(w0) for t in T])
    mu = 2 * w1 * values[1:-1] / values[2:]
    nu = 2 * w0 * values[1:-1] / values[2:]
    kappa = -values[:-2] / values[2:]
    first = float(w1 / w0), float(s * w1 / 2), float(s * w1 / w0)
    return first, jnp.asarray(mu), jnp.asarray(nu), jnp.asarray(kappa)


def _slope(chain: Any, target: Posterior, x: PyTree) -> tuple[Array, PyTree]:
    """The likelihood's negative logarithm, and ∇U."""
    misfit, slope = target.value_and_grad(x)
    pull = tree.sub(x, target.denoiser(x, chain.epsilon))
    slope = tree.add_scaled(slope, chain.weight / jnp.square(chain.epsilon), pull)
    if chain.box is not None:
        low, high = chain.box
        outside = jax.tree.map(lambda v: v - jnp.clip(v, low, high), x)
        slope = tree.add_scaled(slope, 1 / jnp.asarray(chain.step_size), outside)
    return misfit, slope


def _started(x0: PyTree, key: Any) -> ChainState:
    if key is None:
        raise ValueError("`key` is None; a chain needs one")
    return ChainState(x0, key)


def _info(old: PyTree, new: PyTree, misfit: Array) -> ChainInfo:
    size = tree.norm(new)
    return ChainInfo(tree.norm(tree.sub(new, old)) / (size + (size == 0)), misfit)
