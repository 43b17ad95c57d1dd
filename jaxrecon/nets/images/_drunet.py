"""DRUNet: the bias-free residual U-Net with a noise map (Zhang et al., arXiv:2008.13751)."""

import functools
import itertools
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.images._checks import check_channels
from jaxrecon.nets.layers import Conv, ConvBlock, Downsample, Norm, Upsample, pad_to_multiple


class DRUNet(nnx.Module):
    """Residual blocks at falling resolutions, skip connections added, no bias anywhere.

    The last input channel is by custom a map of the noise's standard deviation. With ReLUs and
    without biases the network is homogeneous: net([a x, a σ]) = a net([x, σ]) for a > 0. It does
    not add its input to the output.

    Parameters, with w = `width`, L = `depth`, b = `n_blocks`, K = 3^n_axes, S = 2^n_axes:

        K w (n_in + n_out) + w² (2·2 b K + 2·2 S) Σ_{l=0..L−1} 4^l + 2 b K w² 4^L

    that is 32 638 656 for the published ``DRUNet(2, 1)``, with whose layers this agrees.

    Args:
        n_in: channels of the input, the noise map with them.
        n_out: channels of the output.
        width: channels at full resolution, doubled with every halving of it.
        depth: number of halvings; sizes that 2^depth does not divide are mirrored and cropped.
        n_blocks: residual blocks before each halving, at the bottom, and after each doubling.
        n_axes: 2 for images, 3 for volumes.
        activation: a name in `layers.ACTIVATIONS`; "relu" and "leaky_relu" keep the homogeneity,
            "softplus" or "elu" make the network differentiable, as gradient-step denoisers need.
        padding: what stands outside the image; see `layers.Conv`.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Example:
        >>> net = DRUNet(2, 1, width=4, depth=1, n_blocks=1, rngs=nnx.Rngs(0))
        >>> x = jnp.stack([jnp.eye(6), jnp.full((6, 6), 0.1)], -1)
        >>> bool(jnp.allclose(net(3 * x), 3 * net(x), rtol=1e-4, atol=1e-5))
        True
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int = 64,
        depth: int = 3,
        n_blocks: int = 4,
        n_axes: int = 2,
        activation: str = "relu",
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.n_in, self.n_axes, self.depth = n_in, n_axes, depth
        shared: dict[str, Any] = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype}
        shared["rngs"] = rngs
        conv = functools.partial(Conv, padding=padding, use_bias=False, **shared)

        block = functools.partial(
            ConvBlock,
            conv=conv,
            norm=functools.partial(Norm, "none", rngs=rngs),
            activation=activation,
            residual=True,
            rngs=rngs,
        )

        def chain(w):
            return nnx.Sequential(*(block(w, w) for _ in range(n_blocks)))

        widths = [width * 2**level for level in range(depth + 1)]
        pairs = list(itertools.pairwise(widths))
        init = nnx.initializers.lecun_normal()
        self.first = conv(n_in, width, kernel_init=init)
        self.encoders = nnx.List([chain(w) for w, _ in pairs])
        self.downs = nnx.List([Downsample(w, v, method="stride", **shared) for w, v in pairs])
        self.bottom = chain(widths[-1])
        self.ups = nnx.List([Upsample(v, w, **shared) for w, v in pairs])
        self.decoders = nnx.List([chain(w) for w, _ in pairs])
        self.last = conv(width, n_out, kernel_init=init)

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The image network's result, ``(..., y, x, n_out)``.

        Raises:
            ValueError: x has not n_in channels.
        """
        check_channels(x, self.n_in, self.n_axes)
        padded, crop = pad_to_multiple(x, 2**self.depth, n_axes=self.n_axes)
        skips = [self.first(padded)]
        for encoder, down in zip(self.encoders, self.downs):
            skips.append(down(encoder(skips[-1])))
        features = self.bottom(skips[-1])
        for level in reversed(range(self.depth)):
            features = self.decoders[level](self.ups[level](features + skips[level + 1]))
        return crop(self.last(features + skips[0])).astype(x.dtype)
