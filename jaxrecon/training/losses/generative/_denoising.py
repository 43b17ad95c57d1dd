"""Denoising score matching: a denoiser of all noise levels, hence the score of the data.

    E λ(σ) ‖D(x₀ + σ n, σ) − x₀‖²/N,   σ from a law of levels                              (1)

is least for D = E[x₀ | x₀ + σn], which is the score by Tweedie's formula (Vincent, Neural Comput.
23, 2011). Noising processes x_t = s(t)(x₀ + σ(t) n) differ in three things, none of which changes
that minimiser:

    process                         s              network     law of σ and weight λ
    variance preserving (DDPM)      1/√(1 + σ²)    `FromNoise`     t uniform, 1/σ²
    variance exploding              1              `FromScore`     t uniform, 1/σ²
    Karras et al. 2022 (EDM)        1              D itself        log-normal, `edm_weight`
    rectified flow                  1/(1 + σ)      `FromVelocity`  t uniform, (1 + 1/σ)²

so one loss has them all: `parametrisation` is the adapter of `jaxrecon.posterior` that makes the
network's output D, its s with it, and with the λ named, (1) is the mean squared error of what the
network predicts itself: noise, scaled score, velocity.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Key

from jaxrecon.core import pytree, tree
from jaxrecon.nets.generative import Conditioned
from jaxrecon.training.losses._loss import Batch, Metrics, entries


@pytree
class LogNormal:
    """ln σ ~ N(mean, deviation²): where most can be learned, at levels about the image's own.

    Karras et al. 2022, whose defaults are for images of root mean square 0.5.

    Example:
        >>> levels = jax.vmap(LogNormal(0.0, 0.5))(jax.random.split(jax.random.key(0), 1000))
        >>> bool(abs(jnp.mean(jnp.log(levels))) < 0.05)
        True
    """

    mean: Any = -1.2
    deviation: Any = 1.2

    def __call__(self, key: Key[Array, ""]) -> Float[Array, ""]:
        """One level."""
        return jnp.exp(self.mean + self.deviation * jax.random.normal(key))


@pytree
class EvenTimes:
    """σ(t) at t uniform in [0, 1], of any process.

    Attributes:
        sigma: σ at even times, positive, ``(time,)``; ln σ is linear between. Two of them are the
            variance-exploding process; √((1 − ᾱ)/ᾱ) is DDPM with the table ᾱ.

    Example:
        >>> levels = EvenTimes(jnp.array([0.01, 1.0]))
        >>> bool(0.01 <= levels(jax.random.key(0)) <= 1)
        True
    """

    sigma: Float[Array, " time"]

    def __call__(self, key: Key[Array, ""]) -> Float[Array, ""]:
        """One level."""
        places = jnp.linspace(0.0, 1.0, len(self.sigma))
        return jnp.exp(jnp.interp(jax.random.uniform(key), places, jnp.log(self.sigma)))


def edm_weight(sigma: Any, sigma_data: Any = 0.5) -> Any:
    """λ = (σ² + σ_d²)/(σ σ_d)², with which `Preconditioned` begins at a loss of 1 at every level.

    Example:
        >>> edm_weight(0.5)
        8.0
    """
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def noise_weight(sigma: Any) -> Any:
    """λ = 1/σ²: the squared error of the noise, or of the score times σ.

    Example:
        >>> noise_weight(0.5)
        4.0
    """
    return 1 / sigma**2


def velocity_weight(sigma: Any) -> Any:
    """λ = (1 + 1/σ)²: the squared error of the velocity n − x₀ of straight paths.

    Example:
        >>> velocity_weight(0.5)
        9.0
    """
    return (1 + 1 / sigma) ** 2


@pytree
class DenoisingScoreMatching:
    """Equation (1), for a denoiser or for what an adapter makes one.

    The batch has "x", the image, and, for conditional networks, "condition", a vector. The metric
    "error" is the mean squared error of the image before it is weighted.

    Attributes:
        levels: ``levels(key) -> sigma``: `LogNormal`, `EvenTimes`.
        weight: λ, ``weight(sigma)``.
        parametrisation: ``parametrisation(net) -> D``, such as `posterior.FromVelocity`; None for
            networks that are denoisers.
        dropped: how often a condition is replaced by zeros, so that the network learns to do
            without, for `Conditioned` with a weight.

    Example:
        >>> loss = DenoisingScoreMatching(LogNormal(-1.0, 1.0), Partial(edm_weight, sigma_data=0.3))
        >>> blur = lambda x, sigma: 0 * x
        >>> value, metrics = loss(blur, {"x": 2 * jnp.ones((8, 8))}, jax.random.key(0))
        >>> float(metrics["error"])
        4.0
    """

    levels: Any = LogNormal()
    weight: Any = Partial(edm_weight)
    parametrisation: Any = None
    dropped: Any = 0.0

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network.

        Raises:
            ValueError: the batch has no "x".
        """
        (x,) = entries(batch, "x")
        key_level, key_noise, key_drop = jax.random.split(key, 3)
        sigma = self.levels(key_level).astype(x.real.dtype)
        net = conditioned(net, batch, key_drop, self.dropped)
        denoiser = net if self.parametrisation is None else self.parametrisation(net)
        estimate = denoiser(x + sigma * tree.standard_noise(key_noise, x), sigma)
        error = mean_square(estimate - x)
        return self.weight(sigma) * error, {"error": error}


def conditioned(net: Any, batch: Batch, key: Key[Array, ""], dropped: Any) -> Any:
    """The network under the condition of an example, which is zero now and then."""
    if "condition" not in batch:
        return net
    condition = batch["condition"]
    kept = jax.random.uniform(key) >= dropped
    return Conditioned(net, jnp.where(kept, condition, jnp.zeros_like(condition)))


def mean_square(x: Array) -> Float[Array, ""]:
    """Over real numbers: complex ones count as two."""
    return tree.sum_of_squares(x) / (x.size * (2 if jnp.iscomplexobj(x) else 1))
