"""Networks that stand for an image before they have seen one: untrained priors.

A generator of images is called as ``G(z)``; `posterior.latent.fit_generator` fits its weights to a
measurement. Convolutions learn smooth, self-similar things sooner than noise.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Inexact, Key

from jaxrecon.nets.images import UNet
from jaxrecon.nets.images._checks import check_channels
from jaxrecon.nets.layers import Conv, Norm, activation_named, from_channels


class DeepDecoder(nnx.Module):
    """Mixes of channels, doubled in resolution again and again; too few weights for noise.

    At every level a convolution, linear interpolation to twice the size, a ReLU, and channels
    normalised to learned means and deviations; two more convolutions at full resolution. With
    kernels of one pixel, which the source has, all that is known of neighbours comes from the
    interpolation (Heckel and Hand, ICLR 2019); kernels of 3 make the ConvDecoder of Darestani and
    Heckel, IEEE Trans. Comput. Imaging 7, 2021. The result is not squashed to [0, 1].

    Parameters, with w = `width`, D = `depth`, K = kernel^n_axes:
    K w (n_in + D w) + 2 w (D + 1) + (w + 1) n_out, that is 99 969 for ``DeepDecoder(128, 1,
    width=128, depth=5)``.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        width: channels of the features.
        depth: number of doublings of the resolution.
        kernel: the kernels' side in pixels, but the last one's.
        activation: a name in `layers.ACTIVATIONS`.
        n_axes: 2 for images, 3 for volumes.
        padding: what stands outside the image, for kernels above 1; see `layers.Conv`.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Example:
        >>> net = DeepDecoder(4, 1, width=8, depth=2, rngs=nnx.Rngs(0))
        >>> net(jnp.ones((5, 6, 4))).shape
        (20, 24, 1)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int = 64,
        depth: int = 4,
        kernel: int = 1,
        activation: str = "relu",
        n_axes: int = 2,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        activation_named(activation)  # refuses an unknown one here
        self.n_in, self.n_axes, self.depth = n_in, n_axes, depth
        self.activation = activation
        shared: dict[str, Any] = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype}
        shared["rngs"] = rngs
        conv = functools.partial(Conv, kernel=kernel, padding=padding, use_bias=False, **shared)
        widths = [n_in] + [width] * depth
        self.convs = nnx.List([conv(w, width) for w in widths])
        self.norms = nnx.List([Norm("instance", width, affine=True, **shared) for _ in widths])
        init = nnx.initializers.lecun_normal()
        self.last = Conv(width, n_out, kernel=1, kernel_init=init, **shared)

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The image ``(..., 2^depth y, 2^depth x, n_out)`` of features ``(..., y, x, n_in)``.

        Raises:
            ValueError: x has not n_in channels.
        """
        check_channels(x, self.n_in, self.n_axes)
        rho, features = activation_named(self.activation), x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            features = conv(features)
            features = doubled(features, self.n_axes) if i < self.depth else features
            features = norm(rho(features))
        return self.last(features).astype(x.dtype)


def doubled(x: Float[Array, "... channel"], n_axes: int = 2) -> Float[Array, "... channel"]:
    """Features at twice the resolution by linear interpolation."""
    space = range(x.ndim - n_axes - 1, x.ndim - 1)
    shape = [2 * n if axis in space else n for axis, n in enumerate(x.shape)]
    return jax.image.resize(x, shape, "linear")


class ImageGenerator(nnx.Module):
    """A network with channels last as a generator of images without channels, real or complex.

    Args:
        net: its output has one channel for a real image, two for a complex one, and is at least as
            large as the image, which is its middle.
        like: an array or struct in the image's shape and dtype.

    Example:
        >>> net = DeepDecoder(4, 2, width=8, depth=1, rngs=nnx.Rngs(0))
        >>> G = ImageGenerator(net, jnp.zeros((7, 10), complex))
        >>> G(jnp.ones((4, 5, 4))).shape
        (7, 10)
    """

    def __init__(self, net: Any, like: Any):
        self.net = net
        self.like = jax.ShapeDtypeStruct(tuple(like.shape), jnp.dtype(like.dtype))

    def __call__(self, z: Array) -> Inexact[Array, "..."]:
        """The image of a latent.

        Raises:
            ValueError: the network's output is smaller than the image, or has other channels.
        """
        return from_channels(cropped(self.net(z), self.like.shape), self.like)


def cropped(x: Float[Array, "... channel"], shape: tuple[int, ...]) -> Float[Array, "... channel"]:
    """The middle of an image with channels last.

    Raises:
        ValueError: it is smaller than that.
    """
    sizes = x.shape[-len(shape) - 1 : -1]
    if any(n < m for n, m in zip(sizes, shape, strict=True)):
        raise ValueError(f"`net` makes {sizes}, expected at least the image's {shape}")
    lows = [(n - m) // 2 for n, m in zip(sizes, shape, strict=True)]
    middle = tuple(slice(low, low + m) for low, m in zip(lows, shape, strict=True))
    return x[(..., *middle, slice(None))]


def deep_image_prior(
    like: Any,
    *,
    n_in: int = 32,
    width: int = 32,
    depth: int = 4,
    n_axes: int = 2,
    key: Key[Array, ""],
) -> tuple[ImageGenerator, Float[Array, "..."]]:
    """The untrained U-Net of the deep image prior, and its input: uniform noise from 0 to 0.1.

    As Ulyanov et al. (Int. J. Comput. Vis. 128, 2020) have it, with leaky ReLUs and linear
    interpolation upwards, but with means in place of strides on the way down and zeros outside.

    Args:
        like: an array or struct in the image's shape and dtype.
        n_in: channels of the noise.
        width: of the U-Net at full resolution.
        depth: number of halvings of the resolution.
        n_axes: 2 for images, 3 for volumes.
        key: draws the weights and the noise.

    Returns:
        The generator and z.

    Example:
        >>> like = jnp.zeros((12, 10))
        >>> G, z = deep_image_prior(like, n_in=2, width=4, depth=1, key=jax.random.key(0))
        >>> z.shape, G(z).shape
        ((12, 10, 2), (12, 10))
    """
    key_weights, key_input = jax.random.split(key)
    options: dict[str, Any] = {"up": "linear", "n_axes": n_axes}
    rngs = nnx.Rngs(key_weights)
    net = UNet(n_in, _n_parts(like), width=width, depth=depth, **options, rngs=rngs)
    return ImageGenerator(net, like), _noise(key_input, (*like.shape, n_in), like)


def deep_decoder(
    like: Any,
    *,
    n_in: int | None = None,
    width: int = 64,
    depth: int = 4,
    kernel: int = 1,
    n_axes: int = 2,
    key: Key[Array, ""],
) -> tuple[ImageGenerator, Float[Array, "..."]]:
    """An untrained `DeepDecoder`, and its input: uniform noise of the lowest resolution.

    Args:
        like: an array or struct in the image's shape and dtype.
        n_in: channels of the noise; `width` by default.
        width: of the decoder.
        depth: number of doublings of the resolution.
        kernel: side of the kernels; 3 for a ConvDecoder.
        n_axes: 2 for images, 3 for volumes.
        key: draws the weights and the noise.

    Returns:
        The generator and z.

    Example:
        >>> G, z = deep_decoder(jnp.zeros((12, 10)), width=4, depth=2, key=jax.random.key(0))
        >>> z.shape, G(z).shape
        ((3, 3, 4), (12, 10))
    """
    n_in = width if n_in is None else n_in
    key_weights, key_input = jax.random.split(key)
    options: dict[str, Any] = {"width": width, "depth": depth, "kernel": kernel, "n_axes": n_axes}
    net = DeepDecoder(n_in, _n_parts(like), **options, rngs=nnx.Rngs(key_weights))
    sizes = [-(-n // 2**depth) for n in like.shape]
    return ImageGenerator(net, like), _noise(key_input, (*sizes, n_in), like)


def _n_parts(like: Any) -> int:
    return 2 if jnp.issubdtype(like.dtype, jnp.complexfloating) else 1


def _noise(key: Key[Array, ""], shape: tuple[int, ...], like: Any) -> Array:
    return jax.random.uniform(key, shape, jnp.finfo(like.dtype).dtype, 0, 0.1)
