"""How the units of a scan are split into what the network sees and what it is judged on.

A split is a pytree, ``split(key, units) -> keep``: of the measured units (`units`, booleans) those
that the network sees; the rest is held out. Splits that decide unit by unit also tell with which
`probability` each is kept, from its place alone; weighted losses need that.

In k-space the centre, index N//2 along every axis longer than one, carries most of the energy. For
shots and views, whose place means nothing, use `UniformSplit` or `SubsetSplit`.
"""

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxrecon.core import pytree, static


class Split(abc.ABC):
    """Draws what the network sees among the measured units."""

    @abc.abstractmethod
    def __call__(self, key: Key[Array, ""], units: Bool[Array, "..."]) -> Bool[Array, "..."]:
        """The measured units that are kept; the other measured ones are held out."""

    def probability(self, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """With which probability each unit is kept if it was measured, independently.

        Raises:
            ValueError: units are not drawn independently.
        """
        raise ValueError(
            f"`{type(self).__name__}` does not draw unit by unit, as the weights of the loss "
            "presume: pass `UniformSplit` or `VariableDensitySplit`"
        )


@pytree
class UniformSplit(Split):
    """Every unit is held out with the same probability, independently.

    Attributes:
        held_out: the probability; SSDU's ratio ρ.
        centre: units along the side of a block about k = 0 that is always kept: what every scan
            has measured. What is always kept is never judged.
    """

    held_out: Any = 0.4
    centre: int = static(default=0)

    def __call__(self, key: Key[Array, ""], units: Bool[Array, "..."]) -> Bool[Array, "..."]:
        return _drawn(key, units, self.probability(units.shape))

    def probability(self, shape: tuple[int, ...]) -> Float[Array, "..."]:
        keep = jnp.full(shape, 1.0 - self.held_out)
        return jnp.where(_central(shape, self.centre), 1.0, keep)


@pytree
class VariableDensitySplit(Split):
    """Units are kept with probability min(most, s (1 − ρ)^power) at distance ρ from k = 0, 0 to 1.

    The same kind of density as that of the scans themselves, which Millard and Chiew (IEEE Trans.
    Comput. Imaging 9, 2023) found best; s makes the mean over the grid 1 − held_out. Units that
    scans measure at times only have to be held out at times, or nothing is learnt there.

    Attributes:
        held_out: the mean probability of being held out, over all of the grid.
        power: of the density.
        centre: units along the side of a block about k = 0 that is always kept: what every scan
            has measured.
        most: with which probability a unit elsewhere is kept at most, if held_out allows.
    """

    held_out: Any = 0.5
    power: Any = 3.0
    centre: int = static(default=0)
    most: Any = 0.9

    def __call__(self, key: Key[Array, ""], units: Bool[Array, "..."]) -> Bool[Array, "..."]:
        return _drawn(key, units, self.probability(units.shape))

    def probability(self, shape: tuple[int, ...]) -> Float[Array, "..."]:
        axes = [k / (n // 2 + 1) for n, k in zip(shape, _places(shape), strict=True) if n > 1]
        squares = sum((k**2 for k in axes), np.zeros((1,) * len(shape))) / max(len(axes), 1)
        density = (1 - jnp.broadcast_to(jnp.asarray(np.sqrt(squares), float), shape)) ** self.power
        centre = _central(shape, self.centre)
        most = jnp.maximum(self.most, 1.0 - self.held_out)
        keep = lambda s: jnp.where(centre, 1.0, jnp.minimum(most, s * density))  # noqa: E731

        def halve(_, bounds):
            low, high = bounds
            middle = jnp.sqrt(low * high)
            enough = jnp.mean(keep(middle)) >= 1 - self.held_out
            return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

        # s lies between almost nothing and what keeps every unit.
        bounds = (jnp.full((), 1e-9), jnp.maximum(1 / jnp.min(density), 1.0))
        return keep(jax.lax.fori_loop(0, 60, halve, bounds)[1])


@pytree
class GaussianSplit(Split):
    """A fixed share of the measured units is held out, drawn with a Gaussian density about k = 0.

    The selection of SSDU (Yaman et al., Magn. Reson. Med. 84, 2020).

    Attributes:
        held_out: the share ρ of the measured units.
        width: standard deviation of the density over the length of each axis.
        centre: units along the side of a block about k = 0 that is always kept.
    """

    held_out: Any = 0.4
    width: Any = 0.25
    centre: int = static(default=4)

    def __call__(self, key: Key[Array, ""], units: Bool[Array, "..."]) -> Bool[Array, "..."]:
        shape = units.shape
        steps = (k / (self.width * n) for n, k in zip(shape, _places(shape), strict=True) if n > 1)
        log_density = -0.5 * sum((k**2 for k in steps), jnp.zeros((1,) * len(shape)))
        free = units & ~_central(shape, self.centre)
        # The Gumbel top-k method: without replacement, with probability as the density.
        score = jnp.where(free, log_density + jax.random.gumbel(key, shape), -jnp.inf)
        n_held = jnp.round(self.held_out * jnp.sum(units)).astype(jnp.int32)
        rank = jnp.argsort(jnp.argsort(-score.reshape(-1))).reshape(shape)
        return units & ~(free & (rank < n_held))


@pytree
class SubsetSplit(Split):
    """One of n interleaved subsets is held out: views or shots i, i + n, ... for a random i.

    Attributes:
        n: how many subsets there are.
    """

    n: int = static(default=4)

    def __call__(self, key: Key[Array, ""], units: Bool[Array, "..."]) -> Bool[Array, "..."]:
        place = jnp.arange(units.size).reshape(units.shape)
        return units & (place % self.n != jax.random.randint(key, (), 0, self.n))


def split_units(split: Any, key: Key[Array, ""], units: PyTree) -> PyTree:
    """A split of the units of one measurement, or of each of several with a key of its own."""
    leaves, structure = jax.tree.flatten(units)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, [split(k, u) for k, u in zip(keys, leaves, strict=True)])


def sampling_density(
    draw: Callable[[Key[Array, ""]], Array], key: Key[Array, ""], *, n: int = 1000
) -> Float[Array, "..."]:
    """With which probability each unit is measured, as the mean of `n` masks.

    What the weights of `WeightedSSDU` need of a family of random masks, estimated once.

    Args:
        draw: ``draw(key) -> mask``.
        key: random key.
        n: number of masks; the standard error is at most 1/(2√n).

    Example:
        >>> line = lambda key: jax.random.bernoulli(key, 0.25, (5,))
        >>> bool(abs(sampling_density(line, jax.random.key(0)) - 0.25).max() < 0.05)
        True
    """
    add = lambda total, k: (total + draw(k).astype(float), None)  # noqa: E731
    zeros = jnp.zeros(jax.eval_shape(draw, key).shape, float)
    total, _ = jax.lax.scan(add, zeros, jax.random.split(key, n))
    return total / n


def _drawn(
    key: Key[Array, ""], units: Bool[Array, "..."], probability: Float[Array, "..."]
) -> Bool[Array, "..."]:
    """Units kept with their probability; one at least is kept, and one held out, if there are two.

    Where the draw leaves either part empty, a unit changes sides: of a few views that happens.
    """
    key_keep, key_change = jax.random.split(key)
    keep = units & jax.random.bernoulli(key_keep, probability)
    first, second = jax.random.split(key_change)
    keep = jnp.where(jnp.any(keep), keep, _one_of(first, units))
    movable = units & (probability < 1)
    only = jnp.sum(units) < 2
    return keep & ~(_one_of(second, movable) & ~jnp.any(units & ~keep) & ~only)


def _one_of(key: Key[Array, ""], units: Bool[Array, "..."]) -> Bool[Array, "..."]:
    """One of the units at random, if there is any."""
    score = jnp.where(units, jax.random.uniform(key, units.shape), -1.0)
    place = jnp.arange(units.size).reshape(units.shape)
    return units & (place == jnp.argmax(score))


def _places(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Units from k = 0 along each axis, broadcastable to the shape."""
    axes = (np.arange(n) - n // 2 for n in shape)
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def _central(shape: tuple[int, ...], side: int) -> np.ndarray:
    """True in the block of the given side about k = 0, along every axis longer than one."""
    inside = np.full(shape, side > 0)
    for n, k in zip(shape, _places(shape), strict=True):
        if n > 1:
            inside = inside & (k >= -(side // 2)) & (k < side - side // 2)
    return inside
