"""How good a scan is: pure functions, differentiable in the pattern.

In closed form for Gaussian objects: `expected_error` (A-optimality), `expected_information`
(D-optimality), where no matrix is formed `spectral_error`, `spectral_information` and
`stochastic_error`. By the point-spread function: `aliasing_energy`. By what is wanted in the end:
`reconstruction_error` of any reconstruction, and `sampling_error` for a choice of samples.
`robust` joins several classes of objects.
"""

from jaxrecon.design.criteria._error import reconstruction_error, robust, sampling_error
from jaxrecon.design.criteria._gaussian import (
    GaussianModel,
    GramGaussian,
    LinearGaussian,
    error_slope,
    expected_error,
    expected_information,
    information_slope,
    linear_gaussian,
    posterior_covariance,
)
from jaxrecon.design.criteria._large import (
    spectral_error,
    spectral_information,
    stochastic_error,
)
from jaxrecon.design.criteria._spread import aliasing_energy, peak_side_lobe, point_spread

__all__ = [
    "GaussianModel",
    "GramGaussian",
    "LinearGaussian",
    "aliasing_energy",
    "error_slope",
    "expected_error",
    "expected_information",
    "information_slope",
    "linear_gaussian",
    "peak_side_lobe",
    "point_spread",
    "posterior_covariance",
    "reconstruction_error",
    "robust",
    "sampling_error",
    "spectral_error",
    "spectral_information",
    "stochastic_error",
]
