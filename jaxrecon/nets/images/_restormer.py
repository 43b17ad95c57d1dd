"""Restormer: a U-shaped transformer with attention between channels (arXiv:2111.09881)."""

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.images._checks import check_channels, check_residual
from jaxrecon.nets.layers import (
    ChannelAttention,
    Conv,
    Downsample,
    Norm,
    Upsample,
    pad_to_multiple,
)


class GatedFeedForward(nnx.Module):
    """Restormer's feed-forward part, eq. 2: one half of the features gates the other.

    Parameters, with c channels, h hidden ones and K = 3^n_axes: 3 c h + 2 K h.

    Args:
        n_channels: of input and output.
        n_hidden: of each half.
        n_axes: 2 for images, 3 for volumes.
        padding: what stands outside the image.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        n_channels: int,
        n_hidden: int,
        *,
        n_axes: int = 2,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shared: dict[str, Any] = {"n_axes": n_axes, "use_bias": False, "dtype": dtype}
        shared |= {"param_dtype": param_dtype, "rngs": rngs}
        shared |= {"kernel_init": nnx.initializers.lecun_normal()}
        n = 2 * n_hidden
        self.widen = Conv(n_channels, n, kernel=1, **shared)
        self.local = Conv(n, n, groups=n, padding=padding, **shared)
        self.narrow = Conv(n_hidden, n_channels, kernel=1, **shared)

    def __call__(self, x: Float[Array, "... channel"]) -> Float[Array, "... channel"]:
        """Features of the same shape."""
        gate, value = jnp.split(self.local(self.widen(x)), 2, -1)
        return self.narrow(jax.nn.gelu(gate) * value)


class RestormerBlock(nnx.Module):
    """Attention between channels and a gated feed-forward part, each residual after a norm.

    Parameters, with c channels, h heads, H = ⌊expansion · c⌋, K = 3^n_axes:
    4 c² + 3 K c + h + 3 c H + 2 K H + 4 c.

    Args:
        n_channels: of input and output.
        n_heads: of attention.
        expansion: hidden channels of the feed-forward part over n_channels.
        n_axes: 2 for images, 3 for volumes.
        padding: what stands outside the image.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        n_channels: int,
        *,
        n_heads: int,
        expansion: float = 2.66,
        n_axes: int = 2,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shared: dict[str, Any] = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype}
        shared["rngs"] = rngs
        self.norms = nnx.List([Norm("layer", n_channels, **shared) for _ in range(2)])
        shared["padding"] = padding
        self.attention = ChannelAttention(n_channels, n_heads=n_heads, **shared)
        self.feed_forward = GatedFeedForward(n_channels, int(expansion * n_channels), **shared)

    def __call__(self, x: Float[Array, "... channel"]) -> Float[Array, "... channel"]:
        """Features of the same shape."""
        x = x + self.attention(self.norms[0](x))
        return x + self.feed_forward(self.norms[1](x))


class Restormer(nnx.Module):
    """Transformer blocks at falling resolutions, joined again on the way up.

    As published but for the changes of resolution, which mix the channels of blocks of two pixels
    along each axis, and for the join at full resolution, which halves the channels as the others
    do.

    Parameters, with w = `width`, w_l = 2^l w at level l of L + 1, K = 3^n_axes, S = 2^n_axes and
    B_l those of one block: K w (n_in + n_out) + n_L B_L + n_refinement B_0
    + Σ_{l<L} (2 n_l B_l + (2 S + 2 · 6^n_axes + 2) w_l²).

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        width: channels at full resolution, doubled with every halving of it.
        n_blocks: n_l, blocks at each level, the bottom last; on the way up the same.
        n_heads: heads at each level; divide its channels.
        n_refinement: further blocks at full resolution.
        expansion: hidden channels of the feed-forward parts over those outside.
        residual: whether the first n_out channels of the input are added to the output.
        n_axes: 2 for images, 3 for volumes.
        padding: what stands outside the image; see `layers.Conv`.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Raises:
        ValueError: blocks and heads for different numbers of levels, or heads that don't divide.

    Example:
        >>> net = Restormer(1, 1, width=4, n_blocks=(1,), n_heads=(2,), rngs=nnx.Rngs(0))
        >>> net(jnp.ones((5, 6, 1))).shape
        (5, 6, 1)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int = 48,
        n_blocks: Sequence[int] = (4, 6, 6, 8),
        n_heads: Sequence[int] = (1, 2, 4, 8),
        n_refinement: int = 4,
        expansion: float = 2.66,
        residual: bool = True,
        n_axes: int = 2,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if len(n_blocks) != len(n_heads):
            raise ValueError(f"`n_heads` is {n_heads}, expected one for each of {n_blocks=}")
        if residual:
            check_residual(n_in, n_out)
        self.n_in, self.n_out, self.n_axes = n_in, n_out, n_axes
        self.residual, self.depth = residual, len(n_blocks) - 1
        shared: dict[str, Any] = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype}
        shared["rngs"] = rngs
        block = functools.partial(RestormerBlock, expansion=expansion, padding=padding, **shared)

        def chain(level, n):
            blocks = [block(width * 2**level, n_heads=n_heads[level]) for _ in range(n)]
            return nnx.List(blocks)

        plain = functools.partial(
            Conv, use_bias=False, kernel_init=nnx.initializers.lecun_normal(), **shared
        )
        levels = range(self.depth)
        widths = [width * 2**level for level in range(self.depth + 1)]
        pairs = list(itertools.pairwise(widths))
        self.first = plain(n_in, width, padding=padding)
        self.encoders = nnx.List([chain(level, n_blocks[level]) for level in levels])
        self.downs = nnx.List([Downsample(w, v, method="shuffle", **shared) for w, v in pairs])
        self.bottom = chain(self.depth, n_blocks[-1])
        self.ups = nnx.List([Upsample(v, w, method="shuffle", **shared) for w, v in pairs])
        self.joins = nnx.List([plain(2 * w, w, kernel=1) for w, _ in pairs])
        self.decoders = nnx.List([chain(level, n_blocks[level]) for level in levels])
        self.refinement = chain(0, n_refinement)
        self.last = plain(width, n_out, padding=padding)

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The image network's result, ``(..., y, x, n_out)``.

        Raises:
            ValueError: x has not n_in channels.
        """
        check_channels(x, self.n_in, self.n_axes)
        padded, crop = pad_to_multiple(x, 2**self.depth, n_axes=self.n_axes)
        features, skips = self.first(padded), []
        for encoder, down in zip(self.encoders, self.downs):
            skips.append(_through(encoder, features))
            features = down(skips[-1])
        features = _through(self.bottom, features)
        for level in reversed(range(self.depth)):
            both = jnp.concatenate([self.ups[level](features), skips[level]], -1)
            features = _through(self.decoders[level], self.joins[level](both))
        y = crop(self.last(_through(self.refinement, features))).astype(x.dtype)
        return y + x[..., : self.n_out] if self.residual else y


def _through(blocks: Iterable, features: Array) -> Array:
    return functools.reduce(lambda y, block: block(y), blocks, features)
