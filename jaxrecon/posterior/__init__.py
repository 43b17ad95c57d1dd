"""Samples of the posterior: a likelihood, a prior known by its denoiser, and a sampler.

    target = posterior(A, y, noise, denoiser)
    sampler = Diffusion(karras_levels(50, high=20.0, low=1e-3), guidance=ProximalStep())
    samples = sample(sampler, target, key, n_samples=16).value

A sampler is levels × guidance × step, one algorithm of `jaxrecon.core.run` like any other.

- `annealed/`: samplers that come down levels of noise, and the levels;
- `guidance/`: how the data enter them;
- `chains/`: Langevin's equation on the posterior;
- `reference/`: priors whose posterior is known, to judge samplers by;
- `latent/`, `calibration/`: images of a generator; what the spread of samples is worth.
"""

from jaxrecon.posterior._parametrisations import (
    FromNoise,
    FromScore,
    FromVelocity,
    noise_of,
    velocity_of,
)
from jaxrecon.posterior._posterior import Posterior, posterior
from jaxrecon.posterior._resume import advance, begin
from jaxrecon.posterior._unknown_noise import InverseGamma, UnknownNoise
from jaxrecon.posterior.annealed import (
    DDRM,
    Diffusion,
    PnPFlow,
    REDDiff,
    Sampler,
    SplitGibbs,
    TwistedParticles,
    flow_levels,
    geometric_levels,
    karras_levels,
    sample,
)
from jaxrecon.posterior.chains import MALA, SKROCK, Langevin
from jaxrecon.posterior.guidance import (
    DPS,
    ConditionalDraw,
    Estimate,
    GaussianStep,
    GradientStep,
    Guidance,
    LangevinStep,
    PiGDM,
    ProximalStep,
    RangeNull,
    TweedieCovariance,
    Unconditional,
)
from jaxrecon.posterior.reference import (
    Gaussian,
    GaussianMixture,
    gaussian_mixture,
    gaussian_posterior_sample,
    mixture_posterior,
)

__all__ = [
    "DDRM",
    "DPS",
    "MALA",
    "SKROCK",
    "ConditionalDraw",
    "Diffusion",
    "Estimate",
    "FromNoise",
    "FromScore",
    "FromVelocity",
    "Gaussian",
    "GaussianMixture",
    "GaussianStep",
    "GradientStep",
    "Guidance",
    "InverseGamma",
    "Langevin",
    "LangevinStep",
    "PiGDM",
    "PnPFlow",
    "Posterior",
    "ProximalStep",
    "REDDiff",
    "RangeNull",
    "Sampler",
    "SplitGibbs",
    "TweedieCovariance",
    "TwistedParticles",
    "Unconditional",
    "UnknownNoise",
    "advance",
    "begin",
    "flow_levels",
    "gaussian_mixture",
    "gaussian_posterior_sample",
    "geometric_levels",
    "karras_levels",
    "mixture_posterior",
    "noise_of",
    "posterior",
    "sample",
    "velocity_of",
]
