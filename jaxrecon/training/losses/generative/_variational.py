"""Losses of generators whose likelihood is known or bounded: autoencoders and flows.

For p(x | z) = N(decoder of z, s²), z ~ N(0, 1), and q(z | x) of the encoder,

    −log p(x) ≤ E_q[ ‖x − x̂‖²/2s² + ½ n log 2πs² ] + KL(q(z | x) ‖ N(0, 1)),               (1)

with equality where q is the posterior of z (Kingma and Welling, ICLR 2014). β > 1 times the second
term makes simpler latents (Higgins et al., ICLR 2017), β < 1 sharper images.
"""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxrecon.core import pytree, static, tree
from jaxrecon.nets.generative import random_patches, reparametrised
from jaxrecon.nets.layers import from_channels, to_channels
from jaxrecon.training.losses._loss import Batch, Metrics, entries


@pytree
class ELBO:
    """The right side of (1) for a `VAE`, in nats for each number of the image; z drawn once.

    The batch has "x", an image without channels, real or complex. The metrics are both terms, also
    for each number, and the mean squared error.

    Attributes:
        sigma: s, in the image's units: what the decoder need not explain.
        beta: β.

    Example:
        >>> from flax import nnx
        >>> from jaxrecon.nets.generative import VAE
        >>> net = VAE(1, width=8, depth=1, rngs=nnx.Rngs(0))
        >>> value, metrics = ELBO(0.1)(net, {"x": jnp.ones((4, 4))}, nnx.Rngs(1)())
        >>> sorted(metrics)
        ['divergence', 'error', 'reconstruction']
    """

    sigma: Any = 0.1
    beta: Any = 1.0

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of an autoencoder with `encode` and `decode`.

        Raises:
            ValueError: the batch has no "x".
        """
        (x,) = entries(batch, "x")
        channels = to_channels(x)
        mean, log_variance = net.encode(channels)
        decoded = net.decode(reparametrised(mean, log_variance, key))
        error = tree.sum_of_squares(from_channels(decoded, x) - x) / channels.size
        variance = jnp.square(jnp.asarray(self.sigma))
        reconstruction = error / (2 * variance) + 0.5 * jnp.log(2 * math.pi * variance)
        divergence = gaussian_divergence(mean, log_variance) / channels.size
        metrics = {"reconstruction": reconstruction, "divergence": divergence, "error": error}
        return reconstruction + self.beta * divergence, metrics


def gaussian_divergence(mean: Array, log_variance: Array) -> Float[Array, ""]:
    """KL(N(mean, exp(log_variance)) ‖ N(0, 1)), the sum over entries.

    Example:
        >>> float(gaussian_divergence(jnp.array([2.0, 0.0]), jnp.zeros(2)))
        2.0
    """
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance)


@pytree
class PatchLikelihood:
    """−log q of patches drawn from an image, in nats for each number: trains a `PatchFlow`.

    The batch has "x", an image without channels, real or complex.

    Attributes:
        n_patches: drawn from each image in each step.
    """

    n_patches: int = static(default=64)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a flow.

        Raises:
            ValueError: the batch has no "x".
        """
        (x,) = entries(batch, "x")
        options = {"n_axes": net.n_axes}
        patches = random_patches(key, to_channels(x), net.side, self.n_patches, **options)
        return -jnp.mean(net.log_density(patches)) / net.n_entries, {}
