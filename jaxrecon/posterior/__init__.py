"""Samples of the posterior: a likelihood, a prior known by its denoiser, and a sampler.

    target = posterior(A, y, noise, denoiser)
    sampler = Diffusion(karras_levels(50, high=20.0, low=1e-3), guidance=ProximalStep())
    samples = sample(sampler, target, key, n_samples=16).value

A sampler is levels × guidance × step, one algorithm of `jaxrecon.core.run` like any other.
"""

from jaxrecon.posterior._chains import SKROCK, Langevin
from jaxrecon.posterior._consistency import LangevinStep, ProximalStep, RangeNull
from jaxrecon.posterior._diffusion import Diffusion, sample
from jaxrecon.posterior._guidance import (
    DPS,
    Estimate,
    Guidance,
    PiGDM,
    TweedieCovariance,
    Unconditional,
)
from jaxrecon.posterior._levels import flow_levels, geometric_levels, karras_levels
from jaxrecon.posterior._parametrisations import (
    FromNoise,
    FromScore,
    FromVelocity,
    noise_of,
    velocity_of,
)
from jaxrecon.posterior._particles import TwistedParticles
from jaxrecon.posterior._posterior import Posterior, posterior
from jaxrecon.posterior._reference import (
    Gaussian,
    GaussianMixture,
    gaussian_mixture,
    gaussian_posterior_sample,
    mixture_posterior,
)

__all__ = [
    "DPS",
    "SKROCK",
    "Diffusion",
    "Estimate",
    "FromNoise",
    "FromScore",
    "FromVelocity",
    "Gaussian",
    "GaussianMixture",
    "Guidance",
    "Langevin",
    "LangevinStep",
    "PiGDM",
    "Posterior",
    "ProximalStep",
    "RangeNull",
    "TweedieCovariance",
    "TwistedParticles",
    "Unconditional",
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
