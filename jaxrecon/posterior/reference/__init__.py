"""Priors whose denoiser, samples and posterior are known exactly: what samplers are judged by."""

from jaxrecon.posterior.reference._gaussian import Gaussian, gaussian_posterior_sample
from jaxrecon.posterior.reference._mixture import (
    GaussianMixture,
    gaussian_mixture,
    mixture_posterior,
)

__all__ = [
    "Gaussian",
    "GaussianMixture",
    "gaussian_mixture",
    "gaussian_posterior_sample",
    "mixture_posterior",
]
