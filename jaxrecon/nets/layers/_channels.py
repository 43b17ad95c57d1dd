"""Between images and network channels: complex numbers, coils, and the scale of an example.

Only a network's first and last layers see complex images as two real channels. Functions here are
linear and keep the norm, so that nothing is lost or weighted on the way.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Inexact


def to_channels(
    image: Inexact[Array, "..."], *, axis: int | None = None
) -> Float[Array, "... channel"]:
    """An image as real channels: one if it is real, two (real, imaginary) if complex.

    Args:
        image: ``(..., y, x)``.
        axis: an axis of coils, contrasts or frames that goes to the channels too, e.g. 0 for
            ``(coil, y, x)``; real and imaginary part of one coil stand side by side.

    Returns:
        ``(..., y, x, channel)``.

    Example:
        >>> to_channels(jnp.ones((4, 5), jnp.complex64)).shape
        (4, 5, 2)
        >>> to_channels(jnp.ones((3, 4, 5), jnp.complex64), axis=0).shape
        (4, 5, 6)
    """
    parts = (image.real, image.imag) if jnp.iscomplexobj(image) else (image,)
    channels = jnp.stack(parts, -1)
    if axis is None:
        return channels
    channels = jnp.moveaxis(channels, axis if axis >= 0 else axis - 1, -2)
    return channels.reshape(*channels.shape[:-2], -1)


def from_channels(
    channels: Float[Array, "... channel"], like: Any, *, axis: int | None = None
) -> Inexact[Array, "..."]:
    """The image of which `to_channels` makes these channels.

    Args:
        channels: ``(..., y, x, channel)``.
        like: an array, struct or dtype: whether the image is complex, and its precision.
        axis: where the image gets an axis of coils; None: it has none.

    Raises:
        ValueError: the number of channels does not fit.

    Example:
        >>> x = jnp.arange(6.0).reshape(2, 3) + 1j
        >>> bool(jnp.all(from_channels(to_channels(x), x) == x))
        True
    """
    dtype = jnp.dtype(getattr(like, "dtype", like))
    n_parts = 2 if jnp.issubdtype(dtype, jnp.complexfloating) else 1
    n_channels = channels.shape[-1]
    if n_channels % n_parts or (axis is None and n_channels != n_parts):
        expected = n_parts if axis is None else f"a multiple of {n_parts}"
        raise ValueError(
            f"`channels` has {n_channels} channels, expected {expected} for an image of {dtype}: "
            "change the network's `n_out`, or pass `axis` for coils"
        )
    channels = channels.reshape(*channels.shape[:-1], -1, n_parts)
    image = jax.lax.complex(*_pair(channels)) if n_parts == 2 else channels[..., 0]
    image = image.astype(dtype)
    return image[..., 0] if axis is None else jnp.moveaxis(image, -1, axis)


def _pair(channels: Array) -> tuple[Array, Array]:
    # Complex numbers have at least single precision, also behind bfloat16 activations.
    channels = channels.astype(jnp.promote_types(channels.dtype, jnp.float32))
    return channels[..., 0], channels[..., 1]


def mean_and_scale(
    x: Float[Array, "... channel"], *, n_axes: int = 2
) -> tuple[Float[Array, "... channel"], Float[Array, "... 1"]]:
    """Each channel's mean, and one standard deviation for all channels of an example.

    One scale for all channels keeps the ratio of real to imaginary part, hence the phase, and
    that of coils. It is 1 where the example is constant. Both keep reduced axes as length one, and
    are computed in at least single precision.
    """
    space = tuple(range(-n_axes - 1, -1))
    precise = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(precise, space, keepdims=True)
    variance = jnp.mean(jnp.square(precise - mean), (*space, -1), keepdims=True)
    constant = variance == 0
    scale = jnp.where(constant, 1, jnp.sqrt(jnp.where(constant, 1, variance)))
    return mean.astype(x.dtype), scale.astype(x.dtype)


class Normalised(nnx.Module):
    """A network that sees every example with mean 0 and standard deviation 1.

    y = m + s · net((x − m)/s), with the mean m of each channel and one scale s for all of them, so
    that the whole commutes with a gain and an offset: N(a x + b) = a N(x) + b, a > 0. Gradients
    flow through m and s.

    Args:
        net: an image network.
        n_axes: the image's axes.
        n_maps: the last channels that are not the image but in its units, such as a map of the
            noise's standard deviation: divided by the scale alone.
        centre: whether the mean is taken away and given back; without it the network may have any
            number of output channels.

    Example:
        >>> from flax import nnx
        >>> from jaxrecon.nets.images import DnCNN
        >>> net = Normalised(DnCNN(1, 1, width=4, depth=3, rngs=nnx.Rngs(0)))
        >>> x = jnp.eye(8)[..., None]
        >>> bool(jnp.allclose(net(9 * x + 5), 9 * net(x) + 5, atol=1e-4))
        True
    """

    def __init__(self, net: Any, *, n_axes: int = 2, n_maps: int = 0, centre: bool = True):
        self.net = net
        self.n_axes = n_axes
        self.n_maps = n_maps
        self.centre = centre

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The network's result in the units of x.

        Raises:
            ValueError: the mean cannot be given back, as the network changes the channels' number.
        """
        n_image = x.shape[-1] - self.n_maps
        image, maps = x[..., :n_image], x[..., n_image:]
        mean, scale = mean_and_scale(image, n_axes=self.n_axes)
        image = image - mean if self.centre else image
        y = scale * self.net(jnp.concatenate([image, maps], -1) / scale)
        if not self.centre:
            return y
        if y.shape[-1] != n_image:
            raise ValueError(
                f"`net` makes {y.shape[-1]} channels of {n_image}, so their means cannot be given "
                "back: pass centre=False, or a network with as many outputs as image channels"
            )
        return mean + y
