"""How the data enter a sampler that comes down from noise."""

from jaxrecon.posterior.guidance._consistency import GradientStep, ProximalStep, RangeNull
from jaxrecon.posterior.guidance._draws import ConditionalDraw, GaussianStep, LangevinStep
from jaxrecon.posterior.guidance._gradients import DPS, PiGDM, TweedieCovariance
from jaxrecon.posterior.guidance._guidance import Estimate, Guidance, Unconditional

__all__ = [
    "DPS",
    "ConditionalDraw",
    "Estimate",
    "GaussianStep",
    "GradientStep",
    "Guidance",
    "LangevinStep",
    "PiGDM",
    "ProximalStep",
    "RangeNull",
    "TweedieCovariance",
    "Unconditional",
]
