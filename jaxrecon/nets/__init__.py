"""Networks as flax.nnx modules: pytrees that jit, vmap and grad take as arguments.

An image network is called as ``net(x)`` on ``(..., y, x, channel)`` (``n_axes=3``:
``(..., z, y, x, channel)``): any leading axes, any size, channels last, the result in x's dtype.
Networks are built for evaluation; ``net.train()`` turns on dropout and batch statistics.
"""

from jaxrecon.nets import (
    generative,
    images,
    layers,
    pretrained,
    priors,
    reconstruction,
    storage,
)

__all__ = [
    "generative",
    "images",
    "layers",
    "pretrained",
    "priors",
    "reconstruction",
    "storage",
]
