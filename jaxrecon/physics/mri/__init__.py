"""Magnetic resonance imaging: Cartesian multi-coil encoding, sampling masks and receive coils.

Images are `(y, x)`, maps and k-space `(coil, y, x)`, masks `(y, x)`; k-space is centred (k = 0 at
index N//2) and the Fourier transform orthonormal.
"""

from jaxrecon.physics.mri._coils import (
    adaptive_combine,
    adaptive_maps,
    birdcage_maps,
    combine,
    normalise_maps,
    rss,
)
from jaxrecon.physics.mri._espirit import calibration_shape, central_region, espirit, espirit_maps
from jaxrecon.physics.mri._masks import (
    equispaced_lines_mask,
    lattice_mask,
    random_lines_mask,
    random_mask,
)
from jaxrecon.physics.mri._mixing import (
    compress_coils,
    compression_matrix,
    mix_coils,
    noise_covariance,
    prewhiten,
    whitening_matrix,
)
from jaxrecon.physics.mri._poisson_disc import poisson_disc_mask
from jaxrecon.physics.mri._sense import Sense, SenseGram, cartesian, sense

__all__ = [
    "Sense",
    "SenseGram",
    "adaptive_combine",
    "adaptive_maps",
    "birdcage_maps",
    "calibration_shape",
    "cartesian",
    "central_region",
    "combine",
    "compress_coils",
    "compression_matrix",
    "equispaced_lines_mask",
    "espirit",
    "espirit_maps",
    "lattice_mask",
    "mix_coils",
    "noise_covariance",
    "normalise_maps",
    "poisson_disc_mask",
    "prewhiten",
    "random_lines_mask",
    "random_mask",
    "rss",
    "sense",
    "whitening_matrix",
]
