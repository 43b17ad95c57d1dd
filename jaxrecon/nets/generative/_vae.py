"""Variational autoencoders: images as normal latents and back (Kingma and Welling, ICLR 2014).

    q(z | x) = N(μ(x), exp(v(x))),    z = μ + exp(v/2) n,    x̂ = decoder of z               (1)

Fully convolutional, as for latent diffusion (Rombach et al., CVPR 2022): latents are small images,
one pixel of them where 2^depth is the image's size. `training.losses.ELBO` trains one.
"""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from jaxrecon.nets.generative._decoders import doubled
from jaxrecon.nets.images._checks import check_channels
from jaxrecon.nets.layers import Conv, ConvBlock, Downsample, Norm, activation_named


class VAE(nnx.Module):
    """An encoder to means and log variances of latents, and a decoder.

    Called on an image it gives the decoder's of the mean. Sizes are multiples of 2^depth.

    Parameters, with w_l = `width` · 2^min(l, 2), n = `n_latent`, D = `depth`, K = 3^n_axes,
    S = 2^n_axes and group norms:

        4 Σ_{l≤D} (K w_l² + 2 w_l) + (S + 1) Σ_{l<D} w_l w_{l+1}
        + (2 K n_in + 3) w_0 + 3 (n + 1) w_D + 2 n + n_in.

    Args:
        n_in: channels of the image.
        n_latent: channels of the latents.
        width: channels at full resolution, doubled with each of the first two halvings.
        depth: number of halvings of the resolution.
        norm: "group" or "none"; see `layers.Norm`.
        n_groups: of "group".
        activation: a name in `layers.ACTIVATIONS`.
        n_axes: 2 for images, 3 for volumes.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Example:
        >>> net = VAE(1, n_latent=3, width=8, depth=2, rngs=nnx.Rngs(0))
        >>> mean, log_variance = net.encode(jnp.ones((8, 12, 1)))
        >>> mean.shape, net.decode(mean).shape
        ((2, 3, 3), (8, 12, 1))
    """

    def __init__(
        self,
        n_in: int,
        *,
        n_latent: int = 4,
        width: int = 32,
        depth: int = 3,
        norm: str = "group",
        n_groups: int = 8,
        activation: str = "silu",
        n_axes: int = 2,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.n_in, self.n_latent, self.n_axes, self.depth = n_in, n_latent, n_axes, depth
        self.activation = activation
        shared: dict[str, Any] = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype}
        shared["rngs"] = rngs
        mix = functools.partial(Conv, kernel=1, kernel_init=nnx.initializers.lecun_normal())
        make_norm = functools.partial(Norm, norm, n_groups=n_groups, **shared)
        block = functools.partial(
            ConvBlock,
            conv=functools.partial(Conv, use_bias=norm == "none", **shared),
            norm=make_norm,
            activation=activation,
            residual=True,
            n_axes=n_axes,
            rngs=rngs,
        )
        widths = [width * 2 ** min(level, 2) for level in range(depth + 1)]
        pairs, top = list(itertools.pairwise(widths)), widths[-1]
        self.first = Conv(n_in, width, **shared)
        self.encoders = nnx.List([block(w, w) for w in widths])
        self.downs = nnx.List([Downsample(w, v, method="shuffle", **shared) for w, v in pairs])
        self.norm = make_norm(top)
        self.moments = mix(top, 2 * n_latent, **shared)
        self.start = mix(n_latent, top, **shared)
        self.decoders = nnx.List([block(w, w) for w in reversed(widths)])
        self.ups = nnx.List([mix(v, w, use_bias=False, **shared) for w, v in reversed(pairs)])
        self.last_norm = make_norm(width)
        self.last = Conv(width, n_in, kernel_init=nnx.initializers.lecun_normal(), **shared)

    def encode(self, x: Float[Array, "... n_in"]) -> tuple[Array, Array]:
        """Mean and log variance of the latents, ``(..., y / 2^depth, x / 2^depth, n_latent)``.

        Raises:
            ValueError: x has not n_in channels, or sizes that 2^depth does not divide.
        """
        check_channels(x, self.n_in, self.n_axes)
        sizes = x.shape[-self.n_axes - 1 : -1]
        if any(n % 2**self.depth for n in sizes):
            raise ValueError(f"`x` has sizes {sizes}, expected multiples of {2**self.depth}")
        features = self.encoders[0](self.first(x))
        for down, block in zip(self.downs, self.encoders[1:]):
            features = block(down(features))
        rho = activation_named(self.activation)
        moments = self.moments(rho(self.norm(features))).astype(x.dtype)
        mean, log_variance = jnp.split(moments, 2, -1)
        return mean, log_variance

    def decode(self, z: Float[Array, "... n_latent"]) -> Float[Array, "... n_in"]:
        """The image of latents.

        Raises:
            ValueError: z has not n_latent channels.
        """
        if z.ndim <= self.n_axes or z.shape[-1] != self.n_latent:
            raise ValueError(f"`z` has shape {z.shape}, expected {self.n_latent} channels, last")
        features = self.decoders[0](self.start(z))
        for up, block in zip(self.ups, self.decoders[1:]):
            features = block(doubled(up(features), self.n_axes))
        rho = activation_named(self.activation)
        return self.last(rho(self.last_norm(features))).astype(z.dtype)

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_in"]:
        """The decoder's image of the latents' mean."""
        return self.decode(self.encode(x)[0])


def reparametrised(mean: Array, log_variance: Array, key: Key[Array, ""]) -> Array:
    """A draw of N(mean, exp(log_variance)) that is differentiable in both, equation (1)."""
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.exp(0.5 * log_variance) * noise


class VAEDecoder(nnx.Module):
    """The decoder alone as a generator ``G(z)``."""

    def __init__(self, vae: Any):
        self.vae = vae

    def __call__(self, z: Float[Array, "... n_latent"]) -> Float[Array, "... n_in"]:
        """The image of latents."""
        return self.vae.decode(z)
