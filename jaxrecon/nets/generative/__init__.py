"""Generative networks: denoisers of every noise level, decoders, autoencoders, flows of patches.

Diffusion models are denoisers ``D(x, sigma)`` for `jaxrecon.posterior`; generators are callables
``G(z)`` for `jaxrecon.posterior.latent`.
"""

from jaxrecon.nets.generative._decoders import (
    DeepDecoder,
    ImageGenerator,
    deep_decoder,
    deep_image_prior,
)
from jaxrecon.nets.generative._edm import Conditioned, Field, Preconditioned
from jaxrecon.nets.generative._gan import DCGAN
from jaxrecon.nets.generative._patch_flow import (
    PatchFlow,
    PatchPrior,
    all_patches,
    patches_at,
    random_patches,
)
from jaxrecon.nets.generative._scan import OfScan, Seen
from jaxrecon.nets.generative._score_unet import ScoreUNet
from jaxrecon.nets.generative._vae import VAE, VAEDecoder, reparametrised

__all__ = [
    "DCGAN",
    "VAE",
    "Conditioned",
    "DeepDecoder",
    "Field",
    "ImageGenerator",
    "OfScan",
    "PatchFlow",
    "PatchPrior",
    "Preconditioned",
    "ScoreUNet",
    "Seen",
    "VAEDecoder",
    "all_patches",
    "deep_decoder",
    "deep_image_prior",
    "patches_at",
    "random_patches",
    "reparametrised",
]
