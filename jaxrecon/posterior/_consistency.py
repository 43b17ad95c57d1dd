"""Guidance by data consistency: D(x_σ) is moved to the data; the denoiser is not differentiated.

One evaluation of the denoiser and one data step each: the cheapest guidances, and the ones that
return the data's own image where nothing is missing and nothing is noisy.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxrecon.core import pytree, static, tree
from jaxrecon.posterior._guidance import Estimate, Guidance, data_solver, gaussian_term
from jaxrecon.posterior._posterior import Posterior, standard_noise
from jaxrecon.solvers.linear import pseudo_inverse


@pytree
class ProximalStep(Guidance):
    """argmin over x of Σ f(A x) + λ/2σ² ‖x − D(x_σ)‖², with Gaussian noise.

    The estimate of DiffPIR (Zhu et al., CVPRW 2023) and, with few conjugate gradients from D(x_σ),
    that of DDS (Chung, Lee and Ye, ICLR 2024). In closed form where the operator has one.

    Attributes:
        trust: λ, in the denoiser.
        n_inner: conjugate gradients from D(x_σ), where there is no closed form.
    """

    trust: Any = 1.0
    n_inner: int = static(default=5)

    def prepare(self, target: Posterior) -> Any:
        return target.denoiser, data_solver(target, self.n_inner)

    def estimate(self, prepared: Any, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        denoiser, solve = prepared
        mean = denoiser(x, sigma)
        return Estimate(solve(self.trust / jnp.square(sigma), mean, mean))


@pytree
class RangeNull(Guidance):
    """D(x_σ) + A⁺(y − A D(x_σ)): what was measured from the data, the rest from the denoiser.

    For data without noise (DDNM; Wang, Yu and Zhang, ICLR 2023); noise passes into the image.

    Attributes:
        n_inner: iterations of the pseudo-inverse, where it has no closed form.
    """

    n_inner: int = static(default=20)

    def prepare(self, target: Posterior) -> Any:
        term, A = gaussian_term(target)
        return target.denoiser, term.data, A, pseudo_inverse(A, n_iter=self.n_inner)

    def estimate(self, prepared: Any, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        denoiser, y, A, inverse = prepared
        mean = denoiser(x, sigma)
        return Estimate(tree.add(mean, inverse(tree.sub(y, A(mean)))))


@pytree
class LangevinStep(Guidance):
    """A draw of p(x₀) ∝ exp(−Σ f(A x₀) − ‖x₀ − D(x_σ)‖²/2(wσ)²), for any likelihood.

    By Langevin's equation from D(x_σ), with steps of a share of 1/(L + 1/(wσ)²). With
    `Diffusion(..., fresh=1, renoise=True)` this is DAPS (Zhang, Chu, Berner, Meng, Anandkumar and
    Song, CVPR 2025), and a step of the split Gibbs sampler PnP-DM (Wu et al., NeurIPS 2024).

    Attributes:
        curvature: L, the largest of Σ∇²f∘A: (‖A‖/s)² for Gaussian noise of deviation s.
        width: w, what the deviation of x₀ given x_σ is taken to be, in σ.
        share: of a step, below 2 to be stable, the smaller the less biased.
        n_inner: steps.
    """

    curvature: Any
    width: Any = 1.0
    share: Any = 0.2
    n_inner: int = static(default=50)

    def prepare(self, target: Posterior) -> Any:
        return target

    def estimate(self, prepared: Posterior, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        mean = prepared.denoiser(x, sigma)
        variance = jnp.square(self.width * sigma)
        step = self.share / (self.curvature + 1 / variance)

        def move(u: PyTree, key: Any) -> tuple[PyTree, None]:
            slope = prepared.value_and_grad(u)[1]
            slope = tree.add_scaled(slope, 1 / variance, tree.sub(u, mean))
            u = tree.add_scaled(u, -step, slope)
            return tree.add_scaled(u, jnp.sqrt(2 * step), standard_noise(key, u)), None

        keys = jax.random.split(key, self.n_inner)
        return Estimate(jax.lax.scan(move, mean, keys)[0])
