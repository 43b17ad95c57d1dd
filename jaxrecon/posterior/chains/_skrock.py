"""SK-ROCK: a stochastic Runge-Kutta method for Langevin's equation on stiff potentials."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxrecon.core import Algorithm, pytree, static, tree
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior.chains._chain import ChainState, info_of, slope_of, started


@pytree
class SKROCK(Algorithm):
    """Stabilised explicit Langevin steps: s gradients that go about s² times as far as one alone.

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
        return started(x0, key)

    def step(self, problem: Posterior, state: ChainState, inputs: Any):
        del inputs
        key, fresh = jax.random.split(state.key)
        first, mu, nu, kappa = _chebyshev(self.n_stages, self.damping)
        delta = jnp.asarray(self.step_size)
        noise = tree.scale(jnp.sqrt(2 * delta), tree.standard_noise(fresh, state.x))
        moved = tree.add_scaled(state.x, first[1], noise)
        misfit, slope = slope_of(self, problem, moved)
        x = tree.add_scaled(state.x, -first[0] * delta, slope)
        start = state.x, tree.add_scaled(x, first[2], noise)

        def stage(pair: Any, coefficients: Any) -> tuple[Any, None]:
            before, here = pair
            m, n, k = coefficients
            slope = slope_of(self, problem, here)[1]
            new = tree.add_scaled(tree.scale(n, here), -m * delta, slope)
            return (here, tree.add_scaled(new, k, before)), None

        (_, x), _ = jax.lax.scan(stage, start, (mu, nu, kappa))
        return ChainState(x, key), info_of(state.x, x, misfit)

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
