"""Distances in the features of a trained network.

    Σ_l w_l mean |φ_l(prediction) − φ_l(target)|^p                                         (1)

with feature maps φ_l of chosen layers, after Johnson, Alahi and Fei-Fei, "Perceptual losses for
real-time style transfer and super-resolution", ECCV 2016, and, with features of unit length in
every pixel, Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric",
CVPR 2018. The features may be those of any network, best one trained on images of the same kind.
"""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.core import pytree, static
from jaxrecon.nets.layers import to_channels
from jaxrecon.training.losses.image._pixel import Distance, l2


@pytree
class Perceptual:
    """Equation (1) as a distance of images; the features' own weights stay as they are.

    Attributes:
        features: a pytree callable, a network: ``features(x)`` of real ``(..., y, x, channel)``
            gives feature maps ``(..., y, x, channel)`` in a list, or in a dict by name.
        layers: which of them count: places in the list, or names.
        weights: w, one for each layer; all 1 if None.
        distance: of feature maps.
        unit: whether the features of every pixel are scaled to length 1 first.

    Example:
        >>> pyramid = jax.tree_util.Partial(lambda x: [x, x[..., ::2, ::2, :]])
        >>> d = Perceptual(pyramid, layers=(0, 1), weights=jnp.array([1.0, 3.0]))
        >>> float(d(jnp.ones((4, 4)), jnp.zeros((4, 4))))
        4.0
    """

    features: Callable[[Array], Any]
    layers: tuple[Hashable, ...] = static(kw_only=True)
    weights: Any = None
    distance: Distance = static(default=l2)
    unit: bool = static(default=False)

    def __call__(self, prediction: Array, target: Array) -> Float[Array, ""]:
        """The distance of two images ``(..., y, x)``; complex ones become two channels.

        Raises:
            ValueError: the network has no such layer, or as many weights as layers are not given.
        """
        weights = [1.0] * len(self.layers) if self.weights is None else self.weights
        if len(weights) != len(self.layers):
            raise ValueError(f"`weights` has {len(weights)} entries for {len(self.layers)} layers")
        got = self._maps(prediction)
        # The target is data: nothing is differentiated through its features.
        expected = jax.lax.stop_gradient(self._maps(target))
        terms = [w * self.distance(a, b) for w, a, b in zip(weights, got, expected, strict=True)]
        return jnp.sum(jnp.stack(terms))

    def _maps(self, image: Array) -> list[Array]:
        maps = self.features(to_channels(image))
        try:
            chosen = [maps[layer] for layer in self.layers]
        except (KeyError, IndexError):
            there = sorted(maps) if isinstance(maps, dict) else f"0 to {len(maps) - 1}"
            raise ValueError(f"`layers` is {self.layers}, expected among {there}") from None
        return [_unit(m) for m in chosen] if self.unit else chosen


def _unit(features: Array) -> Array:
    length = jnp.sum(features**2, -1, keepdims=True)
    return features / jnp.sqrt(length + 1e-10)
