"""Forward models, one sub-package for each modality, and the noise models that they share."""

from jaxrecon.physics._noise import (
    complex_gaussian_noise,
    gaussian_noise,
    poisson_counts,
    pwls_weights,
)
from jaxrecon.physics._noise_level import noise_from_differences, noise_from_periphery

__all__ = [
    "complex_gaussian_noise",
    "gaussian_noise",
    "noise_from_differences",
    "noise_from_periphery",
    "poisson_counts",
    "pwls_weights",
]
