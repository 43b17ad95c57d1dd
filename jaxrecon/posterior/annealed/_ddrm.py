"""Denoising diffusion restoration models: every singular vector of the operator by itself.

Kawar, Elad, Ermon and Song, NeurIPS 2022. In the basis of `_spectrum.py` the data say ȳᵢ of the
i-th coefficient, with noise of deviation rᵢ = 1/sᵢ, infinite where nothing was measured. With
m = D(x_σ) the next x_σ' has the coefficients

    mᵢ + √(1 − η²) σ' (xᵢ − mᵢ)/σ + η σ' n              nothing was measured,              (1)
    mᵢ + √(1 − η²) σ' (ȳᵢ − mᵢ)/rᵢ + η σ' n             σ' < rᵢ,                           (2)
    (1 − η_b) mᵢ + η_b ȳᵢ + √(σ'² − η_b² rᵢ²) n         σ' ≥ rᵢ.                           (3)

One evaluation of the denoiser for a step and no derivative of it. Where nothing is noisy this is
DDNM in its spectral form; `RangeNull` is that for operators without one, by conjugate gradients.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxrecon.core import pytree, tree
from jaxrecon.posterior._gaussian_data import whitened
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior.annealed._diffusion import DiffusionInfo, DiffusionState
from jaxrecon.posterior.annealed._sampler import Sampler, key_of
from jaxrecon.posterior.annealed._spectrum import Spectrum, spectrum


class Prepared(NamedTuple):
    """The denoiser, the basis, whether a coefficient was measured, its value and rᵢ (or 0, 1)."""

    target: Posterior
    spectrum: Spectrum
    measured: Array
    data: Array
    deviation: Array


@pytree
class DDRM(Sampler):
    """Equations (1) to (3), for Gaussian noise and operators with a known spectrum.

    These are circular blurs, masks, weights, unitary transforms, single-pixel cameras, masked
    Fourier transforms of complex images, and any operator of up to 1024 pixels, decomposed densely.
    Samples are not of the posterior.

    Attributes:
        levels: falling, with zero at the end, ``(level,)``.
        eta: η, the share of fresh noise, 0 to 1.
        eta_data: η_b, how far a coefficient goes to the data once they are the better, 0 to 1.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> from jaxrecon.posterior import Gaussian, karras_levels, posterior, sample
        >>> A = diagonal(jnp.array([1.0, 0.0]), jnp.zeros(2))
        >>> prior = Gaussian(jnp.zeros(2), A, jnp.ones(2))
        >>> target = posterior(A, jnp.array([3.0, 0.0]), 1e-4, prior)
        >>> sampler = DDRM(karras_levels(20, high=20.0, low=1e-4))
        >>> round(float(sample(sampler, target, jax.random.key(0)).value[0]), 2)
        3.0
    """

    levels: Float[Array, " level"]
    eta: Any = 0.85
    eta_data: Any = 1.0

    def prepare(self, problem: Posterior) -> Prepared:
        A, y = whitened(problem)
        found = spectrum(A)
        if found is None:
            raise ValueError(
                f"`likelihood` has {type(A).__name__}, whose spectrum is not known: use `RangeNull`"
                " or `ProximalStep`, which iterate"
            )
        measured = found.squares > 0
        root = jnp.sqrt(jnp.where(measured, found.squares, 1))
        data = jnp.where(measured, found.basis(A.H(y)), 0) / root**2
        return Prepared(problem, found, measured, data, 1 / root)

    def init(self, problem: Prepared, x0: PyTree, *, key: Any = None) -> DiffusionState:
        key, first = jax.random.split(key_of(key))
        high, V = self.levels[0], problem.spectrum.basis
        noise = tree.standard_noise(first, problem.target.domain)
        start = tree.add_scaled(x0, high, noise)
        left = jnp.sqrt(jnp.maximum(high**2 - problem.deviation**2, 0))
        seen = problem.data + left * V(noise)
        better = problem.measured & (problem.deviation <= high)
        x = tree.add(start, V.H(jnp.where(better, seen - V(start), 0)))
        return DiffusionState(x, jnp.zeros((), jnp.int32), key)

    def step(
        self, problem: Prepared, state: DiffusionState, inputs: Any
    ) -> tuple[DiffusionState, DiffusionInfo]:
        del inputs
        now, later = self.levels[state.i], self.levels[state.i + 1]
        key, fresh = jax.random.split(state.key)
        mean = problem.target.denoiser(state.x, now)
        noise = tree.standard_noise(fresh, mean)
        kept = jnp.sqrt(1 - jnp.square(self.eta)) * later
        unseen = tree.add_scaled(mean, kept / now, tree.sub(state.x, mean))
        unseen = tree.add_scaled(unseen, self.eta * later, noise)
        V = problem.spectrum.basis
        seen = self._seen(problem, V(mean), V(noise), later)
        x = tree.add(unseen, V.H(jnp.where(problem.measured, seen - V(unseen), 0)))
        change = tree.relative_change(x, state.x)
        info = DiffusionInfo(later, change, jnp.ones((), jnp.int32))
        return DiffusionState(x, state.i + 1, key), info

    def value(self, state: DiffusionState) -> PyTree:
        return state.x

    def _seen(self, problem: Prepared, mean: Array, noise: Array, later: Array) -> Array:
        """Equations (2) and (3)."""
        r, apart = problem.deviation, problem.data - mean
        kept = jnp.sqrt(1 - jnp.square(self.eta)) * later
        worse = mean + kept / r * apart + self.eta * later * noise
        left = jnp.sqrt(jnp.maximum(jnp.square(later) - jnp.square(self.eta_data * r), 0))
        return jnp.where(later < r, worse, mean + self.eta_data * apart + left * noise)
