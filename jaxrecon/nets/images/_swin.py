"""SwinIR: a transformer of shifted windows at full resolution (Liang et al., arXiv:2108.10257)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.images._checks import check_channels, check_residual
from jaxrecon.nets.layers import Conv, Norm, WindowAttention


class SwinBlock(nnx.Module):
    """Attention inside windows and a two-layer perceptron, each residual after a norm.

    Parameters, with c channels, h heads, windows of s pixels, m = `expansion`:
    (4 + 2 m) c² + (9 + m) c + h (2 s − 1)^n_axes.

    Args:
        n_channels: of input and output.
        n_heads: of attention.
        window: the window's side in pixels.
        shift: pixels by which windows are moved.
        expansion: hidden channels of the perceptron over n_channels.
        n_axes: 2 for images, 3 for volumes.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        n_channels: int,
        *,
        n_heads: int,
        window: int,
        shift: int,
        expansion: int = 2,
        n_axes: int = 2,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shared: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        norms = [Norm("layer", n_channels, n_axes=n_axes, **shared) for _ in range(2)]
        self.norms = nnx.List(norms)
        self.attention = WindowAttention(
            n_channels, n_heads=n_heads, window=window, shift=shift, n_axes=n_axes, **shared
        )
        self.widen = nnx.Linear(n_channels, expansion * n_channels, **shared)
        self.narrow = nnx.Linear(expansion * n_channels, n_channels, **shared)

    def __call__(self, x: Float[Array, "... channel"]) -> Float[Array, "... channel"]:
        """Features of the same shape."""
        x = x + self.attention(self.norms[0](x))
        return x + self.narrow(jax.nn.gelu(self.widen(self.norms[1](x))))


class SwinIR(nnx.Module):
    """Groups of blocks whose windows are moved by half in turns; a convolution ends each group.

    Parameters, with c = `width`, K = 3^n_axes, g = `n_groups`, b = `n_blocks`, B those of a
    `SwinBlock`: K c (n_in + n_out) + c + n_out + g (b B + K c² + c) + 2 c + K c² + c.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        width: channels inside; `n_heads` divides them.
        n_groups: residual groups.
        n_blocks: blocks in each group.
        n_heads: of attention.
        window: the window's side in pixels; images of any size are filled up inside.
        expansion: hidden channels of the perceptrons over width.
        residual: whether the first n_out channels of the input are added to the output.
        n_axes: 2 for images, 3 for volumes.
        padding: what stands outside the image; see `layers.Conv`.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Raises:
        ValueError: `n_heads` does not divide `width`.

    Example:
        >>> net = SwinIR(1, 1, width=4, n_groups=1, n_blocks=1, n_heads=2, rngs=nnx.Rngs(0))
        >>> net(jnp.ones((5, 6, 1))).shape
        (5, 6, 1)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int = 60,
        n_groups: int = 4,
        n_blocks: int = 6,
        n_heads: int = 6,
        window: int = 8,
        expansion: int = 2,
        residual: bool = True,
        n_axes: int = 2,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if residual:
            check_residual(n_in, n_out)
        self.n_in, self.n_out, self.n_axes, self.residual = n_in, n_out, n_axes, residual
        shared: dict[str, Any] = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype}
        shared["rngs"] = rngs
        conv = functools.partial(
            Conv, padding=padding, kernel_init=nnx.initializers.lecun_normal(), **shared
        )

        def chain():
            options: dict[str, Any] = {"n_heads": n_heads, "window": window, **shared}
            shifts = [(i % 2) * (window // 2) for i in range(n_blocks)]
            blocks = [SwinBlock(width, shift=s, expansion=expansion, **options) for s in shifts]
            return nnx.Sequential(*blocks, conv(width, width))

        self.first = conv(n_in, width)
        self.groups = nnx.List([chain() for _ in range(n_groups)])
        self.norm = Norm("layer", width, **shared)
        self.join = conv(width, width)
        self.last = conv(width, n_out)

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The image network's result, ``(..., y, x, n_out)``.

        Raises:
            ValueError: x has not n_in channels.
        """
        check_channels(x, self.n_in, self.n_axes)
        shallow = deep = self.first(x)
        for group in self.groups:
            deep = deep + group(deep)
        y = self.last(shallow + self.join(self.norm(deep))).astype(x.dtype)
        return y + x[..., : self.n_out] if self.residual else y
