"""Convolutions over ``(..., y, x, channel)`` that keep the size: flax's, with its borders chosen.

Outside the image stands, by `padding`: "zeros"; "reflect", its mirror about the border pixel;
"circular", its periodic continuation; "replicate", its border pixel. The size of the result is
that of the image, divided by the stride and rounded up. Any number of leading axes is allowed.
Derivatives are in reverse mode, of any order; see `_correlation` for why.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.layers._correlation import convolution

_PAD_MODES = {"reflect": "reflect", "circular": "wrap", "replicate": "edge"}
PADDINGS = ("zeros", *_PAD_MODES)

FOR_RELU = nnx.initializers.he_normal()


class Conv(nnx.Module):
    """A convolution of kernel × kernel pixels, strided, dilated or in groups.

    Parameters: kernel^n_axes · n_in/groups · n_out, and n_out for the bias.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        kernel: the kernel's side in pixels.
        n_axes: 2 for images, 3 for volumes.
        stride: step between the pixels of the result.
        dilation: step between the pixels that a kernel sees.
        groups: channels are split in so many groups that do not see each other.
        padding: what stands outside the image; see the module's text.
        use_bias: whether a constant is added to every channel.
        kernel_init: initialiser; the default suits a ReLU (He et al. 2015).
        dtype: of activations; by default that of input and parameters together.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Example:
        >>> layer = Conv(1, 4, stride=2, padding="reflect", rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((7, 9, 1))).shape
        (4, 5, 4)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        kernel: int = 3,
        n_axes: int = 2,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        padding: str = "zeros",
        use_bias: bool = True,
        kernel_init: Callable = FOR_RELU,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if padding not in PADDINGS:
            raise ValueError(f"`padding` is {padding!r}, expected one of {', '.join(PADDINGS)}")
        if n_in % groups or n_out % groups:
            raise ValueError(
                f"`groups` is {groups}, expected a divisor of `n_in` {n_in} and `n_out` {n_out}"
            )
        reach = (kernel - 1) * dilation
        self.border = ((reach // 2, reach - reach // 2),) * n_axes
        self.padding = padding
        self.inner = nnx.Conv(
            n_in,
            n_out,
            (kernel,) * n_axes,
            stride,
            padding=self.border if padding == "zeros" else "VALID",
            kernel_dilation=dilation,
            feature_group_count=groups,
            conv_general_dilated=convolution,
            use_bias=use_bias,
            kernel_init=kernel_init,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    @property
    def kernel(self) -> nnx.Param:
        """``(y, x, n_in/groups, n_out)``, applied as a correlation."""
        return self.inner.kernel

    @property
    def bias(self) -> nnx.Param | None:
        """``(n_out,)``, or None."""
        return self.inner.bias

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The features of ``(..., y, x, n_in)``."""
        if self.padding != "zeros":
            leading = ((0, 0),) * (x.ndim - len(self.border) - 1)
            x = jnp.pad(x, (*leading, *self.border, (0, 0)), mode=_PAD_MODES[self.padding])
        return self.inner(x)


class SeparableConv(nnx.Module):
    """A convolution of each channel alone, then a mix of channels at each pixel.

    Takes the place of a `Conv` with kernel^n_axes · n_in + n_in · n_out weights in place of
    kernel^n_axes · n_in · n_out (Howard et al., MobileNets, arXiv:1704.04861). The bias, n_out,
    comes last.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        kernel: the kernel's side in pixels.
        n_axes: 2 for images, 3 for volumes.
        stride: step between the pixels of the result.
        dilation: step between the pixels that a kernel sees.
        padding: what stands outside the image; see the module's text.
        use_bias: whether a constant is added to every channel.
        kernel_init: initialiser of the mix; the kernels of single channels keep the variance.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        kernel: int = 3,
        n_axes: int = 2,
        stride: int = 1,
        dilation: int = 1,
        padding: str = "zeros",
        use_bias: bool = True,
        kernel_init: Callable = FOR_RELU,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shared = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.channelwise = Conv(
            n_in,
            n_in,
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            groups=n_in,
            padding=padding,
            use_bias=False,
            kernel_init=nnx.initializers.lecun_normal(),
            **shared,
        )
        self.mix = Conv(n_in, n_out, kernel=1, use_bias=use_bias, kernel_init=kernel_init, **shared)

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The features of ``(..., y, x, n_in)``."""
        return self.mix(self.channelwise(x))


class SpectralConv(nnx.Module):
    """A convolution whose kernel, as a matrix of n_out columns, has spectral norm 1.

    Miyato et al. (arXiv:1802.05957): the norm σ is followed by power iteration, one turn a call
    in training mode, from the last turn's vector; the weights themselves are left alone, and the
    result is divided by σ. It bounds the operator's norm up to a factor, it is not that norm.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        kernel: the kernel's side in pixels.
        n_axes: 2 for images, 3 for volumes.
        stride: step between the pixels of the result.
        padding: what stands outside the image; see the module's text.
        use_bias: whether a constant is added to every channel.
        n_start: turns of power iteration at construction.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        kernel: int = 3,
        n_axes: int = 2,
        stride: int = 1,
        padding: str = "zeros",
        use_bias: bool = True,
        n_start: int = 10,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(
            n_in,
            n_out,
            kernel=kernel,
            n_axes=n_axes,
            stride=stride,
            padding=padding,
            use_bias=False,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.bias = nnx.Param(jnp.zeros(n_out, param_dtype)) if use_bias else nnx.data(None)
        u = jax.random.normal(rngs.params(), (n_out,), param_dtype)
        for _ in range(n_start):
            u = _power_turn(self._matrix(), u)[0]
        self.u = nnx.BatchStat(u)
        self.use_running_average = True  # what train() and eval() switch

    def _matrix(self) -> Array:
        kernel = self.conv.kernel[...]
        return kernel.reshape(-1, kernel.shape[-1])

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The features of ``(..., y, x, n_in)``."""
        matrix = self._matrix()
        u, v = _power_turn(matrix, self.u[...])
        if not self.use_running_average:
            self.u[...] = jax.lax.stop_gradient(u)
        sigma = jnp.dot(v, jnp.dot(matrix, u))
        y = self.conv(x)
        y = y / sigma.astype(y.dtype)
        return y if self.bias is None else y + self.bias[...].astype(y.dtype)


def _power_turn(matrix: Array, u: Array) -> tuple[Array, Array]:
    """Right and left singular vectors, one turn nearer to the largest singular value."""
    v = _unit(jnp.dot(matrix, u))
    return _unit(jnp.dot(v, matrix)), v


def _unit(v: Array) -> Array:
    return v / (jnp.linalg.norm(v) + jnp.finfo(v.dtype).tiny)
