"""Regularisers: what images are like, as functionals with a proximal map or a gradient."""

from jaxrecon.functionals.priors._low_rank import (
    LocallyLowRank,
    NuclearNorm,
    shrink_singular_values,
)
from jaxrecon.functionals.priors._neighbours import QGGMRF, Neighbourhood, RelativeDifference
from jaxrecon.functionals.priors._ridge import Ridge, filter_norm, project_ridge, ridge
from jaxrecon.functionals.priors._taps import daubechies, symlet
from jaxrecon.functionals.priors._tgv import (
    TGV,
    SymmetricGradient,
    symmetric_gradient,
    tgv_terms,
)
from jaxrecon.functionals.priors._transform import DCT, TransformL1, dct
from jaxrecon.functionals.priors._tv import TV, SmoothTV
from jaxrecon.functionals.priors._undecimated import UndecimatedWavelet, undecimated_wavelet
from jaxrecon.functionals.priors._wavelet import CycleSpin, Wavelet, WaveletL1, wavelet

__all__ = [
    "DCT",
    "QGGMRF",
    "TGV",
    "TV",
    "CycleSpin",
    "LocallyLowRank",
    "Neighbourhood",
    "NuclearNorm",
    "RelativeDifference",
    "Ridge",
    "SmoothTV",
    "SymmetricGradient",
    "TransformL1",
    "UndecimatedWavelet",
    "Wavelet",
    "WaveletL1",
    "daubechies",
    "dct",
    "filter_norm",
    "project_ridge",
    "ridge",
    "shrink_singular_values",
    "symlet",
    "symmetric_gradient",
    "tgv_terms",
    "undecimated_wavelet",
    "wavelet",
]
