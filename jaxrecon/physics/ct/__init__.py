"""X-ray tomography: scans as linear operators, filtered backprojection, preparation of raw data."""

from jaxrecon.physics.ct._astra import from_astra
from jaxrecon.physics.ct._center import Center, find_center
from jaxrecon.physics.ct._fan import Fan, fan_beam, fan_from_poses
from jaxrecon.physics.ct._fbp import fbp
from jaxrecon.physics.ct._fourier import FourierGram
from jaxrecon.physics.ct._parallel import FourierParallel, Parallel, parallel_beam
from jaxrecon.physics.ct._preprocess import (
    LineIntegrals,
    Report,
    beer_lambert,
    flat_correct,
    minus_log,
    monitor_correct,
    remove_stripes,
    remove_zingers,
    repair,
    repair_dead_bins,
)

__all__ = [
    "Center",
    "Fan",
    "FourierGram",
    "FourierParallel",
    "LineIntegrals",
    "Parallel",
    "Report",
    "beer_lambert",
    "fan_beam",
    "fan_from_poses",
    "fbp",
    "find_center",
    "flat_correct",
    "from_astra",
    "minus_log",
    "monitor_correct",
    "parallel_beam",
    "remove_stripes",
    "remove_zingers",
    "repair",
    "repair_dead_bins",
]
