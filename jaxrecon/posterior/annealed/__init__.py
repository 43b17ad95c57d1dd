"""Samplers that come down levels of noise, the levels, and independent samples by them."""

from jaxrecon.posterior.annealed._ddrm import DDRM
from jaxrecon.posterior.annealed._diffusion import Diffusion
from jaxrecon.posterior.annealed._levels import flow_levels, geometric_levels, karras_levels
from jaxrecon.posterior.annealed._particles import TwistedParticles
from jaxrecon.posterior.annealed._pnp_flow import PnPFlow
from jaxrecon.posterior.annealed._red_diff import REDDiff
from jaxrecon.posterior.annealed._sampler import Sampler, sample
from jaxrecon.posterior.annealed._split_gibbs import SplitGibbs

__all__ = [
    "DDRM",
    "Diffusion",
    "PnPFlow",
    "REDDiff",
    "Sampler",
    "SplitGibbs",
    "TwistedParticles",
    "flow_levels",
    "geometric_levels",
    "karras_levels",
    "sample",
]
