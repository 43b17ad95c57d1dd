"""Augmentation on the device: pure functions of an image and a key.

Images are (..., y, x), real or complex, with any leading axes, which all move alike. Rotations and
flips are exact; zoom and fractional shifts interpolate linearly about the centre (N − 1)/2, with
zeros outside. The recipe of the field is all of them, each with a moderate range.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Key

from jaxrecon.core import pytree, static
from jaxrecon.training._step import Loss, callable_pytree

Images = Inexact[Array, "*batch y x"]


def rotate90(image: Images, key: Key[Array, ""]) -> Images:
    """A rotation by 0, 90, 180 or 270 degrees; by 0 or 180 if the image is not square."""
    square = image.shape[-1] == image.shape[-2]
    turns = [0, 1, 2, 3] if square else [0, 2]
    ways = [lambda x, k=k: jnp.rot90(x, k, axes=(-2, -1)) for k in turns]
    return jax.lax.switch(jax.random.randint(key, (), 0, len(turns)), ways, image)


def flip(image: Images, key: Key[Array, ""]) -> Images:
    """Upside down or not, and left to right or not."""
    down, right = jax.random.bernoulli(key, shape=(2,))
    image = jnp.where(down, jnp.flip(image, -2), image)
    return jnp.where(right, jnp.flip(image, -1), image)


def shift(image: Images, key: Key[Array, ""], most: float) -> Images:
    """A translation of up to `most` pixels along each axis, linearly interpolated."""
    offset = jax.random.uniform(key, (2,), minval=-most, maxval=most)
    return _resample(image, jnp.ones(()), offset)


def zoom(image: Images, key: Key[Array, ""], low: float, high: float) -> Images:
    """An enlargement about the centre by a factor from `low` to `high`, log-uniform."""
    return _resample(image, _log_uniform(key, low, high), jnp.zeros(2))


@pytree
class Augment:
    """Random rotations, flips, zoom, shifts and brightness of an image: ``augment(image, key)``.

    Attributes:
        rotations: by multiples of 90 degrees.
        flips: along both axes.
        zoom: the smallest and the largest enlargement.
        shift: the largest translation, in pixels.
        brightness: the smallest and the largest factor on the values.

    Example:
        >>> augment = Augment(zoom=(0.9, 1.1), shift=2.0)
        >>> augment(jnp.ones((8, 8)), jax.random.key(0)).shape
        (8, 8)
    """

    rotations: bool = static(default=True, kw_only=True)
    flips: bool = static(default=True, kw_only=True)
    zoom: tuple[float, float] | None = static(default=None, kw_only=True)
    shift: float | None = static(default=None, kw_only=True)
    brightness: tuple[float, float] | None = static(default=None, kw_only=True)

    def __call__(self, image: Images, key: Key[Array, ""]) -> Images:
        """An image of the same shape; the same key moves images of one shape alike."""
        keys = jax.random.split(key, 5)
        if self.rotations:
            image = rotate90(image, keys[0])
        if self.flips:
            image = flip(image, keys[1])
        if self.zoom is not None or self.shift is not None:
            factor = _log_uniform(keys[2], *(self.zoom or (1.0, 1.0)))
            most = self.shift or 0.0
            offset = jax.random.uniform(keys[3], (2,), minval=-most, maxval=most)
            image = _resample(image, factor, offset)
        if self.brightness is not None:
            image = image * _log_uniform(keys[4], *self.brightness).astype(image.real.dtype)
        return image


def augmented(loss: Loss, augment: Any, names: Sequence[str] = ("image",)) -> Loss:
    """A loss whose examples are augmented first: for training, not for evaluation.

    Args:
        loss: ``loss(net, example, key)``.
        augment: ``augment(image, key)``, such as an `Augment`.
        names: which arrays of an example; all move alike.

    Example:
        >>> def loss(net, example, key):
        ...     return jnp.sum(example["image"]), {}
        >>> one = {"image": jnp.ones((4, 4))}
        >>> float(augmented(loss, Augment())(None, one, jax.random.key(0))[0])
        16.0
    """
    return _Augmented(callable_pytree(loss), callable_pytree(augment), tuple(names))


@pytree
class _Augmented:
    loss: Any
    augment: Any
    names: tuple[str, ...] = static()

    def __call__(self, net, example, key):
        key_augment, key_loss = jax.random.split(key)
        moved = {name: self.augment(example[name], key_augment) for name in self.names}
        return self.loss(net, {**example, **moved}, key_loss)


def _log_uniform(key: Key[Array, ""], low: float, high: float) -> Array:
    ends = jnp.log(jnp.asarray([low, high]))
    return jnp.exp(jax.random.uniform(key, minval=ends[0], maxval=ends[1]))


def _resample(image: Images, factor: Array, offset: Array) -> Images:
    """image((r − c − offset)/factor + c) on the grid, by two passes of linear interpolation."""
    for axis in (-2, -1):
        image = _resample_axis(image, factor, offset[axis], axis)
    return image


def _resample_axis(image: Images, factor: Array, offset: Array, axis: int) -> Images:
    n = image.shape[axis]
    center = (n - 1) / 2
    position = (jnp.arange(n) - center - offset) / factor + center
    below = jnp.floor(position)
    weight = (position - below).astype(image.real.dtype)
    low, high = _sample(image, below, axis), _sample(image, below + 1, axis)
    weight = weight if axis == -1 else weight[:, None]
    weight = weight.reshape((1,) * (image.ndim - weight.ndim) + weight.shape)
    return (1 - weight) * low + weight * high


def _sample(image: Images, index: Array, axis: int) -> Images:
    return jnp.take(image, index.astype(jnp.int32), axis, mode="fill", fill_value=0)
