"""Noise as losses need it: drawn anew, and split in two independent noisy copies.

`sample(key, A, mean)` draws a measurement; `recorrupt(key, A, y, alpha)` makes of one measurement y
a pair (y₁, y₂) with E y₁ = E y₂ = E y whose noises are independent (Gaussian: uncorrelated given
the mean, hence independent; Poisson and gamma: thinning), from

    Gaussian   y₁ = y + √(α/(1−α)) ω,   ω ~ Normal(0, σ²)                                  (1)
    Poisson    y₁ = (y − γ ω)/(1−α),    ω ~ Binomial(y/γ, α)                               (2)
    gamma      y₁ = y (1 − ω)/(1−α),    ω ~ Beta(ℓα, ℓ(1−α))                               (3)
    all        y₂ = (y − (1−α) y₁)/α                                                       (4)

Small α: y₁ is almost as good as y, and y₂ poor. Rows that A does not measure stay as they are. σ is
the standard deviation of each part of complex data; the gain γ is the measurement's unit of one
count, var = γ · mean; the number of looks ℓ means var = mean²/ℓ.

Source: Monroy, Bacca and Tachella, "Generalized recorrupted-to-recorrupted: self-supervised
learning beyond Gaussian noise", CVPR 2025.
"""

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import pytree
from jaxrecon.training.losses.self_supervised._rows import measured


class Noise(abc.ABC):
    """A model of the noise of measurements, real or complex, in any pytree."""

    def sample(self, key: Key[Array, ""], A: Any, mean: PyTree) -> PyTree:
        """A noisy measurement of this mean, differentiable in it."""
        return _each(self._sample, key, A, mean)

    def recorrupt(
        self, key: Key[Array, ""], A: Any, y: PyTree, alpha: Any
    ) -> tuple[PyTree, PyTree]:
        """Two measurements with independent noise made of one; 0 < alpha < 1."""
        first = _each(lambda k, v: self._first(k, v, alpha), key, A, y)
        second = jax.tree.map(lambda v, w: (v - (1 - alpha) * w) / alpha, y, first)
        return first, second

    @abc.abstractmethod
    def _sample(self, key: Key[Array, ""], mean: Array) -> Array:
        """A draw for one array."""

    @abc.abstractmethod
    def _first(self, key: Key[Array, ""], y: Array, alpha: Any) -> Array:
        """Y₁ for one array."""


@pytree
class GaussianNoise(Noise):
    """Independent Gaussian noise, equation (1).

    Attributes:
        sigma: standard deviation, of the real and of the imaginary part; a number, or an array
            that broadcasts to the measurement.
    """

    sigma: Any

    def _sample(self, key: Key[Array, ""], mean: Array) -> Array:
        return mean + self._draw(key, mean)

    def _first(self, key: Key[Array, ""], y: Array, alpha: Any) -> Array:
        return y + jnp.sqrt(jnp.asarray(alpha / (1 - alpha), y.real.dtype)) * self._draw(key, y)

    def _draw(self, key: Key[Array, ""], like: Array) -> Array:
        # jax.random.normal gives complex numbers of unit variance, a half in each part.
        unit = math.sqrt(2) if jnp.iscomplexobj(like) else 1.0
        sigma = unit * jnp.asarray(self.sigma, like.real.dtype)
        return sigma * jax.random.normal(key, like.shape, like.dtype)


@pytree
class PoissonNoise(Noise):
    """Counts: y = γ · Poisson(mean/γ), equation (2). For real data that are not negative.

    Attributes:
        gain: γ; 1 for counts themselves.
    """

    gain: Any = 1.0

    def _sample(self, key: Key[Array, ""], mean: Array) -> Array:
        rate = jnp.maximum(mean, 0) / self.gain
        draw = self.gain * jax.random.poisson(key, jax.lax.stop_gradient(rate)).astype(mean.dtype)
        return mean + jax.lax.stop_gradient(draw - mean)

    def _first(self, key: Key[Array, ""], y: Array, alpha: Any) -> Array:
        counts = jnp.round(y / self.gain)
        taken = jax.random.binomial(key, counts, jnp.asarray(alpha, y.dtype), dtype=y.dtype)
        return (y - self.gain * taken) / (1 - alpha)


@pytree
class GammaNoise(Noise):
    """Multiplicative gamma noise (speckle): y = mean · Gamma(ℓ)/ℓ, equation (3).

    Attributes:
        looks: ℓ.
    """

    looks: Any

    def _sample(self, key: Key[Array, ""], mean: Array) -> Array:
        looks = jnp.asarray(self.looks, mean.dtype)
        return mean * jax.random.gamma(key, looks, mean.shape, mean.dtype) / looks

    def _first(self, key: Key[Array, ""], y: Array, alpha: Any) -> Array:
        looks = jnp.asarray(self.looks, y.dtype)
        taken = jax.random.beta(key, alpha * looks, (1 - alpha) * looks, y.shape, y.dtype)
        return y * (1 - taken) / (1 - alpha)


def _each(draw: Any, key: Key[Array, ""], A: Any, y: PyTree) -> PyTree:
    """`draw(key, array)` for every array of a measurement, on the rows that A measures."""
    leaves, structure = jax.tree.flatten(y)
    masks = jax.tree.leaves(measured(A))
    keys = jax.random.split(key, len(leaves))
    parts = zip(keys, leaves, masks, strict=True)
    return jax.tree.unflatten(structure, [jnp.where(m, draw(k, v), v) for k, v, m in parts])
