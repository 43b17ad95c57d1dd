"""Adapters: between denoisers and functionals, and to other kinds and sizes of images."""

from jaxrecon.functionals.denoisers.adapters._geometry import Equivariant, Tiled
from jaxrecon.functionals.denoisers.adapters._prior import RED, DenoiserPrior, ProxDenoiser
from jaxrecon.functionals.denoisers.adapters._values import Channels, Complex, Scaled

__all__ = [
    "RED",
    "Channels",
    "Complex",
    "DenoiserPrior",
    "Equivariant",
    "ProxDenoiser",
    "Scaled",
    "Tiled",
]
