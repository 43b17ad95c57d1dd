"""Pairs of convolutions, plain and residual, of which most networks are made."""

from collections.abc import Callable

from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.layers._norm import activation_named, channel_dropout

# The last convolution of a residual branch: a deep chain of blocks starts near the identity.
SMALL = nnx.initializers.variance_scaling(0.1, "fan_in", "normal")


class ConvBlock(nnx.Module):
    """(convolution, norm, activation, dropout) twice.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        conv: makes a convolution, ``conv(n_in, n_out, kernel=..., kernel_init=...)``, such as a
            `functools.partial` of `Conv` or `SeparableConv`.
        norm: makes a normalisation, ``norm(n_channels)``.
        activation: name of the nonlinearity.
        dropout: rate at which channels are dropped.
        residual: adds the input, through one pixel wide `shortcut` where the channels change, and
            drops the last activation, so that the sum keeps its sign.
        shortcut: makes that convolution; by default `conv`.
        n_axes: 2 for images, 3 for volumes.
        rngs: source of dropout's randomness.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        conv: Callable,
        norm: Callable,
        activation: str = "relu",
        dropout: float = 0.0,
        residual: bool = False,
        shortcut: Callable | None = None,
        n_axes: int = 2,
        rngs: nnx.Rngs,
    ):
        last = {"kernel_init": SMALL} if residual else {}
        self.convs = nnx.List([conv(n_in, n_out), conv(n_out, n_out, **last)])
        self.norms = nnx.List([norm(n_out), norm(n_out)])
        drops = [channel_dropout(dropout, n_axes=n_axes, rngs=rngs) for _ in range(2)]
        self.drops = nnx.List(drops)
        activation_named(activation)  # refuses an unknown one here
        self.activation = activation
        self.residual = residual
        self.shortcut = nnx.data(None)
        if residual and n_in != n_out:
            init = nnx.initializers.lecun_normal()
            self.shortcut = (shortcut or conv)(n_in, n_out, kernel=1, kernel_init=init)

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The features of ``(..., y, x, n_in)``."""
        rho, y = activation_named(self.activation), x
        for i, (conv, norm, drop) in enumerate(zip(self.convs, self.norms, self.drops)):
            y = norm(conv(y))
            if i == 0 or not self.residual:
                y = rho(y)
            y = y if drop is None else drop(y)
        if not self.residual:
            return y
        return y + (x if self.shortcut is None else self.shortcut(x))
