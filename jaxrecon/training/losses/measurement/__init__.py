"""Losses from the measurement alone: consistency, equivariant and multi-operator imaging."""

from jaxrecon.training.losses.measurement._consistency import (
    ImagingConsistency,
    MeasurementConsistency,
    equivariant_imaging,
    multi_operator_imaging,
)
from jaxrecon.training.losses.measurement._groups import (
    Flips,
    Group,
    Product,
    QuarterTurns,
    Rotations,
    Shifts,
)

__all__ = [
    "Flips",
    "Group",
    "ImagingConsistency",
    "MeasurementConsistency",
    "Product",
    "QuarterTurns",
    "Rotations",
    "Shifts",
    "equivariant_imaging",
    "multi_operator_imaging",
]
