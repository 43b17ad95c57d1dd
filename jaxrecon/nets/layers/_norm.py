"""Normalisation of features, dropout and activation functions by name, for any leading axes.

Dropout and batch statistics are off until ``net.train()``.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

NORMS = ("none", "batch", "group", "instance", "layer")

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.2),
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}


def activation_named(name: str) -> Callable[[Array], Array]:
    """A nonlinearity by name; "leaky_relu" has slope 0.2 below zero.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"`activation` is {name!r}, expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class Norm(nnx.Module):
    """Shifts and scales features to mean 0 and variance 1 over a set of them.

    The set, for features ``(..., y, x, channel)``:

    - "none": nothing is done;
    - "batch": pixels and all leading axes of one channel (Ioffe and Szegedy 2015); in evaluation
      mode, the running averages of those statistics;
    - "group": pixels and the channels of one group (Wu and He 2018);
    - "instance": pixels of one channel (Ulyanov et al. 2016);
    - "layer": channels of one pixel (Ba et al. 2016).

    Parameters: a factor and a constant for each channel if `affine`, by default for all but
    "none" and "instance".

    Args:
        kind: one of the above.
        n_channels: the number of channels.
        n_axes: 2 for images, 3 for volumes.
        n_groups: of "group".
        affine: whether a learned factor and constant follow.
        momentum: of the running averages of "batch", the weight of the old.
        axis_name: of "batch", the `jax.vmap` or device axis whose examples share statistics. Under
            vmap without it each example has its own.
        dtype: of activations; statistics are at least of single precision.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Raises:
        ValueError: an unknown kind, or groups that do not divide the channels.
    """

    def __init__(
        self,
        kind: str,
        n_channels: int,
        *,
        n_axes: int = 2,
        n_groups: int = 8,
        affine: bool | None = None,
        momentum: float = 0.9,
        axis_name: str | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if kind not in NORMS:
            raise ValueError(f"`norm` is {kind!r}, expected one of {', '.join(NORMS)}")
        if kind == "group" and n_channels % n_groups:
            raise ValueError(f"`n_groups` is {n_groups}, expected a divisor of {n_channels}")
        affine = kind != "instance" if affine is None else affine
        options: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        options |= {"use_bias": affine, "use_scale": affine, "use_fast_variance": False}
        self.n_axes = n_axes
        if kind == "batch":
            options |= {"momentum": momentum, "axis_name": axis_name}
            self.layer = nnx.BatchNorm(n_channels, use_running_average=True, **options)
        elif kind == "layer":
            self.layer = nnx.LayerNorm(n_channels, **options)
        elif kind == "none":
            self.layer = nnx.data(None)
        else:
            n_groups = n_channels if kind == "instance" else n_groups
            self.layer = nnx.GroupNorm(n_channels, n_groups, epsilon=1e-5, **options)

    def __call__(self, x: Float[Array, "... channel"]) -> Float[Array, "... channel"]:
        """Features of the same shape."""
        if self.layer is None:
            return x
        # Flax's group norm takes exactly one leading axis.
        flat = x.reshape(-1, *x.shape[-self.n_axes - 1 :])
        return self.layer(flat).reshape(x.shape)


def channel_dropout(rate: float, *, n_axes: int = 2, rngs: nnx.Rngs) -> nnx.Dropout | None:
    """Dropout of whole channels (Tompson et al. 2015), off until ``train()``; None at rate 0.

    Neighbouring pixels are too alike for dropping single ones to change much.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"`dropout` is {rate}, expected a rate in [0, 1)")
    if rate == 0:
        return None  # no random state that training would have to carry
    space = tuple(range(-n_axes - 1, -1))
    return nnx.Dropout(rate, broadcast_dims=space, deterministic=True, rngs=rngs)


def n_parameters(net: nnx.Module) -> int:
    """How many numbers a network learns.

    Example:
        >>> n_parameters(nnx.Linear(3, 4, rngs=nnx.Rngs(0)))
        16
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(net, nnx.Param)))
