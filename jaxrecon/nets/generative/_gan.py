"""A small generator for adversarial training, in the manner of DCGAN (Radford et al., ICLR 2016).

The critic is `images.PatchGAN` or any other; `training.losses.adversarial_step` trains both.
"""

import functools
import itertools
import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.generative._decoders import doubled
from jaxrecon.nets.layers import Conv, Norm, activation_named


class DCGAN(nnx.Module):
    """A vector to an image: a few pixels of many channels, doubled until they are the image.

    At every doubling linear interpolation and a convolution, which leave no checkerboard where
    transposed convolutions do (Odena et al., Distill 2016). `layers` are its parts, whose outputs
    `posterior.latent.search_layers` searches too.

    Parameters, with w_l = `width` · 2^min(D − l, 3) after l of D = `depth` doublings,
    p = Π `start`, K = 3^n_axes and layer norms:

        (n_latent + 1) p w_0 + Σ_{l<D} (K w_l + 1) w_{l+1} + (K w_D + 1) n_out + 2 Σ_{l≤D} w_l.

    Args:
        n_latent: length of z.
        n_out: channels of the image.
        start: sizes of the smallest features, ``(y, x)``.
        width: channels at full resolution.
        depth: number of doublings.
        norm: "layer", "group", "instance" or "none"; see `layers.Norm`.
        n_groups: of "group".
        activation: a name in `layers.ACTIVATIONS`.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Example:
        >>> G = DCGAN(16, 1, start=(3, 4), width=4, depth=2, rngs=nnx.Rngs(0))
        >>> G(jnp.ones((5, 16))).shape, len(G.layers)
        ((5, 12, 16, 1), 4)
    """

    def __init__(
        self,
        n_latent: int,
        n_out: int,
        *,
        start: tuple[int, ...] = (4, 4),
        width: int = 32,
        depth: int = 3,
        norm: str = "layer",
        n_groups: int = 8,
        activation: str = "leaky_relu",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        n_axes = len(start)
        widths = [width * 2 ** min(depth - level, 3) for level in range(depth + 1)]
        shared: dict[str, Any] = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype}
        shared["rngs"] = rngs
        make_norm = functools.partial(Norm, norm, n_groups=n_groups, **shared)
        pairs = itertools.pairwise(widths)
        init = nnx.initializers.lecun_normal()
        self.first = _Start(n_latent, start, widths[0], make_norm, activation, shared)
        blocks = [_Doubling(Conv(w, v, **shared), make_norm(v), activation) for w, v in pairs]
        self.blocks = nnx.List(blocks)
        self.last = Conv(widths[-1], n_out, kernel_init=init, **shared)

    @property
    def layers(self) -> tuple[Any, ...]:
        """The parts, the first one first: their composition is the network."""
        return (self.first, *self.blocks, self.last)

    def __call__(self, x: Float[Array, "... n_latent"]) -> Float[Array, "... n_out"]:
        """The images ``(..., y, x, n_out)`` of latents ``(..., n_latent)``.

        Raises:
            ValueError: x has not n_latent entries.
        """
        features = x
        for layer in self.layers:
            features = layer(features)
        return features.astype(x.dtype)


class _Start(nnx.Module):
    """A vector to the smallest features."""

    def __init__(
        self,
        n_latent: int,
        start: tuple[int, ...],
        width: int,
        norm: Any,
        activation: str,
        shared: dict[str, Any],
    ):
        self.n_latent = n_latent
        self.spread = Conv(n_latent, math.prod(start) * width, kernel=1, **shared)
        self.norm, self.activation = norm(width), activation
        self.shape = (*start, width)

    def __call__(self, z: Float[Array, "... n_latent"]) -> Float[Array, "... width"]:
        if z.ndim < 1 or z.shape[-1] != self.n_latent:
            raise ValueError(
                f"`x` has shape {z.shape}, expected (..., {self.n_latent}): one latent or a batch"
            )
        # A convolution of one pixel is the linear map, and has the image's axes.
        pixel = z.reshape(*z.shape[:-1], *(1,) * (len(self.shape) - 1), self.n_latent)
        features = self.spread(pixel).reshape(*z.shape[:-1], *self.shape)
        return activation_named(self.activation)(self.norm(features))


class _Doubling(nnx.Module):
    """Twice the resolution, then a convolution, norm and activation."""

    def __init__(self, conv: Any, norm: Any, activation: str):
        activation_named(activation)  # refuses an unknown one here
        self.conv, self.norm, self.activation = conv, norm, activation

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        n_axes = self.conv.kernel.ndim - 2
        features = self.norm(self.conv(doubled(x, n_axes)))
        return activation_named(self.activation)(features)
