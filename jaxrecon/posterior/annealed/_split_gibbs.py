"""Split Gibbs sampling: likelihood and prior in turns, at a coupling that shrinks.

    p(x, u | y) ∝ exp(−Σf(A u)) p(x) exp(−‖x − u‖²/2ρ²)                                    (1)

u given x is a draw of `ConditionalDraw`; x given u is a denoising problem with noise ρ, which the
diffusion model itself samples, from u at σ = ρ down to zero. Vono, Dobigeon and Chainais, IEEE
Trans. Signal Process. 67 (2019); with a diffusion prior PnP-DM (Wu, Sun, Chen, Zhang, Yue and
Bouman, NeurIPS 2024). The law of x is p(x | y) with the likelihood of A(x + ρn), so that a last ρ
well below what the data resolve makes it the posterior. Falling levels let the chain forget its
start; the last one, repeated, is a chain whose every x may be kept (`record`).
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxrecon.core import pytree, static, tree
from jaxrecon.posterior._gaussian_data import gaussian_term
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior._unknown_noise import InverseGamma
from jaxrecon.posterior.annealed._particles import transition
from jaxrecon.posterior.annealed._sampler import Sampler, key_of
from jaxrecon.posterior.guidance import ConditionalDraw, GaussianStep


class SplitGibbsState(NamedTuple):
    """x, the factor κ of the noise's variance, the place in the levels, and the next key."""

    x: Any
    kappa: Array
    i: Array
    key: Any


class SplitGibbsInfo(NamedTuple):
    """ρ, the relative change of x, the negative log likelihood of u, and √κ."""

    sigma: Array
    residual: Array
    misfit: Array
    noise: Array


@pytree
class SplitGibbs(Sampler):
    """Equation (1): exact in the limit of a small last ρ and many steps between.

    Attributes:
        levels: ρ, not rising, with a zero at the end that has no step, ``(level,)``.
        likelihood: how u is drawn: `GaussianStep`, or `LangevinStep` for any likelihood.
        n_denoise: steps from u to x.
        variance: v, of the image's pixels: see `PiGDM`. It matters where few steps go far.
        noise: for Gaussian noise of a level that is not known: the prior of κ, by which the
            variances that the target was given are multiplied; drawn in each step.
        low: the last level of x given u above zero, in ρ.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.posterior import Gaussian, geometric_levels, posterior, sample
        >>> A = identity(jnp.zeros(2))
        >>> prior = Gaussian(jnp.zeros(2), A, jnp.ones(2))
        >>> target = posterior(A, jnp.array([1.0, -1.0]), 0.01, prior)
        >>> sampler = SplitGibbs(geometric_levels(20, high=5.0, low=1e-2))
        >>> sample(sampler, target, jax.random.key(0)).value.round(1).tolist()
        [1.0, -1.0]
    """

    may_stay: ClassVar[bool] = True

    levels: Float[Array, " level"]
    likelihood: ConditionalDraw = GaussianStep()
    n_denoise: int = static(default=5)
    variance: Any = 1.0
    noise: InverseGamma | None = None
    low: Any = 0.1

    def prepare(self, problem: Posterior) -> Any:
        if self.noise is not None:
            gaussian_term(problem)
        return problem, self.likelihood.prepare(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Any = None) -> SplitGibbsState:
        del problem
        return SplitGibbsState(x0, jnp.ones(()), jnp.zeros((), jnp.int32), key_of(key))

    def step(
        self, problem: Any, state: SplitGibbsState, inputs: Any
    ) -> tuple[SplitGibbsState, SplitGibbsInfo]:
        del inputs
        target, prepared = problem
        rho = self.levels[state.i]
        key, *keys = jax.random.split(state.key, 4)
        u = self.likelihood.draw(prepared, state.x, rho, keys[0], state.kappa)
        misfit = target(u)
        kappa = state.kappa if self.noise is None else self._factor(target, misfit, keys[1])
        x = self._denoised(target, u, rho, keys[2])
        change = tree.relative_change(x, state.x)
        info = SplitGibbsInfo(rho, change, misfit, jnp.sqrt(kappa))
        return SplitGibbsState(x, kappa, state.i + 1, key), info

    def value(self, state: SplitGibbsState) -> PyTree:
        return state.x

    def _factor(self, target: Posterior, misfit: Array, key: Any) -> Array:
        assert self.noise is not None
        return self.noise.draw(misfit, gaussian_term(target)[0].data, key)

    def _denoised(self, target: Posterior, u: PyTree, rho: Array, key: Any) -> PyTree:
        """A draw of x₀ | x_ρ = u, down the prior's own transitions."""
        below = rho * jnp.append(jnp.geomspace(1.0, self.low, self.n_denoise), 0.0)

        def move(x: PyTree, step: Any) -> tuple[PyTree, None]:
            now, later, key = step
            mean = target.denoiser(x, now)
            q, s = transition(now, later, self.variance)
            x = tree.add_scaled(mean, q, tree.sub(x, mean))
            return tree.add_scaled(x, s, tree.standard_noise(key, x)), None

        steps = below[:-1], below[1:], jax.random.split(key, self.n_denoise)
        return jax.lax.scan(move, u, steps)[0]
