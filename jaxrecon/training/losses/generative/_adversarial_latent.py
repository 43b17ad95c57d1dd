"""Adversarial training of a generator: latents in place of measurements.

`adversarial_step` plays its games between a critic and a reconstructor ``net(A, y)``. A generator
is one whose measurement is a latent, and for which there is no truth to compare with:

    step = adversarial_step(optimiser, critic_optimiser, content=None, weight=1.0)
    graphs, state = step.init(Generation(G), critic, key=key)
    state, metrics = step(graphs, state, latent_batch(key, images, n_latent=64))
"""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Inexact, Key

from jaxrecon.nets.layers import from_channels
from jaxrecon.training.losses._loss import Batch


class Generation(nnx.Module):
    """A generator with channels last as a reconstructor: its y is the latent.

    Its A is any image, of which only the dtype matters.

    Args:
        generator: ``G(z)``.
    """

    def __init__(self, generator: Any):
        self.generator = generator

    def __call__(self, A: Any, y: Array) -> Inexact[Array, "..."]:
        """The image of a latent."""
        return from_channels(self.generator(y), A)


def latent_batch(
    key: Key[Array, ""], images: Inexact[Array, "example ..."], *, n_latent: int
) -> Batch:
    """A batch of real images with as many latents of N(0, 1).

    Args:
        key: of the latents.
        images: real or complex, without channels.
        n_latent: length of a latent.

    Example:
        >>> import jax.numpy as jnp
        >>> batch = latent_batch(jax.random.key(0), jnp.ones((3, 8, 8)), n_latent=5)
        >>> batch["y"].shape, batch["real"].shape
        ((3, 5), (3, 8, 8))
    """
    z = jax.random.normal(key, (len(images), n_latent), images.real.dtype)
    return {"y": z, "real": images, "A": images}
