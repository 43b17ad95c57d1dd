"""What is known of an object while it is being measured, and what each candidate would tell next.

Three kinds of knowledge behind one interface:

- `GaussianBelief`: exact for Gaussian objects, where the data do not change what to measure next;
- `EnsembleBelief`: the object is one of many images known beforehand, exact Bayes on their weights:
  here the data do matter;
- `SampledBelief`: any posterior sampler, run anew after each measurement.

The last two score by the Gaussian information ½ log det(I + Cov_i) of the predictions' covariance
in units of the noise: for one datum, monotone in the predicted variance; an upper bound of what the
candidate tells.

Data of a candidate are `(datum,)`, in units of the noise's standard deviation inside beliefs and as
measured outside.
"""

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Inexact, Int, Key

from jaxrecon.core import pytree, replace, static
from jaxrecon.design.criteria._gaussian import LinearGaussian, adjoint, product
from jaxrecon.design.selection._update import (
    Knowledge,
    check_objective,
    gains,
    observe,
    prior_knowledge,
)

__all__ = [
    "Belief",
    "EnsembleBelief",
    "GaussianBelief",
    "SampledBelief",
    "ensemble_belief",
    "gaussian_belief",
    "sampled_belief",
]


class Belief(abc.ABC):
    """What is known of the object; abstract. A pytree of the same structure after every update."""

    @abc.abstractmethod
    def scores(self, key: Key[Array, ""]) -> Float[Array, " candidate"]:
        """What each candidate is expected to tell or gain, were it measured next."""

    @abc.abstractmethod
    def update(self, index: Int[Array, ""], data: Inexact[Array, " datum"]) -> "Belief":
        """The belief after a candidate's data came in."""


@pytree
class GaussianBelief(Belief):
    """N(m + L z, P), updated exactly; build it with `gaussian_belief`.

    Attributes:
        model: candidates, prior and noise.
        mean: z of the posterior mean, in the prior's modes.
        known: the covariance, as it bears on every candidate.
        noise: σ.
        objective: "error" or "information".
    """

    model: LinearGaussian
    mean: Inexact[Array, " mode"]
    known: Knowledge
    noise: Float[Array, ""]
    objective: str = static()

    def scores(self, key: Key[Array, ""]) -> Float[Array, " candidate"]:
        del key
        return gains(self.model, self.known, self.objective)

    def update(self, index: Int[Array, ""], data: Inexact[Array, " datum"]) -> "GaussianBelief":
        B = self.model.rows[index]
        surprise = data / self.noise - product(B, self.mean)
        gain = adjoint(product(B, self.known.inverse))
        mean = self.mean + product(gain, jnp.linalg.solve(self.known.spread[index], surprise))
        return replace(self, mean=mean, known=observe(self.model, self.known, index))

    def estimate(self) -> Inexact[Array, " interest"]:
        """The posterior mean of what is of interest, less the prior's."""
        return product(self.model.factor, self.mean)


@pytree
class EnsembleBelief(Belief):
    """Weights of images of which the object is one; build it with `ensemble_belief`.

    Attributes:
        images: `(member, *image)`.
        predictions: their noiseless data in units of the noise, `(member, candidate, datum)`.
        log_weights: log probabilities `(member,)`, up to a constant.
        noise: σ.
    """

    images: Inexact[Array, "member *image"]
    predictions: Inexact[Array, "member candidate datum"]
    log_weights: Float[Array, " member"]
    noise: Float[Array, ""]

    def scores(self, key: Key[Array, ""]) -> Float[Array, " candidate"]:
        del key
        return _information(self.predictions, self.weights())

    def update(self, index: Int[Array, ""], data: Inexact[Array, " datum"]) -> "EnsembleBelief":
        misfit = jnp.abs(data / self.noise - self.predictions[:, index]) ** 2
        log_weights = self.log_weights - jnp.sum(misfit, -1) / 2
        return replace(self, log_weights=log_weights - jnp.max(log_weights))

    def weights(self) -> Float[Array, " member"]:
        """Probabilities of the members."""
        return jax.nn.softmax(self.log_weights)

    def estimate(self) -> Inexact[Array, "*image"]:
        """The posterior mean."""
        return jnp.tensordot(self.weights(), self.images, 1, precision=jax.lax.Precision.HIGHEST)


@pytree
class SampledBelief(Belief):
    """All data so far, judged by samples of the posterior; build it with `sampled_belief`.

    Attributes:
        data: `(candidate, datum)`, zero where not measured.
        measured: which candidates were, `(candidate,)`.
        draw: ``draw(data, measured, key)``, samples with a leading axis.
        predict: ``predict(sample)``, its noiseless data of all candidates, `(candidate, datum)`.
        noise: σ.
    """

    data: Inexact[Array, "candidate datum"]
    measured: Bool[Array, " candidate"]
    draw: Any
    predict: Any
    noise: Float[Array, ""]

    def scores(self, key: Key[Array, ""]) -> Float[Array, " candidate"]:
        samples = self.draw(self.data, self.measured, key)
        predictions = jax.vmap(self.predict)(samples) / self.noise
        n = predictions.shape[0]
        # Bessel's correction: few samples do not look surer than they are.
        return _information(predictions * jnp.sqrt(n / (n - 1)), jnp.full(n, 1 / n))

    def update(self, index: Int[Array, ""], data: Inexact[Array, " datum"]) -> "SampledBelief":
        measured = self.measured.at[index].set(True)
        return replace(self, data=self.data.at[index].set(data), measured=measured)


def gaussian_belief(
    model: LinearGaussian, noise: ArrayLike, *, objective: str = "error"
) -> GaussianBelief:
    """The prior of a model, before anything is measured.

    Args:
        model: of `criteria.linear_gaussian`; data are those of the object less the prior's mean.
        noise: the model's σ, which brings data to its units.
        objective: what scores are: the "error" that a candidate removes, or its "information".

    Raises:
        ValueError: an unknown objective.
    """
    check_objective(objective)
    mean = jnp.zeros(model.rows.shape[-1], model.rows.dtype)
    return GaussianBelief(model, mean, prior_knowledge(model), jnp.asarray(noise, float), objective)


def ensemble_belief(
    images: Inexact[Array, "member *image"],
    predictions: Inexact[Array, "member candidate datum"],
    noise: ArrayLike,
) -> EnsembleBelief:
    """The object is one of these images, with equal chances.

    Args:
        images: the members.
        predictions: their noiseless data.
        noise: σ, of the real and of the imaginary part of complex data.
    """
    chances = jnp.zeros(images.shape[0])
    scaled = predictions / jnp.asarray(noise)
    return EnsembleBelief(images, scaled, chances, jnp.asarray(noise, float))


def sampled_belief(
    draw: Callable[[Array, Array, Array], Array],
    predict: Callable[[Array], Array],
    data: jax.ShapeDtypeStruct,
    noise: ArrayLike,
) -> SampledBelief:
    """Nothing is measured yet; a posterior sampler will say what to expect.

    Args:
        draw: ``draw(data, measured, key)``: two samples or more of the posterior given the data
            where measured, along a leading axis.
        predict: ``predict(sample)``, its noiseless data of all candidates.
        data: shape and dtype of these, `(candidate, datum)`.
        noise: σ.
    """
    draw, predict = jax.tree_util.Partial(draw), jax.tree_util.Partial(predict)
    nothing, closed = jnp.zeros(data.shape, data.dtype), jnp.zeros(data.shape[0], bool)
    return SampledBelief(nothing, closed, draw, predict, jnp.asarray(noise, float))


def _information(
    predictions: Inexact[Array, "member candidate datum"], weights: Float[Array, " member"]
) -> Float[Array, " candidate"]:
    """½ log det(I + Cov) of each candidate's predictions; of both parts of complex ones."""
    share = weights[:, None, None]
    centred = jnp.sqrt(share) * (predictions - jnp.sum(share * predictions, 0))
    each = jnp.moveaxis(centred, 1, 0)  # (candidate, member, datum)
    complex_data = jnp.iscomplexobj(each)
    covariance = product(adjoint(each), each) / (2 if complex_data else 1)
    spread = jnp.eye(each.shape[-1], dtype=each.dtype) + covariance
    return jnp.linalg.slogdet(spread)[1] * (1.0 if complex_data else 0.5)
