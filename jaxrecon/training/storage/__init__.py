"""What outlives training: checkpoints to go on from, files of weights, exported programs."""

from jaxrecon.training.storage._checkpoint import Checkpoints
from jaxrecon.training.storage._export import export
from jaxrecon.training.storage._files import MismatchError
from jaxrecon.training.storage._weights import (
    load_network,
    load_weights,
    read_weights,
    save_weights,
)

__all__ = [
    "Checkpoints",
    "MismatchError",
    "export",
    "load_network",
    "load_weights",
    "read_weights",
    "save_weights",
]
