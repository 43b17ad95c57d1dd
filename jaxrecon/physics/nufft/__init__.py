"""Non-uniform Fourier transforms in one, two and three dimensions, for MRI and parallel-beam CT."""

from jaxrecon.physics.nufft._operator import NUFFT, nufft
from jaxrecon.physics.nufft._plan import Plan
from jaxrecon.physics.nufft._toeplitz import Toeplitz
from jaxrecon.physics.nufft.density import (
    pipe_density,
    radial_density,
    spiral_density,
    voronoi_density,
)

__all__ = [
    "NUFFT",
    "Plan",
    "Toeplitz",
    "nufft",
    "pipe_density",
    "radial_density",
    "spiral_density",
    "voronoi_density",
]
