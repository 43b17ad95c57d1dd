"""Losses of generative models: priors learned from images, or from measurements alone."""

from jaxrecon.training.losses.generative._adversarial_latent import Generation, latent_batch
from jaxrecon.training.losses.generative._denoising import (
    DenoisingScoreMatching,
    EvenTimes,
    LogNormal,
    edm_weight,
    noise_weight,
    velocity_weight,
)
from jaxrecon.training.losses.generative._flow_matching import FlowMatching, LogitNormal
from jaxrecon.training.losses.generative._measured import (
    AmbientDiffusion,
    AmbientTweedie,
    SUREScore,
)
from jaxrecon.training.losses.generative._variational import (
    ELBO,
    PatchLikelihood,
    gaussian_divergence,
)

__all__ = [
    "ELBO",
    "AmbientDiffusion",
    "AmbientTweedie",
    "DenoisingScoreMatching",
    "EvenTimes",
    "FlowMatching",
    "Generation",
    "LogNormal",
    "LogitNormal",
    "PatchLikelihood",
    "SUREScore",
    "edm_weight",
    "gaussian_divergence",
    "latent_batch",
    "noise_weight",
    "velocity_weight",
]
