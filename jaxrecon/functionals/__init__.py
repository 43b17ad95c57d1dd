"""Data fidelities and regularisers: value, gradient, proximal map."""

from jaxrecon.functionals._functional import Functional
from jaxrecon.functionals._norms import L1, L21, Box, non_negative, soft_threshold
from jaxrecon.functionals._quadratic import LeastSquares, SquaredL2
from jaxrecon.functionals._tv import TV
from jaxrecon.functionals._wavelet import CycleSpin, Wavelet, WaveletL1, daubechies, wavelet

__all__ = [
    "L1",
    "L21",
    "TV",
    "Box",
    "CycleSpin",
    "Functional",
    "LeastSquares",
    "SquaredL2",
    "Wavelet",
    "WaveletL1",
    "daubechies",
    "non_negative",
    "soft_threshold",
    "wavelet",
]
