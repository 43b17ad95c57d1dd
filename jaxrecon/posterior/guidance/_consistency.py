"""Guidance by data consistency: D(x_σ) is moved to the data; the denoiser is not differentiated.

One evaluation of the denoiser and one data step each: the cheapest guidances. `ProximalStep` and
`RangeNull` return the data's own image where nothing is missing and nothing is noisy.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import PyTree

from jaxrecon.core import pytree, static, tree
from jaxrecon.posterior._gaussian_data import data_solver, gaussian_term
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior.guidance._guidance import Estimate, Guidance
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
class GradientStep(Guidance):
    """D(x_σ) − γ ∇Σf(A D(x_σ)): one step of gradient descent, for any likelihood.

    No derivative of the denoiser and no inner solve; what FlowChef and PnP-Flow do to the denoised
    image (Patel et al., ICCV 2025; Martin et al., ICLR 2025). Samples are not of the posterior.

    Attributes:
        step_size: γ, below 2 over the largest curvature of Σf∘A: (‖A‖/s)² for Gaussian noise of
            deviation s.
    """

    step_size: Any

    def estimate(self, prepared: Posterior, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        mean = prepared.denoiser(x, sigma)
        slope = prepared.value_and_grad(mean)[1]
        return Estimate(tree.add_scaled(mean, -self.step_size, slope))
