"""Denoisers of images that are only partly seen, for priors learned from incomplete scans."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, PyTree

from jaxrecon.core import LinearOperator, pytree
from jaxrecon.nets.generative._edm import coefficients
from jaxrecon.nets.layers import from_channels, to_channels


class OfScan(nnx.Module):
    """``net(A, y, sigma)``: the image, from noisy data y = A(x₀ + σn) of a scan that misses some.

    The network sees Aᴴy, and what A misses by two images: AᴴA of ones, which is the mask where
    pixels are missing, and AᴴA of a point, the point-spread function where frequencies are. Data
    should have an AᴴA of about norm one. Preconditioned as `Preconditioned`, with Aᴴy for x.

    Args:
        net: ``net(x, level)`` on ``(..., y, x, channel)``, of three channels in and one out for
            real images, six and two for complex ones.
        sigma_data: σ_d, the root mean square of the images.

    Example:
        >>> from jaxrecon.nets.generative import ScoreUNet
        >>> from jaxrecon.physics import optics
        >>> net = ScoreUNet(3, 1, width=8, factors=(1,), n_blocks=1, rngs=nnx.Rngs(0))
        >>> A = optics.inpaint(jnp.eye(6) > 0, jnp.zeros((6, 6)))
        >>> OfScan(net, sigma_data=0.3)(A, A(jnp.ones((6, 6))), 0.1).shape
        (6, 6)
    """

    def __init__(self, net: Any, *, sigma_data: float = 0.5):
        if not sigma_data > 0:
            raise ValueError(f"`sigma_data` is {sigma_data}, expected a positive number")
        self.net = net
        self.sigma_data = float(sigma_data)

    def __call__(self, A: LinearOperator, y: PyTree, sigma: Any) -> Array:
        """The estimate of x₀."""
        z = A.adjoint(y)
        ones = jnp.ones_like(z)
        point = jnp.zeros_like(z).at[tuple(n // 2 for n in z.shape)].set(1)
        sigma = jnp.asarray(sigma, z.real.dtype)
        skip, out, scale, level = coefficients(sigma, self.sigma_data)
        seen = [scale * z, A.gram(ones), A.gram(point)]
        channels = jnp.concatenate([to_channels(image) for image in seen], -1)
        return skip * z + out * from_channels(self.net(channels, level), z)


@pytree
class Seen:
    """A network ``net(A, y, sigma)`` as a denoiser: D(x, σ) = net(A, A x, σ).

    With the identity for A, or a scan of the kind that the network was trained to see: where the
    training never showed whole images, a mask of the training is the safer choice (the fixed-mask
    sampler of Daras et al. 2023).

    Attributes:
        network: such as an `OfScan`.
        operator: A.
    """

    network: Any
    operator: Any

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image."""
        return self.network(self.operator, self.operator(x), sigma)
