"""U-Nets: features at resolutions falling by two, joined again on the way up.

Ronneberger et al. (arXiv:1505.04597), by default in the form of the fastMRI baseline (Zbontar et
al., arXiv:1811.08839); with attention gates, Oktay et al. (arXiv:1804.03999).
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.images._checks import check_channels, check_residual
from jaxrecon.nets.layers import (
    AttentionGate,
    Conv,
    ConvBlock,
    Downsample,
    Norm,
    SeparableConv,
    Upsample,
    activation_named,
    pad_to_multiple,
)


class UNet(nnx.Module):
    """A U-Net of `depth` halvings of the resolution.

    Parameters of the default form, with w = `width`, D = `depth`, K = 3^n_axes, S = 2^n_axes:

        K w (n_in + w) + K w² Σ_{l=1..D} (2·4^(l−1) + 4^l) + w² Σ_{l=0..D−1} 4^l (2 S + 3 K)
        + (w + 1) n_out

    that is 7 756 097 for fastMRI's ``UNet(1, 1, width=32, depth=4)``, with whose layers and counts
    this agrees.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        width: channels at full resolution, doubled with every halving of it.
        depth: number of halvings; sizes that 2^depth does not divide are mirrored and cropped.
        n_axes: 2 for images, 3 for volumes.
        norm: "instance", "batch", "group", "layer" or "none"; see `layers.Norm`.
        n_groups: of norm="group".
        activation: a name in `layers.ACTIVATIONS`.
        dropout: rate at which channels are dropped in training.
        residual: whether the first n_out channels of the input are added to the output.
        residual_blocks: whether every pair of convolutions is a residual block.
        attention: whether skip connections pass through attention gates.
        separable: whether 3-pixel convolutions are depthwise-separable, about 8 times lighter.
        down: "mean", "max", "stride" or "shuffle"; see `layers.Downsample`.
        up: "transpose", "linear" or "shuffle"; see `layers.Upsample`.
        padding: what stands outside the image; see `layers.Conv`.
        use_bias: whether convolutions have a bias; by default those not followed by a norm.
        final_gain: variance of the outputs at first; by default 1, and 1e-3 for `residual`:
            normalised features know nothing of the image's scale, to which they are added then.
        axis_name: of norm="batch", the vmapped axis whose examples share statistics.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values and of dropout.

    Raises:
        ValueError: an option that does not exist, or `residual` with n_out above n_in.

    Example:
        >>> net = UNet(1, 1, width=4, depth=1, rngs=nnx.Rngs(0))
        >>> net(jnp.ones((3, 9, 10, 1))).shape
        (3, 9, 10, 1)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int = 32,
        depth: int = 4,
        n_axes: int = 2,
        norm: str = "instance",
        n_groups: int = 8,
        activation: str = "leaky_relu",
        dropout: float = 0.0,
        residual: bool = False,
        residual_blocks: bool = False,
        attention: bool = False,
        separable: bool = False,
        down: str = "mean",
        up: str = "transpose",
        padding: str = "zeros",
        use_bias: bool | None = None,
        final_gain: float | None = None,
        axis_name: str | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if residual:
            check_residual(n_in, n_out)
        self.n_in, self.n_out, self.n_axes, self.depth = n_in, n_out, n_axes, depth
        self.residual = residual
        shared: dict[str, Any] = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype}
        shared["rngs"] = rngs
        bias = norm == "none" if use_bias is None else use_bias
        if final_gain is None:
            final_gain = 1e-3 if residual else 1.0
        plain = functools.partial(Conv, padding=padding, use_bias=bias, **shared)
        make_norm = functools.partial(Norm, norm, n_groups=n_groups, axis_name=axis_name, **shared)
        block = functools.partial(
            ConvBlock,
            conv=functools.partial(SeparableConv, **plain.keywords) if separable else plain,
            shortcut=plain,
            norm=make_norm,
            activation=activation,
            dropout=dropout,
            residual=residual_blocks,
            n_axes=n_axes,
            rngs=rngs,
        )
        gate = functools.partial(AttentionGate, **shared) if attention else None
        ascent = functools.partial(
            _Ascent,
            up=functools.partial(Upsample, method=up, **shared),
            norm=make_norm,
            activation=activation,
            gate=gate,
            block=block,
        )
        widths = [width * 2**level for level in range(depth + 1)]
        pairs = list(itertools.pairwise(widths))
        self.first = block(n_in, width)
        self.downs = nnx.List([Downsample(w, w, method=down, **shared) for w, _ in pairs])
        self.encoders = nnx.List([block(w, v) for w, v in pairs])
        self.decoders = nnx.List([ascent(v, w) for w, v in reversed(pairs)])
        self.last = Conv(
            width,
            n_out,
            kernel=1,
            use_bias=use_bias is not False,
            kernel_init=nnx.initializers.variance_scaling(final_gain, "fan_in", "truncated_normal"),
            **shared,
        )

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The image network's result, ``(..., y, x, n_out)``.

        Raises:
            ValueError: x has not n_in channels.
        """
        check_channels(x, self.n_in, self.n_axes)
        padded, crop = pad_to_multiple(x, 2**self.depth, n_axes=self.n_axes)
        features, skips = self.first(padded), []
        for down, encoder in zip(self.downs, self.encoders):
            skips.append(features)
            features = encoder(down(features))
        for decoder, skip in zip(self.decoders, reversed(skips)):
            features = decoder(features, skip)
        y = crop(self.last(features)).astype(x.dtype)
        return y + x[..., : self.n_out] if self.residual else y


class _Ascent(nnx.Module):
    """One doubling of the resolution: up, norm, activation, gate, join with the skip, block."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        up: Callable,
        norm: Callable,
        activation: str,
        gate: Callable | None,
        block: Callable,
    ):
        self.up, self.norm, self.activation = up(n_in, n_out), norm(n_out), activation
        self.gate = nnx.data(gate and gate(n_out, n_out, max(n_out // 2, 1)))
        self.block = block(2 * n_out, n_out)

    def __call__(self, features: Array, skip: Array) -> Array:
        features = activation_named(self.activation)(self.norm(self.up(features)))
        if self.gate is not None:
            skip = self.gate(skip, features)
        return self.block(jnp.concatenate([features, skip], -1))
