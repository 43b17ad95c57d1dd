"""Non-uniform Fourier transforms in one, two and three dimensions, for MRI and parallel-beam CT."""

from jaxrecon.physics.nufft._operator import NUFFT, nufft
from jaxrecon.physics.nufft._plan import Plan
from jaxrecon.physics.nufft._toeplitz import Toeplitz

__all__ = ["NUFFT", "Plan", "Toeplitz", "nufft"]
