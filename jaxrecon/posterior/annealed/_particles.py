"""Sequential Monte Carlo: weighted particles instead of an approximation, exact as they grow many.

Particles come down the levels as the ancestral sampler of `_diffusion.py` does, proposed with
guidance and weighted for what the proposal changed (Wu, Trippe, Naesseth, Blei and Cunningham,
"Practical and asymptotically exact conditional sampling in diffusion models", NeurIPS 2023). With

    e_σ(x) = min over u of Σ f(A u) + ‖u − D(x)‖²/2r²,  r² = σ²v/(σ² + v),                  (1)

exp(−e_σ) is the twisting function: the likelihood of y for x₀ | x_σ ~ N(D(x_σ), r²), up to a factor
that all particles share, and −∇e_σ is the drift of `PiGDM`. A transition's weight is

    exp(e_σ(x) − e_σ'(x')) N(x'; m, s²) / N(x'; m_y, s²),                                   (2)
    m = D + q(x − D),

with D for m and with the guided mean for m_y, and q and s of `transition`; at σ' = 0, e₀ is the
misfit itself. What is left of error is that x₀ | x_σ has not quite the deviation r, which vanishes
with the steps' length, and the number of particles.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxrecon.core import pytree, static, tree
from jaxrecon.core.operators._rule import linearised
from jaxrecon.posterior._gaussian_data import data_solver
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior.annealed._sampler import Sampler, key_of


class ParticleState(NamedTuple):
    """Particles, means without and with the data, e_σ, log weights, the place in the levels."""

    x: Any
    mean: Any
    guided: Any
    twist: Array
    log_weights: Array
    i: Array
    key: Any


class ParticleInfo(NamedTuple):
    """The level, the spread of log weights, the share of particles that count (ESS) before it."""

    sigma: Array
    residual: Array
    effective: Array


@pytree
class TwistedParticles(Sampler):
    """Particles of p(x | y) for a Gaussian likelihood; the value has them along a leading axis.

    Attributes:
        levels: falling, with zero at the end, ``(level,)``; the last but one well below the noise
            and the details of the prior.
        n_particles: how many.
        variance: v of equation (1), about that of the image's pixels.
        threshold: the share of effective particles below which they are drawn anew (systematic
            resampling).
        n_inner: conjugate gradients, where the operator has no closed form.
    """

    levels: Float[Array, " level"]
    n_particles: int = static()
    variance: Any = 1.0
    threshold: Any = 0.5
    n_inner: int = static(default=20)

    def prepare(self, problem: Posterior) -> Any:
        if self.n_particles < 2:
            raise ValueError(f"`n_particles` is {self.n_particles}, expected at least 2")
        return problem, data_solver(problem, self.n_inner)

    def init(self, problem: Any, x0: PyTree, *, key: Any = None) -> ParticleState:
        key, first = jax.random.split(key_of(key))
        keys = jax.random.split(first, self.n_particles)
        draw = lambda k: tree.add_scaled(x0, self.levels[0], tree.standard_noise(k, x0))  # noqa: E731
        x = jax.vmap(draw)(keys)
        mean, guided, twist = self._twisted(problem, x, self.levels[0])
        # The first particles are of the prior: exp(−e) makes them targets of the first twist.
        return ParticleState(x, mean, guided, twist, -twist, jnp.zeros((), jnp.int32), key)

    def step(self, problem: Any, state: ParticleState, inputs: Any):
        del inputs
        target, _ = problem
        now, later = self.levels[state.i], self.levels[state.i + 1]
        key, pick, fresh = jax.random.split(state.key, 3)
        state, effective = self._resampled(state, pick)
        last, (q, s) = later == 0, transition(now, later, self.variance)
        keys = jax.random.split(fresh, self.n_particles)
        x = jax.vmap(_proposed, (0, 0, 0, None, None))(keys, state.x, state.guided, q, s)
        pairs = x, state.x, state.mean, state.guided
        ratio = jax.vmap(_log_ratio, (0, 0, 0, 0, None, None))(*pairs, q, s)
        mean, guided, twist = self._twisted(problem, x, jnp.where(last, now, later))
        twist = jnp.where(last, jax.vmap(target)(x), twist)
        log_weights = state.log_weights + ratio + state.twist - twist
        new = ParticleState(x, mean, guided, twist, log_weights, state.i + 1, key)
        # After the last step all particles count the same.
        redrawn = self._redrawn(new, jax.random.fold_in(pick, 1))
        new = tree.where(last, redrawn, new)
        return new, ParticleInfo(later, jnp.std(log_weights), effective)

    def value(self, state: ParticleState) -> PyTree:
        return state.x

    def _twisted(self, problem: Any, x: PyTree, sigma: Array) -> tuple[PyTree, PyTree, Array]:
        target, solve = problem
        precision = 1 / jnp.square(sigma) + 1 / jnp.asarray(self.variance)

        def one(x: PyTree) -> tuple[PyTree, PyTree, Array]:
            mean, pull = linearised(lambda u: target.denoiser(u, sigma), x)
            moved = solve(precision, mean, mean)
            apart = tree.sub(moved, mean)
            twist = target(moved) + 0.5 * precision * tree.sum_of_squares(apart)
            slope = pull(tree.scale(precision, apart))
            return mean, tree.add_scaled(mean, jnp.square(sigma), slope), twist

        return jax.vmap(one)(x)

    def _resampled(self, state: ParticleState, key: Any) -> tuple[ParticleState, Array]:
        weights = jax.nn.softmax(state.log_weights)
        effective = 1 / jnp.sum(jnp.square(weights)) / self.n_particles
        drawn = self._redrawn(state, key)
        few = effective < self.threshold
        return tree.where(few, drawn, state), effective

    def _redrawn(self, state: ParticleState, key: Any) -> ParticleState:
        chosen = systematic(key, jax.nn.softmax(state.log_weights))
        x, mean, guided, twist = jax.tree.map(lambda a: a[chosen], state[:4])
        return ParticleState(x, mean, guided, twist, jnp.zeros_like(twist), state.i, state.key)


def transition(now: Array, later: Array, variance: Any) -> tuple[Array, Array]:
    """The prior's own step to a lower level: x_σ' | x_σ ~ N(D + q (x − D), s²).

    q = σ'²/σ² and s² = σ'²(1 − q) + (1 − q)² r²: right if x₀ | x_σ ~ N(D, r²), which it is for a
    white prior of variance v, and for others if σ² is small beside their variances, or the step.
    """
    q = jnp.square(later / now)
    precision = 1 / jnp.square(now) + 1 / jnp.asarray(variance)
    return q, jnp.sqrt(jnp.square(later) * (1 - q) + jnp.square(1 - q) / precision)


def systematic(key: Any, weights: Float[Array, " particle"]) -> Array:
    """Indices of particles drawn by their weights, with one random number for all.

    Example:
        >>> systematic(jax.random.key(0), jnp.array([0.5, 0.0, 0.5, 0.0])).tolist()
        [0, 0, 2, 2]
    """
    n = weights.shape[0]
    places = (jnp.arange(n) + jax.random.uniform(key, (), weights.dtype)) / n
    return jnp.minimum(jnp.searchsorted(jnp.cumsum(weights), places), n - 1)


def _proposed(key: Any, x: PyTree, guided: PyTree, q: Array, s: Array) -> PyTree:
    drift = tree.add_scaled(guided, q, tree.sub(x, guided))
    return tree.add_scaled(drift, s, tree.standard_noise(key, x))


def _log_ratio(new: PyTree, x: PyTree, mean: PyTree, guided: PyTree, q: Array, s: Array) -> Array:
    """Log N(new; m, s²) − log N(new; m_y, s²)."""
    far = [
        tree.sum_of_squares(tree.sub(new, tree.add_scaled(m, q, tree.sub(x, m))))
        for m in (mean, guided)
    ]
    return (far[1] - far[0]) / (2 * jnp.square(s))
