"""Losses that need no truth: splits of a scan, pairs of measurements, recorruption, risk."""

from jaxrecon.training.losses.self_supervised._noise import (
    GammaNoise,
    GaussianNoise,
    Noise,
    PoissonNoise,
)
from jaxrecon.training.losses.self_supervised._pairs import (
    Neighbour2Neighbour,
    Noise2Inverse,
    Noise2Noise,
    noise2inverse,
)
from jaxrecon.training.losses.self_supervised._recorruption import (
    KSpaceNoisier2Noise,
    Noisier2Noise,
    Recorrupted2Recorrupted,
    corrected,
)
from jaxrecon.training.losses.self_supervised._rows import (
    Restricted,
    measured,
    restrict,
    unit_axes,
    units,
    unmasked,
)
from jaxrecon.training.losses.self_supervised._splits import (
    GaussianSplit,
    Split,
    SubsetSplit,
    UniformSplit,
    VariableDensitySplit,
    sampling_density,
)
from jaxrecon.training.losses.self_supervised._ssdu import (
    SSDU,
    RobustSSDU,
    WeightedSSDU,
    held_out_weights,
)
from jaxrecon.training.losses.self_supervised._subsets import SubsetSSDU, select
from jaxrecon.training.losses.self_supervised._sure import SURE, UNSURE, WithNoiseLevel

__all__ = [
    "SSDU",
    "SURE",
    "UNSURE",
    "GammaNoise",
    "GaussianNoise",
    "GaussianSplit",
    "KSpaceNoisier2Noise",
    "Neighbour2Neighbour",
    "Noise",
    "Noise2Inverse",
    "Noise2Noise",
    "Noisier2Noise",
    "PoissonNoise",
    "Recorrupted2Recorrupted",
    "Restricted",
    "RobustSSDU",
    "Split",
    "SubsetSSDU",
    "SubsetSplit",
    "UniformSplit",
    "VariableDensitySplit",
    "WeightedSSDU",
    "WithNoiseLevel",
    "corrected",
    "held_out_weights",
    "measured",
    "noise2inverse",
    "restrict",
    "sampling_density",
    "select",
    "unit_axes",
    "units",
    "unmasked",
]
