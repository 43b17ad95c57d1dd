"""What outlives training: checkpoints to go on from, files of weights, exported programs."""

from jaxrecon.nets.storage import (
    MismatchError,
    load_network,
    load_weights,
    read_weights,
    save_weights,
)
from jaxrecon.training.storage._checkpoint import Checkpoints
from jaxrecon.training.storage._export import export

__all__ = [
    "Checkpoints",
    "MismatchError",
    "export",
    "load_network",
    "load_weights",
    "read_weights",
    "save_weights",
]
