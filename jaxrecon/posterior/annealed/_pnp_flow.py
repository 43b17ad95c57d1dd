"""PnP-Flow: gradient step, noise, denoising, along the path of a flow.

    x ← D(x − γ (σ/(1 + σ))^α ∇Σf(A x) + σn, σ)                                            (1)

Martin, Gagneux, Hagemann and Steidl, ICLR 2025, with 1 − t = σ/(1 + σ) the place on the path and
D(x, σ) = x_t + (1 − t) v(x_t, t) at x_t = t x the denoiser that a velocity is (`FromVelocity`). A
restored image; what differs between keys is not the posterior's spread.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxrecon.core import pytree, static, tree
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior.annealed._diffusion import DiffusionInfo, DiffusionState
from jaxrecon.posterior.annealed._sampler import Sampler, key_of


@pytree
class PnPFlow(Sampler):
    """Equation (1), for any likelihood, with any denoiser; start it from a rough image.

    Attributes:
        levels: falling, with zero at the end, ``(level,)``; `flow_levels` are the paper's.
        step_size: γ, below 2 over the largest curvature of Σf∘A.
        decay: α: the later the step, the shorter.
        n_draws: how many noises D(· + σn) is averaged over.
    """

    levels: Float[Array, " level"]
    step_size: Any
    decay: Any = 1.0
    n_draws: int = static(default=1)

    def init(self, problem: Posterior, x0: PyTree, *, key: Any = None) -> DiffusionState:
        del problem
        if self.n_draws < 1:
            raise ValueError(f"`n_draws` is {self.n_draws}, expected at least 1")
        return DiffusionState(x0, jnp.zeros((), jnp.int32), key_of(key))

    def step(
        self, problem: Posterior, state: DiffusionState, inputs: Any
    ) -> tuple[DiffusionState, DiffusionInfo]:
        del inputs
        sigma, later = self.levels[state.i], self.levels[state.i + 1]
        key, fresh = jax.random.split(state.key)
        slope = problem.value_and_grad(state.x)[1]
        step = self.step_size * jnp.power(sigma / (1 + sigma), self.decay)
        moved = tree.add_scaled(state.x, -step, slope)

        def draw(key: Any) -> PyTree:
            noisy = tree.add_scaled(moved, sigma, tree.standard_noise(key, moved))
            return problem.denoiser(noisy, sigma)

        draws = jax.vmap(draw)(jax.random.split(fresh, self.n_draws))
        x = jax.tree.map(lambda a: jnp.mean(a, 0), draws)
        change = tree.relative_change(x, state.x)
        info = DiffusionInfo(later, change, jnp.asarray(self.n_draws, jnp.int32))
        return DiffusionState(x, state.i + 1, key), info

    def value(self, state: DiffusionState) -> PyTree:
        return state.x
