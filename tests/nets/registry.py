"""Every image network, as factories of tiny instances.

To add a network, add a case; `test_registry.py` does the rest.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxrecon.nets import generative, images, layers


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and what is promised of it.

    Attributes:
        make: takes rngs, dtype and param_dtype.
        n_in: channels of the input.
        n_out: channels of the output.
        n_parameters: the formula of the docstring.
        shape: an image that strides and windows don't divide.
        shrunk: the output's sizes for that shape, if they are others.
        homogeneous: whether net(a x) = a net(x).
    """

    make: Callable[..., nnx.Module]
    n_in: int
    n_out: int
    n_parameters: int
    shape: tuple[int, ...] = (5, 6)
    shrunk: tuple[int, ...] | None = None
    homogeneous: bool = False


def _options(kind: Callable, *channels: int, **fixed: Any) -> Callable[..., nnx.Module]:
    return lambda **options: kind(*channels, **fixed | options)


def _unet_parameters(n_in, n_out, w, depth, n_axes=2):
    K, S = 3**n_axes, 2**n_axes
    down = sum(2 * 4 ** (level - 1) + 4**level for level in range(1, depth + 1))
    up = sum(4**level for level in range(depth)) * (2 * S + 3 * K)
    return K * w * (n_in + w) + K * w**2 * down + w**2 * up + (w + 1) * n_out


def _many_options_parameters(n_in, n_out, w):
    """Depth 1; separable and residual blocks, group norm, gate, linear interpolation."""

    def conv(n, m):
        return 9 * n + n * m

    def block(n, m):
        return conv(n, m) + conv(m, m) + 4 * m + (n * m if n != m else 0)

    gate = (2 * w + 1) * (w // 2) + w // 2 + 1
    blocks = block(n_in, w) + block(w, 2 * w) + block(2 * w, w)
    return blocks + 2 * w * w + 2 * w + gate + (w + 1) * n_out


def _drunet_parameters(n_in, n_out, w, depth, b, n_axes=2):
    K, S = 3**n_axes, 2**n_axes
    levels = sum(4**level for level in range(depth))
    edges = K * w * (n_in + n_out)
    return edges + w**2 * (4 * b * K + 4 * S) * levels + 2 * b * K * w**2 * 4**depth


def _restormer_block(c, h, K=9):
    H = int(2.66 * c)
    return 4 * c**2 + 3 * K * c + h + 3 * c * H + 2 * K * H + 4 * c


def _restormer_parameters(n_in, n_out, w):
    """Two levels of one block, heads 1 and 2."""
    resampling = (2 * 4 + 2 * 36 + 2) * w**2
    blocks = 2 * _restormer_block(w, 1) + _restormer_block(2 * w, 2)
    return 9 * w * (n_in + n_out) + blocks + resampling


def _swin_parameters(n_in, n_out, c, h, window, b, n_axes=2):
    K = 3**n_axes
    block = 8 * c**2 + 11 * c + h * (2 * window - 1) ** n_axes
    ends = K * c * (n_in + n_out) + c + n_out + 2 * c + K * c**2 + c
    return ends + b * block + K * c**2 + c


def _rnn_parameters(n_in, n_out, w, K=9):
    return w * (K * (n_in + n_out) + 1) + 3 * w * (2 * K * w + 1) + n_out * (K * w + 1)


def _vae_parameters(n_in, n, widths, K=9, S=4):
    pairs = sum(w * v for w, v in itertools.pairwise(widths))
    blocks = 4 * sum(K * w**2 + 2 * w for w in widths)
    ends = (2 * K * n_in + 3) * widths[0] + 3 * (n + 1) * widths[-1] + 2 * n + n_in
    return blocks + (S + 1) * pairs + ends


class AtLevel(nnx.Module):
    """A network that is told a level and a condition, at one of them."""

    def __init__(self, net, n_conditions):
        self.net, self.n_conditions = net, n_conditions

    def __call__(self, x):
        condition = jnp.linspace(-1, 1, self.n_conditions) if self.n_conditions else None
        return self.net(x, 0.3, condition)


def _score_unet(n_in, n_out, n_conditions=0, **fixed):
    def make(**options):
        net = generative.ScoreUNet(n_in, n_out, n_conditions=n_conditions, **fixed, **options)
        return AtLevel(net, n_conditions)

    return make


def _score_unet_parameters(n_in, n_out, w, k, p, h, window):
    """Factors (1, 2), one block at each, attention at the second; k conditions, patches of p."""
    e, c = 4 * w, 2 * w
    ends = 9 * p**2 * (n_in + n_out) * w + w + p**2 * n_out + 2 * w
    told = w * e + e + e * e + e + k * e

    def block(a, b):
        convs = 9 * a * b + 9 * b**2 + 2 * b + (a * b + b if a != b else 0)
        return convs + 2 * (a + b) + 2 * b * (e + 1)

    attention = 4 * c**2 + 6 * c + h * (2 * window - 1) ** 2
    down = block(w, w) + block(w, c)
    bottom = 2 * block(c, c)
    up = block(2 * c, c) + block(c + w, c) + block(c + w, w) + block(2 * w, w)
    return ends + told + down + bottom + up + 4 * attention + c * c


CASES = {
    "U-Net": Case(
        _options(images.UNet, 1, 1, width=4, depth=1), 1, 1, _unet_parameters(1, 1, 4, 1)
    ),
    "U-Net, volume": Case(
        _options(images.UNet, 2, 1, width=2, depth=1, n_axes=3, padding="circular"),
        2,
        1,
        _unet_parameters(2, 1, 2, 1, 3),
        (3, 5, 4),
    ),
    "U-Net, many options": Case(
        _options(
            images.UNet,
            2,
            1,
            width=4,
            depth=1,
            norm="group",
            n_groups=2,
            activation="silu",
            residual=True,
            residual_blocks=True,
            dropout=0.3,
            attention=True,
            separable=True,
            down="max",
            up="linear",
            padding="reflect",
        ),
        2,
        1,
        _many_options_parameters(2, 1, 4),
    ),
    "U-Net, free of biases": Case(
        _options(
            images.UNet,
            1,
            2,
            width=2,
            depth=1,
            norm="none",
            use_bias=False,
            down="stride",
            up="shuffle",
        ),
        1,
        2,
        9 * 2 * 3 + 9 * 8 + 9 * 16 + 4 * 4 + 36 * 8 + 9 * 12 + 2 * 2,
        homogeneous=True,
    ),
    "DnCNN, batch norm": Case(
        _options(images.DnCNN, 2, 1, width=4, depth=3, norm="batch", padding="replicate"),
        2,
        1,
        9 * 4 * (2 + 4 + 1) + 4 + 1 + 2 * 4,
    ),
    "DnCNN, volume, free of biases": Case(
        _options(images.DnCNN, 1, 1, width=2, depth=3, use_bias=False, n_axes=3),
        1,
        1,
        27 * 2 * (1 + 2 + 1),
        (3, 5, 4),
        homogeneous=True,
    ),
    "IRCNN, separable": Case(
        _options(images.DnCNN, 1, 1, width=4, depth=3, dilations=(1, 2, 1), separable=True),
        1,
        1,
        9 * 4 * (1 + 1 + 1) + 16 + 4 * 2 + 1,
    ),
    "DRUNet": Case(
        _options(images.DRUNet, 2, 1, width=2, depth=1, n_blocks=1),
        2,
        1,
        _drunet_parameters(2, 1, 2, 1, 1),
        homogeneous=True,
    ),
    "Restormer": Case(
        _options(images.Restormer, 2, 1, width=4, n_blocks=(1, 1), n_heads=(1, 2), n_refinement=0),
        2,
        1,
        _restormer_parameters(2, 1, 4),
    ),
    "SwinIR": Case(
        _options(images.SwinIR, 1, 1, width=4, n_groups=1, n_blocks=2, n_heads=2, window=4),
        1,
        1,
        _swin_parameters(1, 1, 4, 2, 4, 2),
    ),
    "ConvRNN": Case(
        _options(images.ConvRNN, 2, 1, width=4, n_iter=2), 2, 1, _rnn_parameters(2, 1, 4)
    ),
    "PatchGAN, spectral": Case(
        _options(images.PatchGAN, 1, width=4, depth=2, norm="none", spectral=True),
        1,
        1,
        16 * (4 + 4 * 8 + 8 * 16 + 16) + 4 + 1 + 8 + 16,
        (9, 10),
        (3, 3),
    ),
    "score U-Net": Case(
        _score_unet(
            2,
            1,
            3,
            width=4,
            factors=(1, 2),
            n_blocks=1,
            attention=(1,),
            n_heads=2,
            window=2,
            patch=2,
            n_groups=2,
        ),
        2,
        1,
        _score_unet_parameters(2, 1, 4, 3, 2, 2, 2),
        (7, 10),
    ),
    "normalised": Case(
        lambda **options: layers.Normalised(
            images.DnCNN(3, 2, width=4, depth=2, **options), n_maps=1
        ),
        3,
        2,
        9 * 4 * (3 + 2) + 4 + 2,
        homogeneous=True,
    ),
    "deep decoder": Case(
        _options(generative.DeepDecoder, 3, 1, width=4, depth=2),
        3,
        1,
        4 * (3 + 2 * 4) + 2 * 4 * 3 + 4 + 1,
        shrunk=(20, 24),
    ),
    "ConvDecoder, volume": Case(
        _options(generative.DeepDecoder, 2, 1, width=2, depth=1, kernel=3, n_axes=3),
        2,
        1,
        27 * 2 * (2 + 2) + 2 * 2 * 2 + 2 + 1,
        (2, 3, 2),
        (4, 6, 4),
    ),
    "VAE": Case(
        _options(generative.VAE, 2, n_latent=3, width=4, depth=1, n_groups=2),
        2,
        2,
        _vae_parameters(2, 3, (4, 8)),
        (4, 6),
    ),
    "DCGAN": Case(
        _options(generative.DCGAN, 3, 2, start=(2, 3), width=2, depth=1),
        3,
        2,
        4 * 6 * 4 + (9 * 4 + 1) * 2 + (9 * 2 + 1) * 2 + 2 * (4 + 2),
        (),
        (4, 6),
    ),
    "patch flow": Case(
        _options(generative.PatchFlow, 3, width=4, depth=2),
        9,
        9,
        2 * (5 * 4 + 5 * 4 + 5 * 10),
    ),
}
