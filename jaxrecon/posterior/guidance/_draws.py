"""Guidance by draws: x₀ from the likelihood and a Gaussian about what the denoiser says.

    p(u) ∝ exp(−Σf(A u)/κ − ‖u − v‖²/2ρ²)                                                  (1)

With v = E[x₀ | x_σ] and ρ the deviation of x₀ given x_σ this is a draw of x₀ | x_σ, y, and with
`Diffusion(..., fresh=1, renoise=True)` the sampler is DAPS (Zhang, Chu, Berner, Meng, Anandkumar
and Song, CVPR 2025): exact where x₀ | x_σ is the Gaussian it is taken for. With v the other half of
a split image it is the likelihood's step of `SplitGibbs`. κ is a factor of the noise's variance.
"""

import abc
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import pytree, static, tree
from jaxrecon.posterior._gaussian_data import data_solver, whitened
from jaxrecon.posterior._moves import Place, langevin_move, metropolis_move
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior.guidance._guidance import Estimate, Guidance


class ConditionalDraw(Guidance):
    """A guidance that draws from equation (1)."""

    @abc.abstractmethod
    def draw(self, prepared: Any, v: PyTree, rho: Any, key: Any, kappa: Any = 1.0) -> PyTree:
        """One draw of equation (1); `prepared` is what `prepare` gives."""


@pytree
class GaussianStep(ConditionalDraw):
    """An exact draw of (1) for Gaussian noise, by perturbing the data and optimising.

    u = argmin ½‖B u − z − √κ n‖²/κ + ‖u − v − ρ n'‖²/2ρ² with the whitened data B and z (Orieux,
    Féron and Giovannelli, IEEE Signal Process. Lett. 19, 2012): in closed form where the operator
    has one, else by conjugate gradients from v.

    Attributes:
        width: w; as a guidance, ρ² = (wσ)² v/((wσ)² + v).
        variance: v, of the image's pixels: exact for a white prior of that variance and w = 1.
        n_inner: conjugate gradients.
        n_denoise: see `LangevinStep`.
    """

    width: Any = 1.0
    variance: Any = jnp.inf
    n_inner: int = static(default=20)
    n_denoise: int = static(default=1)

    def prepare(self, target: Posterior) -> Any:
        return target.denoiser, whitened(target)[0], data_solver(target, self.n_inner)

    def estimate(self, prepared: Any, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        v = denoised(prepared[0], x, sigma, self.n_denoise)
        return Estimate(self.draw(prepared, v, spread(self, sigma), key))

    def draw(self, prepared: Any, v: PyTree, rho: Any, key: Any, kappa: Any = 1.0) -> PyTree:
        _, root, solve = prepared
        key_data, key_image = jax.random.split(key)
        mu = kappa / jnp.square(rho)
        pull = tree.add_scaled(v, rho, tree.standard_noise(key_image, v))
        noise = root.adjoint(tree.standard_noise(key_data, root.range))
        return solve(mu, tree.add_scaled(pull, jnp.sqrt(kappa) / mu, noise), v)


@pytree
class LangevinStep(ConditionalDraw):
    """A draw of (1) for any likelihood, by Langevin's equation from v.

    Attributes:
        curvature: L, the largest of Σ∇²f∘A: (‖A‖/s)² for Gaussian noise of deviation s.
        width: w; as a guidance, ρ² = (wσ)² v/((wσ)² + v).
        share: of a step, in 1/(L + 1/ρ²): below 2 to be stable, the smaller the less biased.
        n_inner: steps.
        adjusted: whether moves have an accept step, which keeps (1) exactly.
        variance: v, of the image's pixels; infinite as DAPS has it.
        n_denoise: steps from σ to nothing along the probability flow that find v: one is D(x_σ, σ),
            several are a point that x_σ may come from, as DAPS has it.
    """

    curvature: Any
    width: Any = 1.0
    share: Any = 0.2
    n_inner: int = static(default=50)
    adjusted: bool = static(default=False)
    variance: Any = jnp.inf
    n_denoise: int = static(default=1)

    def estimate(self, prepared: Posterior, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        v = denoised(prepared.denoiser, x, sigma, self.n_denoise)
        return Estimate(self.draw(prepared, v, spread(self, sigma), key))

    def draw(self, prepared: Posterior, v: PyTree, rho: Any, key: Any, kappa: Any = 1.0) -> PyTree:
        precision = 1 / jnp.square(rho)
        step = self.share / (self.curvature / kappa + precision)

        def potential(u: PyTree) -> tuple[Array, PyTree]:
            value, slope = prepared.value_and_grad(u)
            apart = tree.sub(u, v)
            value = value / kappa + 0.5 * precision * tree.sum_of_squares(apart)
            return value, tree.add_scaled(tree.scale(1 / kappa, slope), precision, apart)

        def move(u: PyTree, key: Any) -> tuple[PyTree, None]:
            return langevin_move(u, potential(u)[1], step, key), None

        def adjusted(here: Place, key: Any) -> tuple[Place, None]:
            return metropolis_move(potential, here, step, key)[0], None

        keys = jax.random.split(key, self.n_inner)
        if self.adjusted:
            return jax.lax.scan(adjusted, Place(v, *potential(v)), keys)[0].x
        return jax.lax.scan(move, v, keys)[0]


def spread(guidance: Any, sigma: Any) -> Array:
    """ρ with 1/ρ² = 1/(wσ)² + 1/v."""
    return 1 / jnp.sqrt(1 / jnp.square(guidance.width * sigma) + 1 / jnp.asarray(guidance.variance))


def denoised(denoiser: Any, x: PyTree, sigma: Any, n: int) -> PyTree:
    """The probability flow's end from x_σ, by n Euler steps of even length in σ^(1/7)."""
    shares = [(1 - i / n) ** 7 for i in range(n + 1)]
    for now, later in itertools.pairwise(shares):
        mean = denoiser(x, now * sigma)
        x = tree.add_scaled(mean, later / now, tree.sub(x, mean))
    return x
