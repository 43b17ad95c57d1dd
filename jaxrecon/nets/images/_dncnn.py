"""Plain chains of convolutions at full resolution that predict what is to be taken away.

DnCNN (Zhang et al., IEEE Trans. Image Process. 26, 2017, arXiv:1608.03981); without biases,
BF-CNN (Mohan et al., arXiv:1906.05478); dilated, IRCNN (Zhang et al., CVPR 2017, arXiv:1704.03264).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.images._checks import check_channels, check_residual
from jaxrecon.nets.layers import Conv, Norm, SeparableConv, activation_named

IRCNN_DILATIONS = (1, 2, 3, 4, 3, 2, 1)


class DnCNN(nnx.Module):
    """A chain of `depth` convolutions; by default the input minus its result.

    Without biases and norms and with a ReLU the network is homogeneous, net(a x) = a net(x) for a >
    0, and so generalises over noise levels (Mohan et al.).

    Parameters, with w = `width`, d = `depth`, K = 3^n_axes: K w (n_in + (d − 2) w + n_out), with
    biases w (d − 1) + n_out more: 555 137 for ``DnCNN(1, 1)``, as published. With a norm, d − 2
    layers have its 2 w numbers ("instance": none) in place of w biases.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        width: channels inside.
        depth: number of convolutions.
        n_axes: 2 for images, 3 for volumes.
        norm: "none", "batch", ... after all but the first and the last convolution.
        n_groups: of norm="group".
        activation: a name in `layers.ACTIVATIONS`.
        residual: whether the result is taken from the first n_out channels of the input.
        use_bias: whether convolutions have biases.
        dilations: of each convolution; by default 1. `IRCNN_DILATIONS` sees 33 pixels in 7 layers.
        separable: whether all but the first and the last convolution are depthwise-separable.
        padding: what stands outside the image; see `layers.Conv`.
        axis_name: of norm="batch", the vmapped axis whose examples share statistics.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Raises:
        ValueError: a depth below 2, dilations of another number, or a norm in a network that is to
            be free of biases.

    Example:
        >>> net = DnCNN(1, 1, width=8, depth=4, use_bias=False, rngs=nnx.Rngs(0))
        >>> x = jnp.eye(6)[..., None]
        >>> bool(jnp.allclose(net(3 * x), 3 * net(x), rtol=1e-4))
        True
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int = 64,
        depth: int = 17,
        n_axes: int = 2,
        norm: str = "none",
        n_groups: int = 8,
        activation: str = "relu",
        residual: bool = True,
        use_bias: bool = True,
        dilations: Sequence[int] | None = None,
        separable: bool = False,
        padding: str = "zeros",
        axis_name: str | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        dilations = (1,) * depth if dilations is None else tuple(dilations)
        _check(depth, dilations, norm, use_bias)
        if residual:
            check_residual(n_in, n_out)
        activation_named(activation)
        self.n_in, self.n_out, self.n_axes = n_in, n_out, n_axes
        self.residual, self.activation = residual, activation
        shared: dict[str, Any] = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype}
        shared["rngs"] = rngs
        conv = functools.partial(Conv, padding=padding, **shared)
        inner = functools.partial(
            SeparableConv if separable else Conv,
            padding=padding,
            use_bias=use_bias and norm == "none",
            **shared,
        )
        self.first = conv(n_in, width, dilation=dilations[0], use_bias=use_bias)
        self.convs = nnx.List([inner(width, width, dilation=d) for d in dilations[1:-1]])
        options = {"n_groups": n_groups, "axis_name": axis_name, **shared}
        self.norms = nnx.List([Norm(norm, width, **options) for _ in dilations[1:-1]])
        self.last = conv(
            width,
            n_out,
            dilation=dilations[-1],
            use_bias=use_bias,
            kernel_init=nnx.initializers.lecun_normal(),
        )

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The image network's result, ``(..., y, x, n_out)``.

        Raises:
            ValueError: x has not n_in channels.
        """
        check_channels(x, self.n_in, self.n_axes)
        rho = activation_named(self.activation)
        features = rho(self.first(x))
        for conv, norm in zip(self.convs, self.norms):
            features = rho(norm(conv(features)))
        y = self.last(features).astype(x.dtype)
        return x[..., : self.n_out] - y if self.residual else y


def _check(depth: int, dilations: tuple[int, ...], norm: str, use_bias: bool) -> None:
    if depth < 2:
        raise ValueError(f"`depth` is {depth}, expected at least 2 convolutions")
    if len(dilations) != depth:
        raise ValueError(f"`dilations` has {len(dilations)} entries, expected `depth` {depth}")
    if norm != "none" and not use_bias:
        raise ValueError(
            f"`norm` is {norm!r} in a network free of biases, which would shift all the same: "
            "pass norm='none', or use_bias=True"
        )
