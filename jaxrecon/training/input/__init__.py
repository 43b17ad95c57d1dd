"""Data for training: sources of examples, batches whose place can be stored, augmentation."""

from jaxrecon.training.input._augment import Augment, augmented, flip, rotate90, shift, zoom
from jaxrecon.training.input._batches import Batches, Data, padded_batches
from jaxrecon.training.input._order import ArraySource, Source
from jaxrecon.training.input._simulate import (
    Gaussian,
    Measure,
    Photons,
    random_masks,
    simulated,
)
from jaxrecon.training.input._sources import ImageFiles, ScanSlices

__all__ = [
    "ArraySource",
    "Augment",
    "Batches",
    "Data",
    "Gaussian",
    "ImageFiles",
    "Measure",
    "Photons",
    "ScanSlices",
    "Source",
    "augmented",
    "flip",
    "padded_batches",
    "random_masks",
    "rotate90",
    "shift",
    "simulated",
    "zoom",
]
