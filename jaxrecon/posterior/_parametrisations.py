"""Networks of other kinds as denoisers, and what follows from a denoiser.

Generative networks are trained on x_t = s(x₀ + σ n) with one of many targets. All are the denoiser
D(x, σ) ≈ E[x₀ | x₀ + σn = x] in disguise:

    noise      D = x − σ ε(s x, t)            variance preserving: s = 1/√(1 + σ²)         (1)
    velocity   D = s x − t v(s x, t)          rectified flow: t = σ/(1 + σ), s = 1 − t     (2)
    score      D = x + σ² S(x, σ)             Tweedie                                      (3)

so a sampler needs but one form. Data are x; the scale s is the network's affair.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.core import pytree, tree
from jaxrecon.functionals.denoisers import Denoiser


@pytree
class FromNoise:
    """A network that predicts the noise of a variance-preserving process, equation (1).

    Attributes:
        network: a pytree callable ``network(x, t)``; t is the place in `signal`, a real number.
        signal: ᾱ, the share of the signal's power at each of the network's times, falling.
    """

    network: Callable[[Array, Any], Array]
    signal: Float[Array, " time"]

    def __call__(self, x: Array, sigma: Any) -> Array:
        """D(x, σ); t is found by linear interpolation of log σ."""
        known = jnp.sqrt((1 - self.signal) / self.signal)
        t = jnp.interp(jnp.log(sigma), jnp.log(known), jnp.arange(len(known), dtype=known.dtype))
        noise = self.network(x * tree.weak(1 / jnp.sqrt(1 + jnp.square(sigma)), x), t)
        return x - tree.weak(sigma, x) * noise


@pytree
class FromVelocity:
    """A network that predicts the velocity n − x₀ of straight paths, equation (2).

    Attributes:
        network: a pytree callable ``network(x, t)`` with t from 0, the image, to 1, the noise.
    """

    network: Callable[[Array, Any], Array]

    def __call__(self, x: Array, sigma: Any) -> Array:
        """D(x, σ)."""
        t = sigma / (1 + sigma)
        there = x * tree.weak(1 - t, x)
        return there - tree.weak(t, x) * self.network(there, t)


@pytree
class FromScore:
    """A network that predicts ∇ log p_σ, equation (3)."""

    network: Callable[[Array, Any], Array]

    def __call__(self, x: Array, sigma: Any) -> Array:
        """D(x, σ)."""
        return x + tree.weak(jnp.square(sigma), x) * self.network(x, sigma)


def noise_of(denoiser: Denoiser, x: Array, sigma: Any) -> Array:
    """The noise n that a denoiser sees in x = x₀ + σ n; σ must be positive.

    Example:
        >>> from jaxrecon.posterior import Gaussian
        >>> from jaxrecon.core import identity
        >>> prior = Gaussian(jnp.zeros(1), identity(jnp.zeros(1)), jnp.ones(1))
        >>> noise_of(prior, jnp.array([2.0]), 1.0).tolist()
        [1.0]
    """
    return (x - denoiser(x, sigma)) * tree.weak(1 / sigma, x)


def velocity_of(denoiser: Denoiser, x: Array, t: Any) -> Array:
    """The velocity of rectified flow at x_t = (1 − t) x₀ + t n, for 0 < t < 1.

    Example:
        >>> from jaxrecon.posterior import Gaussian
        >>> from jaxrecon.core import identity
        >>> prior = Gaussian(jnp.zeros(1), identity(jnp.zeros(1)), jnp.ones(1))
        >>> velocity_of(prior, jnp.array([1.0]), 0.5).tolist()  # as much noise as signal
        [0.0]
    """
    signal = tree.weak(1 / (1 - t), x) * x
    return (x - denoiser(signal, t / (1 - t))) * tree.weak(1 / t, x)
