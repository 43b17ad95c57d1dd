"""Objects and honest raw data: analytic phantoms, anatomy from installed packages, simulated scans.

Nothing is downloaded. Images are `(y, x)`, x growing with the column and y with the row.
"""

from jaxrecon.data._anatomy import MU_WATER, Anatomy, ct_slice, downsample, t1_slice, t1_volume
from jaxrecon.data._ellipses import (
    Ellipses,
    ellipses,
    modified_shepp_logan,
    random_ellipses,
    shepp_logan,
)
from jaxrecon.data._kspace import cartesian_coordinates, kspace
from jaxrecon.data._line_integrals import bin_averages, line_integrals, ray_integrals
from jaxrecon.data._raster import area_average, rasterise
from jaxrecon.data._simulate_ct import CTSimulation, simulate_ct
from jaxrecon.data._simulate_mri import MRISimulation, simulate_mri

__all__ = [
    "MU_WATER",
    "Anatomy",
    "CTSimulation",
    "Ellipses",
    "MRISimulation",
    "area_average",
    "bin_averages",
    "cartesian_coordinates",
    "ct_slice",
    "downsample",
    "ellipses",
    "kspace",
    "line_integrals",
    "modified_shepp_logan",
    "random_ellipses",
    "rasterise",
    "ray_integrals",
    "shepp_logan",
    "simulate_ct",
    "simulate_mri",
    "t1_slice",
    "t1_volume",
]
