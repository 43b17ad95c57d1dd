"""Attention: gates on skip connections, between pixels of a window, between channels."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.nets.layers._convolution import Conv
from jaxrecon.nets.layers._resample import pad_to_multiple


class AttentionGate(nnx.Module):
    """Weighs the pixels of a skip connection by what a coarser level found there.

    Attention U-Net (Oktay et al., arXiv:1804.03999), eq. 1: skip · sigmoid(ψ ReLU(W_x skip + W_g
    gate)), all one pixel wide. Parameters: (n_skip + n_gate + 1) n_inner + 1 more of n_inner and 1.

    Args:
        n_skip: channels of the skip connection.
        n_gate: channels of the gating features, at the same resolution.
        n_inner: channels in which they meet.
        n_axes: 2 for images, 3 for volumes.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        n_skip: int,
        n_gate: int,
        n_inner: int,
        *,
        n_axes: int = 2,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shared: dict[str, Any] = {"kernel": 1, "n_axes": n_axes, "dtype": dtype}
        shared |= {"param_dtype": param_dtype, "rngs": rngs}
        self.of_skip = Conv(n_skip, n_inner, use_bias=False, **shared)
        self.of_gate = Conv(n_gate, n_inner, **shared)
        self.score = Conv(n_inner, 1, **shared)

    def __call__(
        self, skip: Float[Array, "... channel"], gate: Float[Array, "... gate"]
    ) -> Float[Array, "... channel"]:
        """The weighted skip connection."""
        together = jax.nn.relu(self.of_skip(skip) + self.of_gate(gate))
        return skip * jax.nn.sigmoid(self.score(together))


class WindowAttention(nnx.Module):
    """Attention among the pixels of each window, with a learned bias for each displacement.

    Swin transformer (Liu et al., arXiv:2103.14030), eqs. 3 and 4. Windows are cut from the image
    moved by `shift` pixels; pixels that the move brings together across the border, and those
    that fill the image up to whole windows, don't see each other. Parameters: with c channels, h
    heads, windows of w pixels: 4 c² + 4 c + h (2w − 1)^n_axes.

    Args:
        n_channels: of input and output.
        n_heads: divides the channels.
        window: the window's side in pixels.
        shift: pixels by which windows are moved, 0 or half of a window in turns.
        n_axes: 2 for images, 3 for volumes.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Raises:
        ValueError: the heads don't divide the channels, or the shift is not below the window.
    """

    def __init__(
        self,
        n_channels: int,
        *,
        n_heads: int = 4,
        window: int = 8,
        shift: int = 0,
        n_axes: int = 2,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        _check_heads(n_channels, n_heads)
        if not 0 <= shift < window:
            raise ValueError(f"`shift` is {shift}, expected 0 … {window - 1}, inside the window")
        self.n_heads, self.window, self.shift, self.n_axes = n_heads, window, shift, n_axes
        shared: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.project = nnx.Linear(n_channels, 3 * n_channels, **shared)
        self.mix = nnx.Linear(n_channels, n_channels, **shared)
        table = (n_heads, (2 * window - 1) ** n_axes)
        self.bias = nnx.Param(0.02 * jax.random.normal(rngs.params(), table, param_dtype))

    def __call__(self, x: Float[Array, "... channel"]) -> Float[Array, "... channel"]:
        """Features of the same shape, ``(..., y, x, channel)``."""
        padded, crop = pad_to_multiple(x, self.window, n_axes=self.n_axes, mode="constant")
        axes = tuple(range(-self.n_axes - 1, -1))
        moved = jnp.roll(padded, (-self.shift,) * self.n_axes, axes)
        windows, merge = _split(moved, self.window, self.n_axes)
        mask = _visible(x.shape[-self.n_axes - 1 : -1], self.window, self.shift)
        bias = self.bias[...][:, _displacements(self.window, self.n_axes)]
        attended = self._attend(windows, bias, mask)
        return crop(jnp.roll(merge(attended), (self.shift,) * self.n_axes, axes))

    def _attend(
        self,
        x: Float[Array, "batch window pixel channel"],
        bias: Float[Array, "head pixel pixel"],
        mask: Bool[np.ndarray, "window pixel pixel"],
    ) -> Float[Array, "batch window pixel channel"]:
        parts = self.project(x)
        parts = parts.reshape(*parts.shape[:-1], 3, self.n_heads, -1)
        q, k, v = (parts[..., i, :, :] for i in range(3))
        scores = jnp.einsum("bwqhc,bwkhc->bwhqk", q, k) / math.sqrt(q.shape[-1])
        scores = scores + bias.astype(scores.dtype)
        if not mask.all():
            scores = jnp.where(mask[:, None], scores, -jnp.inf)
        values = jnp.einsum("bwhqk,bwkhc->bwqhc", _softmax(scores), v)
        return self.mix(values.reshape(*values.shape[:-2], -1))


class ChannelAttention(nnx.Module):
    """Attention among channels, whose cost grows with the pixels and not with their square.

    The transposed attention of Restormer (Zamir et al., arXiv:2111.09881), eq. 1: queries, keys and
    values are made by a mix of channels and a 3-pixel convolution of each; queries and keys are
    normalised over all pixels. Parameters without bias: with c channels, h heads:
    4 c² + 3 c 3^n_axes + h.

    Args:
        n_channels: of input and output.
        n_heads: divides the channels.
        n_axes: 2 for images, 3 for volumes.
        padding: what stands outside the image.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Raises:
        ValueError: the heads don't divide the channels.
    """

    def __init__(
        self,
        n_channels: int,
        *,
        n_heads: int = 4,
        n_axes: int = 2,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        _check_heads(n_channels, n_heads)
        self.n_heads, self.n_axes = n_heads, n_axes
        shared: dict[str, Any] = {"n_axes": n_axes, "use_bias": False, "dtype": dtype}
        shared |= {"param_dtype": param_dtype, "rngs": rngs}
        shared |= {"kernel_init": nnx.initializers.lecun_normal()}
        c = n_channels
        self.project = Conv(c, 3 * c, kernel=1, **shared)
        self.local = Conv(3 * c, 3 * c, groups=3 * c, padding=padding, **shared)
        self.mix = Conv(c, c, kernel=1, **shared)
        self.temperature = nnx.Param(jnp.ones((n_heads, 1, 1), param_dtype))

    def __call__(self, x: Float[Array, "... channel"]) -> Float[Array, "... channel"]:
        """Features of the same shape, ``(..., y, x, channel)``."""
        parts = self.local(self.project(x))
        leading = x.shape[: -self.n_axes - 1]
        parts = parts.reshape(*leading, -1, 3, self.n_heads, x.shape[-1] // self.n_heads)
        q, k, v = (parts[..., i, :, :] for i in range(3))
        scores = jnp.einsum("...phc,...phd->...hcd", _unit(q), _unit(k))
        weights = _softmax(scores * self.temperature[...].astype(scores.dtype))
        values = jnp.einsum("...hcd,...phd->...phc", weights, v)
        return self.mix(values.reshape(x.shape))


def _check_heads(n_channels: int, n_heads: int) -> None:
    if n_channels % n_heads:
        raise ValueError(f"`n_heads` is {n_heads}, expected a divisor of {n_channels} channels")


def _softmax(scores: Array) -> Array:
    """Over the last axis, in at least single precision."""
    precise = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    return jax.nn.softmax(precise, -1).astype(scores.dtype)


def _unit(x: Array) -> Array:
    """Divided by the norm over pixels, axis −3; zero stays zero, with a finite gradient."""
    precise = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    squares = jnp.sum(jnp.square(precise), -3, keepdims=True)
    return (precise * jax.lax.rsqrt(squares + 1e-12)).astype(x.dtype)


def _split(x: Any, window: int, n_axes: int) -> tuple[Any, Callable]:
    """Windows as ``(batch, window, pixel, channel)``, and the way back; of numpy or jax arrays."""
    sizes, c = x.shape[-n_axes - 1 : -1], x.shape[-1]
    cut = [part for n in sizes for part in (n // window, window)]
    order = (0, *range(1, 2 * n_axes, 2), *range(2, 2 * n_axes + 1, 2), 2 * n_axes + 1)
    blocks = x.reshape(-1, *cut, c).transpose(order)
    back = tuple(np.argsort(order))

    def merge(y):
        return y.reshape(blocks.shape).transpose(back).reshape(x.shape)

    return blocks.reshape(blocks.shape[0], -1, window**n_axes, c), merge


def _visible(
    sizes: tuple[int, ...], window: int, shift: int
) -> Bool[np.ndarray, "window pixel pixel"]:
    """Which pixels of a window see each other: neighbours in the image, not across its border."""
    labels = np.zeros((1,) * len(sizes), int)
    for axis, n in enumerate(sizes):
        padding = -n % window
        place = np.arange(n + padding) - padding // 2
        label = np.where((place < 0) | (place >= n), 2, np.arange(n + padding) < shift)
        shape = [-1 if a == axis else 1 for a in range(len(sizes))]
        labels = 3 * labels + np.roll(label, -shift).reshape(shape)
    windows = np.asarray(_split(labels[..., None], window, len(sizes))[0])[0, ..., 0]
    return windows[:, :, None] == windows[:, None, :]


def _displacements(window: int, n_axes: int) -> Int[np.ndarray, "pixel pixel"]:
    """For each two pixels of a window, the number of their displacement."""
    places = np.array(list(itertools.product(range(window), repeat=n_axes)))
    steps = places[:, None] - places[None] + window - 1
    return steps @ (2 * window - 1) ** np.arange(n_axes)
