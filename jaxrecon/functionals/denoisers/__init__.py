"""Classical denoisers ``D(x, sigma)``, adapters for any denoiser, and what to check of one."""

from jaxrecon.functionals.denoisers._denoiser import Denoiser, FixedStrength, GradientStep, score
from jaxrecon.functionals.denoisers._diagnostics import (
    Jacobian,
    asymmetry,
    conv_norm,
    lipschitz,
    residual_lipschitz,
)
from jaxrecon.functionals.denoisers._local import Bilateral, NonLocalMeans
from jaxrecon.functionals.denoisers._shrinkage import DCTDenoiser, WaveletShrinkage
from jaxrecon.functionals.denoisers._smoothing import Gaussian, Median, Wiener
from jaxrecon.functionals.denoisers._variational import total_generalised_variation, total_variation
from jaxrecon.functionals.denoisers.adapters import (
    RED,
    Channels,
    Complex,
    DenoiserPrior,
    Equivariant,
    ProxDenoiser,
    Scaled,
    Tiled,
)
from jaxrecon.functionals.denoisers.bm3d import BM3D

__all__ = [
    "BM3D",
    "RED",
    "Bilateral",
    "Channels",
    "Complex",
    "DCTDenoiser",
    "Denoiser",
    "DenoiserPrior",
    "Equivariant",
    "FixedStrength",
    "Gaussian",
    "GradientStep",
    "Jacobian",
    "Median",
    "NonLocalMeans",
    "ProxDenoiser",
    "Scaled",
    "Tiled",
    "WaveletShrinkage",
    "Wiener",
    "asymmetry",
    "conv_norm",
    "lipschitz",
    "residual_lipschitz",
    "score",
    "total_generalised_variation",
    "total_variation",
]
