"""Networks that know the noise level as denoisers and fields of images.

Karras, Aittala, Aila and Laine (NeurIPS 2022) let a network F see inputs, and be asked for outputs,
of variance one at any noise level: with σ_d the root mean square of the images,

    D(x, σ) = c_skip x + c_out F(c_in x, ln(σ)/4),                                         (1)
    c_skip = σ_d²/(σ² + σ_d²),   c_out = σ σ_d/√(σ² + σ_d²),   c_in = 1/√(σ² + σ_d²).       (2)
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxrecon.core import pytree
from jaxrecon.nets.layers import from_channels, to_channels

_QUIETEST = 1e-4  # of σ_d: below this the network is told no other level


class Field(nnx.Module):
    """A network on channels as a field of images, ``f(x, level)``, x being ``(..., y, x)``.

    A real image is one channel, a complex one two. As it is, the network of
    `posterior.FromVelocity`, `FromNoise` and `FromScore`.

    Args:
        net: ``net(x, level, condition)`` on ``(..., y, x, channel)``, such as a `ScoreUNet`.

    Example:
        >>> from jaxrecon.nets.generative import ScoreUNet
        >>> net = ScoreUNet(2, 2, width=8, factors=(1,), n_blocks=1, rngs=nnx.Rngs(0))
        >>> Field(net)(jnp.ones((6, 5), jnp.complex64), 0.5).shape
        (6, 5)
    """

    def __init__(self, net: Any):
        self.net = net

    def __call__(self, x: Array, level: Any, condition: Any = None) -> Array:
        """An image like x; level is a scalar, or has the leading axes of x.

        Raises:
            ValueError: the network was built for another kind of image.
        """
        return from_channels(self.net(to_channels(jnp.asarray(x)), level, condition), x)


class Preconditioned(nnx.Module):
    """A denoiser ``D(x, sigma)`` made of a network by equation (1), for any noise level.

    x is ``(..., y, x)``, real or, with a network of two channels, complex. Where σ is zero, so is
    c_out, and x comes back.

    Args:
        net: ``net(x, level, condition)`` on ``(..., y, x, channel)``, such as a `ScoreUNet`.
        sigma_data: σ_d, the root mean square of the images; of each part of complex ones.

    Raises:
        ValueError: a σ_d that is not positive.

    Example:
        >>> from jaxrecon.nets.generative import ScoreUNet
        >>> net = ScoreUNet(1, 1, width=8, factors=(1,), n_blocks=1, rngs=nnx.Rngs(0))
        >>> D = Preconditioned(net, sigma_data=0.3)
        >>> D(jnp.ones((6, 5)), 0.1).shape, float(D(jnp.ones((6, 5)), 0.0)[0, 0])
        ((6, 5), 1.0)
    """

    def __init__(self, net: Any, *, sigma_data: float = 0.5):
        if not sigma_data > 0:
            raise ValueError(f"`sigma_data` is {sigma_data}, expected a positive number")
        self.field = Field(net)
        self.sigma_data = float(sigma_data)

    def __call__(self, x: Array, sigma: Any, condition: Any = None) -> Array:
        """The denoised image; sigma is a scalar, or has the leading axes of x.

        Raises:
            ValueError: the network was built for another kind of image.
        """
        x = jnp.asarray(x)
        sigma = jnp.asarray(sigma, x.real.dtype)
        skip, out, scale, level = coefficients(sigma, self.sigma_data)
        space = (..., None, None) if sigma.ndim else ...
        inner = self.field(x * scale[space], level, condition)
        return skip[space] * x + out[space] * inner


def coefficients(sigma: Array, sigma_data: float) -> tuple[Array, Array, Array, Array]:
    """c_skip, c_out, c_in of equations (2), and the level of (1)."""
    total = jnp.square(sigma) + sigma_data**2
    level = jnp.log(jnp.maximum(sigma, _QUIETEST * sigma_data)) / 4
    scale = 1 / jnp.sqrt(total)
    return sigma_data**2 / total, sigma * sigma_data * scale, scale, level


@pytree
class Conditioned:
    """A conditional network under one condition: ``D(x, sigma)`` of ``D(x, sigma, condition)``.

    With a weight w other than 1, u + w (D − u) with the unconditional u, which has a zero
    condition (classifier-free guidance; Ho and Salimans, 2022): w > 1 exaggerates the condition,
    and samples are of no prior any more. For that the network must have been trained with
    conditions dropped.

    Attributes:
        network: a denoiser or a field.
        condition: a vector.
        weight: w; None for 1, at the cost of one call.
    """

    network: Any
    condition: Any
    weight: Any = None

    def __call__(self, x: Array, level: Any) -> Array:
        """The network's result under the condition."""
        given = self.network(x, level, self.condition)
        if self.weight is None:
            return given
        plain = self.network(x, level, jnp.zeros_like(self.condition))
        return plain + jnp.asarray(self.weight, x.real.dtype) * (given - plain)
