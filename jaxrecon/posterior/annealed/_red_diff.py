"""RED-diff: the image whose noisy copies the denoiser leaves alone, by stochastic optimisation.

The variational posterior N(μ, 0): a point (Mardani, Song, Kautz and Vahdat, ICLR 2024). With their
weight, the inverse of the signal-to-noise ratio, the gradient of its divergence from p(x | y) is

    ∇Σf(A μ) + λ (μ − D(μ + σn, σ)),                                                       (1)

regularisation by denoising at every level, one after the other. Adam (Kingma and Ba, ICLR 2015)
follows it. It is an estimate of one image, and what differs between keys says nothing of its
uncertainty.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxrecon.core import pytree, tree
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior.annealed._sampler import Sampler, key_of


class REDDiffState(NamedTuple):
    """μ, the moments of its gradient, the place in the levels, and the key of the next noise."""

    x: Any
    moments: Any
    i: Array
    key: Any


class REDDiffInfo(NamedTuple):
    """The level, the relative change of μ, and the likelihood's negative logarithm before it."""

    sigma: Array
    residual: Array
    misfit: Array


@pytree
class REDDiff(Sampler):
    """Equation (1) by Adam, for any likelihood; start it from a rough image.

    Attributes:
        levels: falling or staying, with zero at the end, ``(level,)``.
        weight: λ, a precision: the larger, the more the prior counts.
        step_size: of Adam, in units of the image.
        decays: of Adam's moments.
    """

    may_stay: ClassVar[bool] = True

    levels: Float[Array, " level"]
    weight: Any
    step_size: Any
    decays: tuple[Any, Any] = (0.9, 0.99)

    def init(self, problem: Posterior, x0: PyTree, *, key: Any = None) -> REDDiffState:
        del problem
        moments = self._adam().init(x0)
        return REDDiffState(x0, moments, jnp.zeros((), jnp.int32), key_of(key))

    def step(
        self, problem: Posterior, state: REDDiffState, inputs: Any
    ) -> tuple[REDDiffState, REDDiffInfo]:
        del inputs
        sigma = self.levels[state.i]
        key, fresh = jax.random.split(state.key)
        misfit, slope = problem.value_and_grad(state.x)
        noisy = tree.add_scaled(state.x, sigma, tree.standard_noise(fresh, state.x))
        pull = tree.sub(state.x, problem.denoiser(noisy, sigma))
        slope = tree.add_scaled(slope, self.weight, pull)
        update, moments = self._adam().update(slope, state.moments)
        x = tree.add_scaled(state.x, -jnp.asarray(self.step_size), update)
        change = tree.relative_change(x, state.x)
        return REDDiffState(x, moments, state.i + 1, key), REDDiffInfo(sigma, change, misfit)

    def value(self, state: REDDiffState) -> PyTree:
        return state.x

    def _adam(self) -> Any:
        import optax  # half a second, for those who use it

        return optax.scale_by_adam(*self.decays)
