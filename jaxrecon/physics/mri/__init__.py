"""Magnetic resonance imaging: multi-coil encoding, sampling masks, trajectories, receive coils.

Images are `(y, x)`, maps and k-space `(coil, y, x)`, masks `(y, x)`; k-space is centred (k = 0 at
index N//2) and the Fourier transform orthonormal. Trajectories are `(..., axis)` in cycles per
field of view, axes in the image's order, and their data `(coil, ...)`.
"""

from jaxrecon.physics.mri import trajectories
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
from jaxrecon.physics.mri._noncartesian import CoilMaps, coils, noncartesian_sense
from jaxrecon.physics.mri._poisson_disc import poisson_disc_mask
from jaxrecon.physics.mri._sense import Sense, SenseGram, cartesian, sense
from jaxrecon.physics.nufft import NUFFT, nufft

__all__ = [
    "NUFFT",
    "CoilMaps",
    "Sense",
    "SenseGram",
    "adaptive_combine",
    "adaptive_maps",
    "birdcage_maps",
    "calibration_shape",
    "cartesian",
    "central_region",
    "coils",
    "combine",
    "compress_coils",
    "compression_matrix",
    "equispaced_lines_mask",
    "espirit",
    "espirit_maps",
    "lattice_mask",
    "mix_coils",
    "noise_covariance",
    "noncartesian_sense",
    "normalise_maps",
    "nufft",
    "poisson_disc_mask",
    "prewhiten",
    "random_lines_mask",
    "random_mask",
    "rss",
    "sense",
    "trajectories",
    "whitening_matrix",
]
