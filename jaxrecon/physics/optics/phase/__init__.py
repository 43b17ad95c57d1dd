"""Phase retrieval: fields whose phase the detector does not see, and how to start from that."""

from jaxrecon.physics.optics.phase._modulus import align_phase, amplitude, intensity, overlap
from jaxrecon.physics.optics.phase._ptychography import (
    Ptychography,
    ptychography,
    raster_positions,
)
from jaxrecon.physics.optics.phase._spectral import spectral_init
from jaxrecon.physics.optics.phase._transmission import (
    CodedDiffraction,
    Transmission,
    coded_diffraction,
    random_phase_masks,
    random_transmission,
    transmission,
)

__all__ = [
    "CodedDiffraction",
    "Ptychography",
    "Transmission",
    "align_phase",
    "amplitude",
    "coded_diffraction",
    "intensity",
    "overlap",
    "ptychography",
    "random_phase_masks",
    "random_transmission",
    "raster_positions",
    "spectral_init",
    "transmission",
]
