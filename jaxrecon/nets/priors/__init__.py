"""Learned priors: ridge regularisers, gradient-step and nonexpansive denoisers, adapters.

All are nnx modules and denoisers ``D(x, sigma)``, and can stand wherever `functionals.denoisers`
do; those with an objective give it as a functional.
"""

from jaxrecon.nets.priors._filters import FilterBank, composed, filter_bank, normalised
from jaxrecon.nets.priors._gradient_step import GradientStepNet, GradientStepPrior
from jaxrecon.nets.priors._image import ImageDenoiser
from jaxrecon.nets.priors._lipschitz import Nonexpansive, conv_bound, normalise_convolutions
from jaxrecon.nets.priors._penalty import jacobian_norm, jacobian_penalty
from jaxrecon.nets.priors._potentials import SplinePotentials
from jaxrecon.nets.priors._ridge import RidgeNet, RidgePrior
from jaxrecon.nets.priors._weights import read_dncnn

__all__ = [
    "FilterBank",
    "GradientStepNet",
    "GradientStepPrior",
    "ImageDenoiser",
    "Nonexpansive",
    "RidgeNet",
    "RidgePrior",
    "SplinePotentials",
    "composed",
    "conv_bound",
    "filter_bank",
    "jacobian_norm",
    "jacobian_penalty",
    "normalise_convolutions",
    "normalised",
    "read_dncnn",
]
