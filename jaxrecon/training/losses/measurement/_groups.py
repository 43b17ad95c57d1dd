"""Groups of transformations under which images of a kind stay images of that kind.

A group is a pytree with `draw(key, shape)`, a random element, and `apply(element, x)`, its action
on the last two axes of an image; called, it does both. Elements are arrays, so that one program
serves them all. All actions are linear; those that permute pixels are unitary.
"""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Inexact, Key

from jaxrecon.core import pytree, static


class Group(abc.ABC):
    """Transformations of images, drawn at random."""

    @abc.abstractmethod
    def draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Any:
        """A random element for images of this shape, uniformly."""

    @abc.abstractmethod
    def apply(self, element: Any, x: Array) -> Array:
        """The image moved by an element."""

    def __call__(self, key: Key[Array, ""], x: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """The image moved by a random element.

        Raises:
            ValueError: an image of less than two axes, or one that the group does not act on.
        """
        if x.ndim < 2:
            raise ValueError(f"`x` has shape {x.shape}, expected an image (..., y, x)")
        return self.apply(self.draw(key, x.shape), x)


@pytree
class Shifts(Group):
    """Cyclic translations by whole pixels.

    Attributes:
        largest: how far at most, as a fraction of the image's side; 1 (or ½) is all shifts, the
            group, less is a neighbourhood of none.

    Example:
        >>> Shifts().apply(jnp.array([0, 1]), jnp.arange(4.0).reshape(2, 2)).tolist()
        [[1.0, 0.0], [3.0, 2.0]]
    """

    largest: float = static(default=1.0)

    def draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
        sides = jnp.array(shape[-2:])
        reach = jnp.minimum(jnp.floor(self.largest * sides).astype(jnp.int32), sides // 2)
        return jax.random.randint(key, (2,), -reach, jnp.minimum(reach + 1, sides - reach))

    def apply(self, element: Array, x: Array) -> Array:
        return jnp.roll(x, element, (-2, -1))


@pytree
class Flips(Group):
    """The four reflections of the two axes."""

    def draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
        del shape
        return jax.random.bernoulli(key, 0.5, (2,))

    def apply(self, element: Array, x: Array) -> Array:
        x = jnp.where(element[0], jnp.flip(x, -2), x)
        return jnp.where(element[1], jnp.flip(x, -1), x)


@pytree
class QuarterTurns(Group):
    """The four rotations by multiples of 90°, of square images."""

    def draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
        del shape
        return jax.random.randint(key, (), 0, 4)

    def apply(self, element: Array, x: Array) -> Array:
        if x.shape[-1] != x.shape[-2]:
            raise ValueError(
                f"`x` has shape {x.shape}, expected a square image for quarter turns: use `Flips`"
            )
        turns = [lambda x, k=k: jnp.rot90(x, k, (-2, -1)) for k in range(4)]
        return jax.lax.switch(element, turns, x)


@pytree
class Rotations(Group):
    """Rotations about the image's centre by any angle, approximately: by linear interpolation.

    Not a group on pixels: what leaves the frame is lost, what enters is zero, and interpolation
    smooths. For objects within the frame's inscribed circle.

    Attributes:
        largest: angle in radians, both ways; π is the full circle.
    """

    largest: Any = jnp.pi

    def draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
        del shape
        return jax.random.uniform(key, (), minval=-self.largest, maxval=self.largest)

    def apply(self, element: Array, x: Array) -> Array:
        n_y, n_x = x.shape[-2:]
        y = jnp.arange(n_y, dtype=x.real.dtype)[:, None] - (n_y - 1) / 2
        u = jnp.arange(n_x, dtype=x.real.dtype)[None, :] - (n_x - 1) / 2
        cos, sin = (f(jnp.asarray(element, x.real.dtype)) for f in (jnp.cos, jnp.sin))
        # The pixel at (y, u) shows what was at that point turned back, x to y being positive.
        places = [cos * y - sin * u + (n_y - 1) / 2, cos * u + sin * y + (n_x - 1) / 2]
        turn = lambda image: map_coordinates(image, places, order=1, mode="constant")  # noqa: E731
        return jax.vmap(turn)(x.reshape(-1, n_y, n_x)).reshape(x.shape)


@pytree
class Product(Group):
    """One transformation after the other: Product((Flips(), Shifts()))."""

    groups: tuple[Group, ...]

    def draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> tuple[Any, ...]:
        keys = jax.random.split(key, len(self.groups))
        return tuple(g.draw(k, shape) for g, k in zip(self.groups, keys, strict=True))

    def apply(self, element: tuple[Any, ...], x: Array) -> Array:
        for group, part in zip(self.groups, element, strict=True):
            x = group.apply(part, x)
        return x
