"""PatchGAN: a critic that judges every patch of an image (Isola et al., arXiv:1611.07004)."""

import functools
import itertools
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.nets.images._checks import check_channels
from jaxrecon.nets.layers import Conv, Norm, SpectralConv, activation_named


class PatchGAN(nnx.Module):
    """Scores of overlapping patches; the larger, the more alike true images.

    `depth` convolutions of 4 pixels that halve the resolution, two more that keep it, with leaky
    ReLUs of slope 0.2 between. Scores are logits: no sigmoid. A score sees 70 pixels at depth 3.
    For WGAN-GP, whose penalty is on single examples, batch statistics don't do; with `spectral`
    the kernels' matrices have norm 1 and no norm layers are needed.

    Parameters, with w = `width`, D = `depth`, K = 4^n_axes, w_l = 2^min(l, 3) w:
    K (n_in w + Σ_{l=1..D} w_{l−1} w_l + w_D) + w + 1, that is 2 761 793 for ``PatchGAN(1)``; with
    norm="none" Σ_{l=1..D} w_l biases more.

    Args:
        n_in: channels of the input; more than the image's to judge it beside its measurement.
        width: channels after the first convolution.
        depth: number of halvings.
        norm: "instance", "batch", "group", "layer" or "none" after all convolutions but the first
            and the last.
        spectral: whether convolutions are `layers.SpectralConv`; then pass norm="none".
        n_axes: 2 for images, 3 for volumes.
        padding: what stands outside the image; see `layers.Conv`.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Example:
        >>> critic = PatchGAN(1, width=4, depth=1, rngs=nnx.Rngs(0))
        >>> critic(jnp.ones((2, 33, 32, 1))).shape
        (2, 17, 16, 1)
    """

    def __init__(
        self,
        n_in: int,
        *,
        width: int = 64,
        depth: int = 3,
        norm: str = "instance",
        spectral: bool = False,
        n_axes: int = 2,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.n_in, self.n_axes = n_in, n_axes
        shared: dict[str, Any] = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype}
        shared["rngs"] = rngs
        kind = SpectralConv if spectral else Conv
        conv = functools.partial(kind, kernel=4, padding=padding, **shared)
        widths = [width * 2 ** min(level, 3) for level in range(depth + 1)]
        pairs = list(itertools.pairwise(widths))
        strides = [2] * (depth - 1) + [1]
        bias = norm == "none"
        self.first = conv(n_in, width, stride=2)
        convs = [conv(w, v, stride=s, use_bias=bias) for (w, v), s in zip(pairs, strides)]
        self.convs = nnx.List(convs)
        self.norms = nnx.List([Norm(norm, w, **shared) for w in widths[1:]])
        self.last = conv(widths[-1], 1)

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... 1"]:
        """Scores ``(..., y / 2^depth, x / 2^depth, 1)``, sizes rounded up at every halving.

        Raises:
            ValueError: x has not n_in channels.
        """
        check_channels(x, self.n_in, self.n_axes)
        rho = activation_named("leaky_relu")
        features = rho(self.first(x))
        for conv, norm in zip(self.convs, self.norms):
            features = rho(norm(conv(features)))
        return self.last(features).astype(x.dtype)
