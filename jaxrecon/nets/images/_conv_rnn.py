"""A recurrent network that refines an image step by step with the same weights."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.images._checks import check_channels, check_residual
from jaxrecon.nets.layers import Conv, ConvGRU


class ConvRNN(nnx.Module):
    """x_{t+1} = x_t + decode(h_{t+1}), h_{t+1} = GRU(h_t, encode([x_t, x_0])), h_0 = 0.

    After Qin et al. (arXiv:1712.01751) and, with a gradient in place of x_0, recurrent inference
    machines (Putzky and Welling, arXiv:1706.04008): `step` is one turn. In reverse mode each turn
    is computed again, so that memory holds n_iter states and no features.

    Parameters, with w = `width`, K = 3^n_axes: w (K (n_in + n_out) + 1) + 3 w (2 K w + 1)
    + n_out (K w + 1).

    Args:
        n_in: channels of the input; the first n_out of them are the image x_0.
        n_out: channels of the output.
        width: channels of the features and of the state.
        n_iter: turns.
        n_axes: 2 for images, 3 for volumes.
        padding: what stands outside the image; see `layers.Conv`.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Raises:
        ValueError: n_out above n_in.

    Example:
        >>> net = ConvRNN(1, 1, width=4, n_iter=2, rngs=nnx.Rngs(0))
        >>> net(jnp.ones((5, 6, 1))).shape
        (5, 6, 1)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int = 32,
        n_iter: int = 5,
        n_axes: int = 2,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_residual(n_in, n_out)
        self.n_in, self.n_out, self.n_axes, self.n_iter = n_in, n_out, n_axes, n_iter
        shared: dict[str, Any] = {"n_axes": n_axes, "padding": padding, "dtype": dtype}
        shared |= {"param_dtype": param_dtype, "rngs": rngs}
        self.encode = Conv(n_in + n_out, width, **shared)
        self.cell = ConvGRU(width, width, **shared)
        init = nnx.initializers.lecun_normal()
        self.decode = Conv(width, n_out, kernel_init=init, **shared)

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The image network's result, ``(..., y, x, n_out)``.

        Raises:
            ValueError: x has not n_in channels.
        """
        check_channels(x, self.n_in, self.n_axes)

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def turn(carry, _):
            hidden, estimate = carry
            return self.step(hidden, estimate, x), None

        start = (self.cell.start(x), x[..., : self.n_out])
        # In a loop the derivative of a convolution is some 35 times slower on CPU (jax#12868).
        unroll = self.n_iter if jax.default_backend() == "cpu" else 1
        (_, estimate), _ = jax.lax.scan(turn, start, length=self.n_iter, unroll=unroll)
        return estimate

    def step(
        self,
        hidden: Float[Array, "... hidden"],
        estimate: Float[Array, "... channel"],
        x: Float[Array, "... channels"],
    ) -> tuple[Float[Array, "... hidden"], Float[Array, "... channel"]]:
        """One turn: the next state and the next estimate."""
        features = jax.nn.relu(self.encode(jnp.concatenate([estimate, x], -1)))
        hidden = self.cell(hidden, features)
        return hidden, estimate + self.decode(hidden).astype(estimate.dtype)
