"""Data fidelities beyond least squares: robust losses, counts, magnitudes, the noise ball."""

from jaxrecon.functionals.fidelities._ball import NoiseBall
from jaxrecon.functionals.fidelities._counts import Poisson, Transmission
from jaxrecon.functionals.fidelities._magnitude import Amplitude, Intensity, Rician
from jaxrecon.functionals.fidelities._robust import Huber, LeastAbsolute, StudentT

__all__ = [
    "Amplitude",
    "Huber",
    "Intensity",
    "LeastAbsolute",
    "NoiseBall",
    "Poisson",
    "Rician",
    "StudentT",
    "Transmission",
]
