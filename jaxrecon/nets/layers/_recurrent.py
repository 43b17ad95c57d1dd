"""Recurrent cells on feature maps: gated units whose products are convolutions.

A cell is called as ``state = cell(state, x)``, one step; ``cell.start(x)`` is the zero state.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.layers._convolution import Conv


class ConvGRU(nnx.Module):
    """Convolutional gated recurrent unit (Ballas et al., arXiv:1511.06432).

    z, r = σ(conv [x, h]); h' = (1 − z) h + z tanh(conv [x, r h]). Parameters with K =
    kernel^n_axes: 3 n_hidden (K (n_in + n_hidden) + 1).

    Args:
        n_in: channels of the input.
        n_hidden: channels of the state.
        kernel: the kernels' side in pixels.
        n_axes: 2 for images, 3 for volumes.
        padding: what stands outside the image.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Example:
        >>> cell, x = ConvGRU(1, 4, rngs=nnx.Rngs(0)), jnp.ones((5, 6, 1))
        >>> cell(cell.start(x), x).shape
        (5, 6, 4)
    """

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        *,
        kernel: int = 3,
        n_axes: int = 2,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.n_hidden = n_hidden
        conv = _factory(kernel, n_axes, padding, dtype, param_dtype, rngs)
        self.gates = conv(n_in + n_hidden, 2 * n_hidden)
        self.proposal = conv(n_in + n_hidden, n_hidden)

    def start(self, x: Float[Array, "... channel"]) -> Float[Array, "... hidden"]:
        """The state before the first step."""
        return jnp.zeros((*x.shape[:-1], self.n_hidden), x.dtype)

    def __call__(
        self, hidden: Float[Array, "... hidden"], x: Float[Array, "... channel"]
    ) -> Float[Array, "... hidden"]:
        """The next state, in the dtype of the last."""
        gates = jax.nn.sigmoid(self.gates(jnp.concatenate([x, hidden], -1)))
        update, reset = jnp.split(gates, 2, -1)
        proposal = jnp.tanh(self.proposal(jnp.concatenate([x, reset * hidden], -1)))
        return ((1 - update) * hidden + update * proposal).astype(hidden.dtype)


class ConvLSTM(nnx.Module):
    """Convolutional long short-term memory (Shi et al., arXiv:1506.04214), without peepholes.

    i, f, o = σ(conv [x, h]), g = tanh(conv [x, h]); c' = f c + i g; h' = o tanh c'. The state is
    (h, c). The bias of f starts at 1. Parameters with K = kernel^n_axes:
    4 n_hidden (K (n_in + n_hidden) + 1).

    Args:
        n_in: channels of the input.
        n_hidden: channels of h and of c.
        kernel: the kernels' side in pixels.
        n_axes: 2 for images, 3 for volumes.
        padding: what stands outside the image.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        *,
        kernel: int = 3,
        n_axes: int = 2,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.n_hidden = n_hidden
        conv = _factory(kernel, n_axes, padding, dtype, param_dtype, rngs)
        self.gates = conv(n_in + n_hidden, 4 * n_hidden)
        assert self.gates.bias is not None
        forget = jnp.repeat(jnp.array([0, 1, 0, 0], param_dtype), n_hidden)
        self.gates.bias[...] = forget

    def start(
        self, x: Float[Array, "... channel"]
    ) -> tuple[Float[Array, "... hidden"], Float[Array, "... hidden"]]:
        """The state (h, c) before the first step."""
        zero = jnp.zeros((*x.shape[:-1], self.n_hidden), x.dtype)
        return zero, zero

    def __call__(
        self,
        state: tuple[Float[Array, "... hidden"], Float[Array, "... hidden"]],
        x: Float[Array, "... channel"],
    ) -> tuple[Float[Array, "... hidden"], Float[Array, "... hidden"]]:
        """The next state (h, c), in the dtypes of the last."""
        hidden, cell = state
        gates = jnp.split(self.gates(jnp.concatenate([x, hidden], -1)), 4, -1)
        write, keep, read = map(jax.nn.sigmoid, gates[:3])
        cell_next = keep * cell + write * jnp.tanh(gates[3])
        hidden_next = read * jnp.tanh(cell_next)
        return hidden_next.astype(hidden.dtype), cell_next.astype(cell.dtype)


def _factory(
    kernel: int, n_axes: int, padding: str, dtype: Any, param_dtype: Any, rngs: nnx.Rngs
) -> Callable[[int, int], Conv]:
    def make(n_in: int, n_out: int) -> Conv:
        return Conv(
            n_in,
            n_out,
            kernel=kernel,
            n_axes=n_axes,
            padding=padding,
            kernel_init=nnx.initializers.glorot_normal(),
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    return make
