"""Changes of resolution by two, and sizes that several of them divide."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.layers._convolution import Conv

DOWNSAMPLINGS = ("mean", "max", "stride", "shuffle")
UPSAMPLINGS = ("transpose", "linear", "shuffle")


def pad_to_multiple(
    x: Float[Array, "... channel"], multiple: int, *, n_axes: int = 2, mode: str = "symmetric"
) -> tuple[Float[Array, "... channel"], Callable[[Array], Array]]:
    """An image extended on both sides to sizes that `multiple` divides, and the way back.

    Args:
        x: ``(..., y, x, channel)``.
        multiple: divisor of the sizes wanted.
        n_axes: 2 for images, 3 for volumes.
        mode: how `jax.numpy.pad` extends it; by default mirrored, the border pixel repeated.

    Returns:
        The extended image, and the function that crops an image of that size.

    Example:
        >>> padded, crop = pad_to_multiple(jnp.ones((5, 8, 1)), 4)
        >>> padded.shape, crop(padded).shape
        ((8, 8, 1), (5, 8, 1))
    """
    sizes = x.shape[-n_axes - 1 : -1]
    lows = [(-n % multiple) // 2 for n in sizes]
    widths = [(low, -n % multiple - low) for low, n in zip(lows, sizes, strict=True)]
    inside = tuple(slice(low, low + n) for low, n in zip(lows, sizes, strict=True))
    if any(map(any, widths)):
        leading = ((0, 0),) * (x.ndim - n_axes - 1)
        x = jnp.pad(x, (*leading, *widths, (0, 0)), mode=mode)
    return x, lambda y: y[(..., *inside, slice(None))]


def space_to_channels(
    x: Float[Array, "... channel"], factor: int = 2, *, n_axes: int = 2
) -> Float[Array, "... channels"]:
    """Blocks of factor^n_axes pixels become channels: ``(..., y/f, x/f, f² channel)``.

    Example:
        >>> x = jnp.arange(16.0).reshape(4, 4, 1)
        >>> space_to_channels(x)[0, 0].tolist()
        [0.0, 1.0, 4.0, 5.0]
        >>> bool(jnp.all(channels_to_space(space_to_channels(x)) == x))
        True
    """
    leading, sizes = x.shape[: -n_axes - 1], x.shape[-n_axes - 1 : -1]
    split = [part for n in sizes for part in (n // factor, factor)]
    x = x.reshape(*leading, *split, x.shape[-1])
    start = len(leading)
    blocks, offsets = range(start, x.ndim - 1, 2), range(start + 1, x.ndim - 1, 2)
    x = x.transpose(*range(start), *blocks, *offsets, x.ndim - 1)
    return x.reshape(*leading, *(n // factor for n in sizes), -1)


def channels_to_space(
    x: Float[Array, "... channels"], factor: int = 2, *, n_axes: int = 2
) -> Float[Array, "... channel"]:
    """The inverse of `space_to_channels` (the pixel shuffle of Shi et al. 2016)."""
    leading, sizes = x.shape[: -n_axes - 1], x.shape[-n_axes - 1 : -1]
    x = x.reshape(*leading, *sizes, *(factor,) * n_axes, -1)
    start = len(leading)
    pairs = [axis for i in range(start, start + n_axes) for axis in (i, i + n_axes)]
    x = x.transpose(*range(start), *pairs, x.ndim - 1)
    return x.reshape(*leading, *(n * factor for n in sizes), -1)


def pool(
    x: Float[Array, "... channel"], reduce: Callable = jnp.mean, *, n_axes: int = 2
) -> Float[Array, "... channel"]:
    """The mean, or another reduction, of blocks of two pixels along each axis."""
    blocks = space_to_channels(x, 2, n_axes=n_axes)
    return reduce(blocks.reshape(*blocks.shape[:-1], 2**n_axes, -1), -2)


class Downsample(nnx.Module):
    """Half the resolution; sizes must be even.

    "mean" and "max" of blocks of two pixels along each axis, followed by a mix of channels if their
    number changes (n_in · n_out weights); "stride", a convolution of blocks, and "shuffle", the
    same by way of `space_to_channels` (2^n_axes · n_in · n_out). No bias.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        method: one of the above.
        n_axes: 2 for images, 3 for volumes.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        method: str = "mean",
        n_axes: int = 2,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if method not in DOWNSAMPLINGS:
            raise ValueError(f"`method` is {method!r}, expected one of {', '.join(DOWNSAMPLINGS)}")
        self.method = method
        self.n_axes = n_axes
        strided, shuffled = method == "stride", method == "shuffle"
        self.conv = nnx.data(None)
        if strided or shuffled or n_in != n_out:
            self.conv = Conv(
                n_in * 2**n_axes if shuffled else n_in,
                n_out,
                kernel=2 if strided else 1,
                stride=2 if strided else 1,
                n_axes=n_axes,
                use_bias=False,
                kernel_init=nnx.initializers.lecun_normal(),
                dtype=dtype,
                param_dtype=param_dtype,
                rngs=rngs,
            )

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """``(..., y, x, n_in)`` at half the resolution."""
        if self.method in ("mean", "max"):
            x = pool(x, jnp.mean if self.method == "mean" else jnp.max, n_axes=self.n_axes)
        elif self.method == "shuffle":
            x = space_to_channels(x, n_axes=self.n_axes)
        return x if self.conv is None else self.conv(x)


class Upsample(nnx.Module):
    """Twice the resolution.

    "transpose", the transpose of a strided convolution of blocks of two pixels along each axis
    (2^n_axes · n_in · n_out weights), its kernel reversed along them, as flax applies it; "linear",
    interpolation after a mix of channels (n_in · n_out), smooth where the others can leave a
    checkerboard; "shuffle", a 3-pixel convolution to 2^n_axes · n_out channels, then
    `channels_to_space` (6^n_axes · n_in · n_out). No bias.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        method: one of the above.
        n_axes: 2 for images, 3 for volumes.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        method: str = "transpose",
        n_axes: int = 2,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if method not in UPSAMPLINGS:
            raise ValueError(f"`method` is {method!r}, expected one of {', '.join(UPSAMPLINGS)}")
        self.method = method
        self.n_axes = n_axes
        shared: dict[str, Any] = {"use_bias": False, "dtype": dtype, "param_dtype": param_dtype}
        shared |= {"rngs": rngs, "kernel_init": nnx.initializers.lecun_normal()}
        blocks = (2,) * n_axes
        if method == "transpose":
            # Each pixel of the result sees one pixel, not the 2^n_axes that fan-in counts.
            shared["kernel_init"] = nnx.initializers.variance_scaling(
                math.prod(blocks), "fan_in", "normal"
            )
            self.conv = nnx.ConvTranspose(n_in, n_out, blocks, blocks, padding="VALID", **shared)
        elif method == "linear":
            self.conv = Conv(n_in, n_out, kernel=1, n_axes=n_axes, **shared)
        else:
            self.conv = Conv(n_in, math.prod(blocks) * n_out, n_axes=n_axes, **shared)

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """``(..., y, x, n_in)`` at twice the resolution."""
        x = self.conv(x)
        if self.method == "linear":
            space = range(x.ndim - self.n_axes - 1, x.ndim - 1)
            shape = [2 * n if axis in space else n for axis, n in enumerate(x.shape)]
            return jax.image.resize(x, shape, "linear")
        return channels_to_space(x, n_axes=self.n_axes) if self.method == "shuffle" else x
