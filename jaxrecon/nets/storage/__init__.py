"""Files of trained weights: whole or not at all, checksummed, refused by the name of an array."""

from jaxrecon.nets.storage._files import MismatchError
from jaxrecon.nets.storage._weights import load_network, load_weights, read_weights, save_weights

__all__ = ["MismatchError", "load_network", "load_weights", "read_weights", "save_weights"]
