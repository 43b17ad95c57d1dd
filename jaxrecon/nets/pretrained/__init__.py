"""Networks that ship with jaxrecon, by name, each with a card and a checksum; and how to publish.

``load("denoiser-grey")`` is a denoiser ``D(x, sigma)``, ``load("ct-sparse")`` a reconstruction
network ``net(A, y)``. Their `card` says what they were trained on, how good they are, and what not
to use them for.
"""

from jaxrecon.nets.pretrained._architectures import (
    Architecture,
    Denoiser,
    DiffusionPrior,
    ImageNetwork,
    PrimalDual,
    Ridge,
    UnrolledIterations,
)
from jaxrecon.nets.pretrained._card import Card, Data, Figure, Stored, Training, versions
from jaxrecon.nets.pretrained._store import card, load, names, publish

__all__ = [
    "Architecture",
    "Card",
    "Data",
    "Denoiser",
    "DiffusionPrior",
    "Figure",
    "ImageNetwork",
    "PrimalDual",
    "Ridge",
    "Stored",
    "Training",
    "UnrolledIterations",
    "card",
    "load",
    "names",
    "publish",
    "versions",
]
