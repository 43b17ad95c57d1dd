"""Image networks, channels last, as denoisers of images."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxrecon.nets.layers import from_channels, to_channels


class ImageDenoiser(nnx.Module):
    """An image network as a denoiser ``D(x, sigma)``, x being ``(..., y, x)`` without channels.

    A real image is one channel, a complex one two (or wrap the denoiser of a real network in
    `functionals.denoisers.Complex`).

    Args:
        net: maps ``(..., y, x, channel)`` to as many channels as the image has.
        noise_map: whether the network's last input channel is sigma, everywhere the same. Else it
            is blind, and denoises with a strength of its own whatever sigma is.
        residual: whether the network estimates the noise, which is then taken away. (`DnCNN` and
            `UNet` with residual=True take it away themselves: False for those.)
        margin: pixels by which the image is mirrored over its borders before, and cropped after.
        n_axes: the image's axes; by default those the network says it has, or 2.

    Example:
        >>> from jaxrecon.nets.images import DnCNN
        >>> D = ImageDenoiser(DnCNN(2, 1, width=4, depth=3, rngs=nnx.Rngs(0)), noise_map=True)
        >>> D(jnp.ones((6, 5)), 0.1).shape
        (6, 5)
    """

    def __init__(
        self,
        net: Any,
        *,
        noise_map: bool,
        residual: bool = False,
        margin: int = 0,
        n_axes: int | None = None,
    ):
        self.net = net
        self.noise_map, self.residual, self.margin = noise_map, residual, margin
        self.n_axes = getattr(net, "n_axes", 2) if n_axes is None else n_axes

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image; sigma is a scalar, or broadcasts against x.

        Raises:
            ValueError: the network was built for another kind of image, or x is smaller than the
                margin.
        """
        x = jnp.asarray(x)
        wide = self._mirrored(to_channels(x))
        self._check(x, wide.shape[-1])
        seen = wide
        if self.noise_map:
            level = jnp.broadcast_to(jnp.asarray(sigma, wide.dtype), x.shape)
            seen = jnp.concatenate([wide, self._mirrored(level[..., None])], -1)
        result = self.net(seen)
        return from_channels(self._cropped(wide - result if self.residual else result), x)

    def _mirrored(self, features: Array) -> Array:
        m = self.margin
        lead = features.ndim - self.n_axes - 1
        return jnp.pad(features, ((0, 0),) * lead + ((m, m),) * self.n_axes + ((0, 0),), "reflect")

    def _cropped(self, features: Array) -> Array:
        inside = slice(self.margin, -self.margin or None)
        return features[(..., *(inside,) * self.n_axes, slice(None))]

    def _check(self, x: Array, n_parts: int) -> None:
        if min(x.shape[x.ndim - self.n_axes :]) <= self.margin:
            raise ValueError(
                f"`x` has shape {x.shape}, expected more than `margin` = {self.margin}"
            )
        wanted = n_parts + self.noise_map
        n_in = getattr(self.net, "n_in", wanted)
        if n_in != wanted:
            kind = "complex" if n_parts == 2 else "real"
            raise ValueError(
                f"`net` takes {n_in} channels, but a {kind} image"
                f"{' with its noise map' if self.noise_map else ''} has {wanted}: change "
                "`noise_map`, or wrap the denoiser in `Complex`"
            )
