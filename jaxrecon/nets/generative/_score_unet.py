"""The U-Net of diffusion and flow models: a network that is told the level of the noise.

Residual blocks whose features are scaled and shifted by what the level says, attention at the
resolutions chosen: the "ADM" of Dhariwal and Nichol (NeurIPS 2021) in the size of a few to a few
hundred million operations. Attention is that of windows, so that memory grows with the pixels and
images may be larger than those trained on; where a window covers the features it is global.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.images._checks import check_channels
from jaxrecon.nets.layers import (
    Conv,
    Downsample,
    Norm,
    Upsample,
    WindowAttention,
    channel_dropout,
    channels_to_space,
    pad_to_multiple,
    space_to_channels,
)

_NOTHING = nnx.initializers.variance_scaling(1e-4, "fan_in", "normal")
_KEEPING = nnx.initializers.lecun_normal()
_SLOWEST, _FASTEST = 1.0, 32.0  # radians for each unit of the level


class ScoreUNet(nnx.Module):
    """``net(x, level, condition)``: an image network that knows how noisy its input is.

    The level is one number of order one, as ln σ / 4 or a time from 0 to 1; what it means is for
    the wrapper to say (`Preconditioned`, `Field`). A condition is a vector: a class as one-hot,
    acquisition parameters, zeros for none.

    Parameters, with e = 4 `width` and cᵢ = `width` · `factors[i]`:

    - level: width e + e + e² + e, and n_conditions e for conditions;
    - block a → b: 9 a b + 9 b² + 2 (a + b) + 2 b + 2 b (e + 1), and a b + b where a ≠ b;
    - attention: 4 c² + 6 c + n_heads (2 window − 1)²; resampling: c² for each doubling;
    - ends: 9 p² (n_in + n_out) c₀ + c₀ + p² n_out + 2 c₀ with p = `patch`.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        width: channels at full resolution, before `factors`.
        factors: of the width at each resolution; one halving between two of them.
        n_blocks: residual blocks at each resolution on the way down, one more on the way up.
        attention: numbers of the resolutions, 0 the full one, at which attention follows blocks; at
            the bottom it always does.
        n_heads: of the attention.
        window: side of its windows, in pixels of the resolution.
        n_conditions: length of the condition, 0 for none.
        unit: the level is counted in this: 1 for numbers of order one, some hundred for steps.
        patch: blocks of so many pixels become channels first: a `patch`² th of the cost.
        n_groups: of the norms.
        dropout: rate at which channels are dropped in training.
        padding: what stands outside the image; see `layers.Conv`.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values and of dropout.

    Raises:
        ValueError: groups or heads that do not divide the channels.

    Example:
        >>> net = ScoreUNet(1, 1, width=4, factors=(1, 2), n_blocks=1, n_groups=2, n_heads=1,
        ...                 window=4, rngs=nnx.Rngs(0))
        >>> net(jnp.ones((3, 9, 10, 1)), 0.5).shape
        (3, 9, 10, 1)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int = 64,
        factors: tuple[int, ...] = (1, 2, 2),
        n_blocks: int = 2,
        attention: tuple[int, ...] = (),
        n_heads: int = 4,
        window: int = 8,
        n_conditions: int = 0,
        unit: float = 1.0,
        patch: int = 1,
        n_groups: int = 8,
        dropout: float = 0.0,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.n_in, self.n_out, self.n_axes, self.patch = n_in, n_out, 2, patch
        self.depth = len(factors) - 1
        widths = [width * factor for factor in factors]
        shared: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        conv = functools.partial(Conv, padding=padding, kernel_init=_KEEPING, **shared)
        norm = functools.partial(Norm, "group", n_groups=n_groups, **shared)
        attend = functools.partial(_Attention, n_heads=n_heads, window=window, norm=norm, **shared)
        block = functools.partial(
            _Block, n_embedding=4 * width, conv=conv, norm=norm, dropout=dropout, **shared
        )

        def chain(sizes: list[int], n_out: int, level: int) -> Any:
            """A block for each number of input channels, with attention where it is wanted."""
            extra = [attend] * (level in attention)
            return nnx.List(
                [nnx.List([block(n, n_out), *(part(n_out) for part in extra)]) for n in sizes]
            )

        # Channels of what each resolution keeps for the way up: of its input, and of its blocks.
        skips = [[v] + [w] * n_blocks for v, w in zip([widths[0], *widths], widths)]
        self.embedding = _Embedding(width, n_conditions, unit, **shared)
        self.first = conv(n_in * patch**2, widths[0])
        self.encoders = nnx.List(
            [chain(some[:-1], w, i) for i, (some, w) in enumerate(zip(skips, widths))]
        )
        self.bottom = nnx.List(
            [block(widths[-1], widths[-1]), attend(widths[-1]), block(widths[-1], widths[-1])]
        )
        above = [*widths[1:], widths[-1]]
        self.decoders = nnx.List([
            chain([a + b for a, b in zip([up, *[w] * n_blocks], reversed(some))], w, i)
            for i, (some, w, up) in enumerate(zip(skips, widths, above))
        ])  # fmt: skip
        self.downs = nnx.List([Downsample(w, w, **shared) for w in widths[:-1]])
        self.ups = nnx.List([Upsample(w, w, method="linear", **shared) for w in widths[1:]])
        self.norm = norm(widths[0])
        self.last = conv(widths[0], n_out * patch**2, kernel_init=_NOTHING)

    def __call__(
        self,
        x: Float[Array, "... n_in"],
        level: Any,
        condition: Float[Array, "... condition"] | None = None,
    ) -> Float[Array, "... n_out"]:
        """The network's result, ``(..., y, x, n_out)``.

        Args:
            x: ``(..., y, x, n_in)``, of any size.
            level: a number, or one for each of the leading axes' images.
            condition: a vector, or one for each of them; None is zeros.

        Raises:
            ValueError: x has not n_in channels, or a condition that was not built for.
        """
        check_channels(x, self.n_in, self.n_axes)
        padded, crop = pad_to_multiple(x, self.patch * 2**self.depth)
        told = self.embedding(level, condition, x.dtype)
        features = self.first(space_to_channels(padded, self.patch))
        skips = [features]
        for i, encoder in enumerate(self.encoders):
            for parts in encoder:
                features = _through(parts, features, told)
                skips.append(features)
            if i < self.depth:
                features = self.downs[i](features)
                skips.append(features)
        features = _through(self.bottom, features, told)
        for i in reversed(range(self.depth + 1)):
            for parts in self.decoders[i]:
                features = jnp.concatenate([features, skips.pop()], -1)
                features = _through(parts, features, told)
            features = self.ups[i - 1](features) if i else features
        y = self.last(jax.nn.silu(self.norm(features)))
        return crop(channels_to_space(y, self.patch)).astype(x.dtype)


class _Embedding(nnx.Module):
    """The level as waves of several frequencies, mixed twice; the condition is added between."""

    def __init__(self, width: int, n_conditions: int, unit: float, **shared: Any):
        self.width, self.unit, self.n_conditions = width, unit, n_conditions
        self.mix = nnx.Linear(2 * (width // 2), 4 * width, **shared)
        self.again = nnx.Linear(4 * width, 4 * width, **shared)
        self.condition = nnx.data(None)
        if n_conditions:
            self.condition = nnx.Linear(n_conditions, 4 * width, use_bias=False, **shared)

    def __call__(self, level: Any, condition: Array | None, dtype: Any) -> Array:
        precise = jnp.promote_types(dtype, jnp.float32)
        frequencies = jnp.geomspace(_SLOWEST, _FASTEST, self.width // 2, dtype=precise)
        phase = (jnp.asarray(level, precise) / self.unit)[..., None] * frequencies
        told = self.mix(jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], -1))
        if condition is not None:
            told = told + self._of_condition(jnp.asarray(condition, precise))
        return jax.nn.silu(self.again(jax.nn.silu(told)))

    def _of_condition(self, condition: Array) -> Array:
        if self.condition is None or condition.shape[-1:] != (self.n_conditions,):
            raise ValueError(
                f"`condition` has shape {condition.shape}, expected {self.n_conditions} numbers: "
                "change `n_conditions` of the network"
            )
        return self.condition(condition)


class _Block(nnx.Module):
    """norm, SiLU, convolution; norm, scaled and shifted by the level, SiLU, convolution; added."""

    def __init__(
        self, n_in: int, n_out: int, *, n_embedding: int, conv: Any, norm: Any, dropout: float,
        rngs: nnx.Rngs, **shared: Any,
    ):  # fmt: skip
        self.norms = nnx.List([norm(n_in), norm(n_out)])
        self.convs = nnx.List([conv(n_in, n_out), conv(n_out, n_out, kernel_init=_NOTHING)])
        self.tell = nnx.Linear(n_embedding, 2 * n_out, rngs=rngs, **shared)
        self.drop = nnx.data(channel_dropout(dropout, rngs=rngs))
        self.shortcut = nnx.data(conv(n_in, n_out, kernel=1) if n_in != n_out else None)

    def __call__(self, x: Array, told: Array) -> Array:
        y = self.convs[0](jax.nn.silu(self.norms[0](x)))
        factor, offset = jnp.split(self.tell(told)[..., None, None, :], 2, -1)
        y = jax.nn.silu((1 + factor) * self.norms[1](y) + offset)
        y = self.convs[1](y if self.drop is None else self.drop(y))
        return y + (x if self.shortcut is None else self.shortcut(x))


class _Attention(nnx.Module):
    """x + attention(norm(x)); the level is not told."""

    def __init__(self, n_channels: int, *, norm: Any, **options: Any):
        self.norm = norm(n_channels)
        self.attend = WindowAttention(n_channels, **options)

    def __call__(self, x: Array, told: Array) -> Array:
        del told
        return x + self.attend(self.norm(x))


def _through(parts: Any, x: Array, told: Array) -> Array:
    for part in parts:
        x = part(x, told)
    return x
