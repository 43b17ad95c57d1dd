"""Samplers that come down from noise: x_{σ_i} to x_{σ_{i+1}} by an estimate of x₀.

With m = E[x₀ | x_σ, y] of a guidance and ε = (x_σ − m)/σ,

    x_{σ'} = m + √(σ'² − s²) ε + s n,   n ~ N(0, 1).                                       (1)

s = 0 is Euler's method for the probability-flow equation (DDIM; Song, Meng and Ermon, ICLR 2021),
s² = σ'²(1 − σ'²/σ²) the ancestral sampler, and any s between is right in the limit of small steps,
if m is. For each σ the law of x_σ is then that of x₀ + σn.

With `flow_levels` and s = 0 this is rectified flow: x_t = (1 − t) x_σ with t = σ/(1 + σ) goes along
its velocity in even steps of t, and with `PiGDM` along the guided one (OT-ODE; Pokle, Muckley, Chen
and Karrer, TMLR 2024).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxrecon.core import pytree, static, tree
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior.annealed._sampler import Sampler, key_of
from jaxrecon.posterior.guidance import Estimate, Guidance, Unconditional


class DiffusionState(NamedTuple):
    """x_σ, the place in the levels, and the key of what is drawn next."""

    x: Any
    i: Array
    key: Any


class DiffusionInfo(NamedTuple):
    """The level after the step, the relative change of x, and evaluations of the estimate."""

    sigma: Array
    residual: Array
    n_estimates: Array


@pytree
class Diffusion(Sampler):
    """A sampler of p(x | y): levels, a guidance, and how much of the noise is drawn anew.

    Start `run` from x0 + σ₀ n, x0 being zeros by default: a rough reconstruction there, with a σ₀
    of its error, saves steps (Chung, Sim and Ye, CVPR 2022). It needs a `key`.

    Attributes:
        levels: falling, with zero at the end, ``(level,)``; see `karras_levels`.
        guidance: how the data enter.
        fresh: the share of s² of the ancestral sampler's in (1): 0, deterministic from its start,
            to 1. Or, for `renoise`, the share of σ'² (DiffPIR's ζ).
        renoise: whether `fresh` is counted from σ'², so that 1 forgets ε altogether.
        order: 1, or 2, which corrects each step but the last by the estimate at its end (Heun;
            Karras et al., NeurIPS 2022): for fresh = 0, and guidances without a shift.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.posterior import Gaussian, PiGDM, karras_levels, posterior, sample
        >>> A = identity(jnp.zeros(2))
        >>> prior = Gaussian(jnp.zeros(2), A, jnp.ones(2))
        >>> target = posterior(A, jnp.array([1.0, -1.0]), 0.01, prior)
        >>> sampler = Diffusion(karras_levels(40, high=20.0, low=1e-3), PiGDM())
        >>> sample(sampler, target, jax.random.key(0)).value.round(1).tolist()
        [1.0, -1.0]
    """

    levels: Float[Array, " level"]
    guidance: Guidance = Unconditional()
    fresh: Any = 0.0
    renoise: bool = static(default=False)
    order: int = static(default=1)

    def prepare(self, problem: Posterior) -> Any:
        if self.order not in (1, 2):
            raise ValueError(f"`order` is {self.order}, expected 1 or 2")
        return problem, self.guidance.prepare(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Any = None) -> DiffusionState:
        target, _ = problem
        key, first = jax.random.split(key_of(key))
        noise = tree.standard_noise(first, target.domain)
        return DiffusionState(
            tree.add_scaled(x0, self.levels[0], noise), jnp.zeros((), jnp.int32), key
        )

    def step(
        self, problem: Any, state: DiffusionState, inputs: Any
    ) -> tuple[DiffusionState, DiffusionInfo]:
        del inputs
        _, prepared = problem
        now, later = self.levels[state.i], self.levels[state.i + 1]
        key, fresh, inner = jax.random.split(state.key, 3)
        s = jnp.sqrt(self.fresh * _ancestral(now, later, self.renoise))
        here = self.guidance.estimate(prepared, state.x, now, inner)
        slope = tree.scale(1 / now, tree.sub(state.x, here.mean))
        kept = jnp.sqrt(jnp.maximum(jnp.square(later) - jnp.square(s), 0))
        x = tree.add_scaled(here.mean, kept, slope)
        x = tree.add_scaled(x, s, tree.standard_noise(fresh, x))
        x = x if here.shift is None else tree.add(x, here.shift)
        if self.order == 2:
            x = self._corrected(prepared, state.x, x, slope, (now, later))
        change = tree.relative_change(x, state.x)
        n_estimates = jnp.asarray(self.order, jnp.int32)
        return DiffusionState(x, state.i + 1, key), DiffusionInfo(later, change, n_estimates)

    def value(self, state: DiffusionState) -> PyTree:
        return state.x

    def _corrected(
        self, prepared: Any, x: PyTree, ahead: PyTree, slope: PyTree, levels: Any
    ) -> PyTree:
        """Heun's step; Euler's where it ends at zero."""
        now, later = levels
        there: Estimate = self.guidance.estimate(prepared, ahead, jnp.where(later > 0, later, now))
        slope_there = tree.scale(1 / jnp.where(later > 0, later, 1), tree.sub(ahead, there.mean))
        mean_slope = tree.scale(0.5, tree.add(slope, slope_there))
        return tree.where(later > 0, tree.add_scaled(x, later - now, mean_slope), ahead)


def _ancestral(now: Array, later: Array, renoise: bool) -> Array:
    """The largest s² of (1)."""
    whole = jnp.square(later)
    return whole if renoise else whole * (1 - whole / jnp.square(now))
