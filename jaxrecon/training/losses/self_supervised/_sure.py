"""Stein's unbiased risk estimate as a loss: the squared error without the truth.

With h(y) = A net(A, y) and m real measurements y of mean u,

    Gaussian, variance σ²      E‖h − u‖² = E[ ‖h − y‖² − Σ vᵢ + 2 Σ vᵢ ∂ᵢhᵢ ],   v = σ²    (1)
    Poisson, y = γ Poisson(u/γ)  the same to first order in γ, with              v = γ y   (2)
    both                       the same with v = γ y + σ², and − 2 σ²γ Σ ∂ᵢ²hᵢ             (3)

((1) Stein, Ann. Stat. 9, 1981; (2) exact for linear h; (3) Le Montagner, Angelini and Olivo-Marin,
IEEE Trans. Image Process. 23, 2014). Derivatives are estimated with random signs b by differences
(Ramani, Blu and Unser, IEEE Trans. Image Process. 17, 2008), with one more call of the network,

    Σ vᵢ ∂ᵢhᵢ ≈ ⟨v ⊙ b, h(y + εb) − h(y)⟩ / ε,                                             (4)

and second ones with draws of mean 0, variance 1 and third moment 1, with two more. With an
unknown noise level (UNSURE) the largest of ‖h − y‖² + 2 η div h over η takes the place of σ²: the
network becomes the best one whose expected divergence is zero.

Source: Metzler et al., "Unsupervised learning with Stein's unbiased risk estimator", 2018;
Tachella, Davies and Jacques, "UNSURE: self-supervised learning with unknown noise level and
Stein's unbiased risk estimate", ICLR 2025.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from jaxrecon.core import pytree, tree
from jaxrecon.training.losses._loss import Batch, Metrics, entries
from jaxrecon.training.losses.self_supervised._rows import count, measured, weigh

_GOLDEN = (1 + 5**0.5) / 2
_RELATIVE_STEP = 1e-3


@pytree
class SURE:
    """The mean squared error of A x̂ per real measurement, estimated from y: equations (1) to (3).

    For A = I the risk of the image itself; else of what the scan sees, and in place of a fidelity
    in `equivariant_imaging` of robust EI.

    Attributes:
        sigma: standard deviation of Gaussian noise (of each part of complex data), a number or an
            array that broadcasts to y.
        gain: γ of Poisson noise, for real data; None if there is none.
        epsilon: step of the differences, in the units of y; None is a thousandth of y's root mean
            square.

    Example:
        >>> from jaxrecon.core import identity
        >>> y = 3 + jax.random.normal(jax.random.key(0), (4000,))
        >>> batch, key = {"y": y, "A": identity(y)}, jax.random.key(1)
        >>> risk, _ = SURE(1.0)(lambda A, y: 0.9 * y, batch, key)
        >>> abs(float(risk) - (0.1**2 * 9 + 0.9**2)) < 0.1  # bias² + variance
        True
    """

    sigma: Any = 0.0
    gain: Any = None
    epsilon: Any = None

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The risk of a network."""
        y, A = entries(batch, "y", "A")
        return self.given(net(A, y), net, batch, key)

    def given(
        self, image: Any, net: Any, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Metrics]:
        """The risk where net(A, y) is there already.

        Raises:
            ValueError: Poisson noise on complex data.
        """
        y, A = entries(batch, "y", "A")
        n, mask = count(A), measured(A)
        predict = lambda y: A(net(A, y))  # noqa: E731
        prediction = A(image)
        step = _step(y, n) if self.epsilon is None else self.epsilon
        key_first, key_second = jax.random.split(key)
        variance = jax.tree.map(self._variance, y, mask)
        signs = weigh(mask, random_signs(key_first, y))
        misfit = tree.sum_of_squares(tree.sub(prediction, y)) / n
        divergence = directional(predict, prediction, y, signs, variance, step) / n
        noise = sum(_total(v, x) for v, x in zip(*map(jax.tree.leaves, (variance, y)))) / n
        risk = misfit - noise + 2 * divergence
        if self.gain is not None:
            bend = self._bend(predict, prediction, y, mask, key_second, step) / n
            risk = risk - 2 * self.gain * bend
        return risk, {"misfit": misfit, "divergence": divergence}

    def _variance(self, y: Array, mask: Array) -> Array:
        variance = jnp.square(jnp.asarray(self.sigma, y.real.dtype))
        if self.gain is not None:
            if jnp.iscomplexobj(y):
                raise ValueError("`y` is complex, expected real data for Poisson noise: no `gain`")
            variance = variance + self.gain * y
        return jnp.where(mask, variance, 0)

    def _bend(self, predict, prediction, y, mask, key, step) -> Array:
        """Σ σ² ∂ᵢ²hᵢ from a difference of three predictions."""
        leaves, structure = jax.tree.flatten(y)
        keys = jax.random.split(key, len(leaves))
        draws = [_skewed(k, leaf) for k, leaf in zip(keys, leaves, strict=True)]
        b = weigh(mask, jax.tree.unflatten(structure, draws))
        # A second difference divides by ε²: a longer step keeps rounding out.
        step = 30 * step
        ahead, behind = (predict(tree.add_scaled(y, s * step, b)) for s in (1, -1))
        second = jax.tree.map(lambda a, c, e: a - 2 * c + e, ahead, prediction, behind)
        variance = jax.tree.map(lambda v: jnp.square(jnp.asarray(self.sigma, v.dtype)), y)
        return tree.dot(b, jax.tree.map(jnp.multiply, variance, second)) / step**2


@pytree
class UNSURE:
    """SURE with an unknown noise level; the network is wrapped in `WithNoiseLevel`.

    The value is ‖h − y‖²/m + 2 η div h/m, which training minimises over the network and maximises
    over η: the gradient in η is turned round, so that any optimiser does both. At the saddle η is
    at least σ², the more so the less structure the data have.

    Attributes:
        epsilon: as for `SURE`.
    """

    epsilon: Any = None

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network.

        Raises:
            ValueError: the network carries no noise level.
        """
        y, A = entries(batch, "y", "A")
        return self.given(net(A, y), net, batch, key)

    def given(
        self, image: Any, net: Any, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Metrics]:
        """The loss where net(A, y) is there already."""
        if not isinstance(net, WithNoiseLevel):
            raise ValueError(
                f"`net` is a {type(net).__name__}, expected a WithNoiseLevel: wrap it, "
                "`WithNoiseLevel(net)`"
            )
        y, A = entries(batch, "y", "A")
        n, mask = count(A), measured(A)
        prediction = A(image)
        step = _step(y, n) if self.epsilon is None else self.epsilon
        signs = weigh(mask, random_signs(key, y))
        ones = jax.tree.map(lambda v: jnp.ones((), v.real.dtype), y)
        misfit = tree.sum_of_squares(tree.sub(prediction, y)) / n
        divergence = directional(lambda y: A(net(A, y)), prediction, y, signs, ones, step) / n
        variance = net.variance[...]
        reversed_ = 2 * jax.lax.stop_gradient(variance) - variance
        metrics = {"misfit": misfit, "divergence": divergence, "variance": variance}
        return misfit + 2 * reversed_ * divergence, metrics


class WithNoiseLevel(nnx.Module):
    """A reconstruction network with the noise variance η that `UNSURE` learns beside it.

    Args:
        net: ``net(A, y) -> x``.
        variance: η at the start, in squared units of the measurement.
    """

    def __init__(self, net: Any, variance: Any = 0.0):
        self.net = net
        self.variance = nnx.Param(jnp.asarray(variance, float))

    def __call__(self, A: Any, y: Any) -> Any:
        """What the network gives."""
        return self.net(A, y)


def directional(
    predict: Callable[[Any], Any],
    prediction: PyTree,
    y: PyTree,
    b: PyTree,
    weights: PyTree,
    step: Any,
) -> Float[Array, ""]:
    """⟨v ⊙ b, h(y + εb) − h(y)⟩/ε, equation (4); its mean over signs is Σ vᵢ ∂ᵢhᵢ."""
    moved = predict(tree.add_scaled(y, step, b))
    weighted = jax.tree.map(jnp.multiply, weights, b)
    return tree.dot(weighted, tree.sub(moved, prediction)) / step


def random_signs(key: Key[Array, ""], like: PyTree) -> PyTree:
    """Random signs; in the real and in the imaginary part of complex data."""
    leaves, structure = jax.tree.flatten(tree.to_real(like))
    keys = jax.random.split(key, len(leaves))
    draws = [jax.random.rademacher(k, y.shape, y.dtype) for k, y in zip(keys, leaves, strict=True)]
    return tree.from_real(jax.tree.unflatten(structure, draws), like)


def _skewed(key: Key[Array, ""], like: Array) -> Array:
    """Draws of mean 0, variance 1 and third moment 1: φ or −1/φ with the golden ratio φ."""
    large = jax.random.bernoulli(key, 1 / (1 + _GOLDEN**2), like.shape)
    return jnp.where(large, _GOLDEN, -1 / _GOLDEN).astype(like.dtype)


def _step(y: PyTree, n: Array) -> Array:
    rms = jnp.sqrt(tree.sum_of_squares(y) / n)
    return jax.lax.stop_gradient(_RELATIVE_STEP * jnp.where(rms > 0, rms, 1))


def _total(variance: Array, y: Array) -> Array:
    """The sum of the noise's variances over real numbers: both parts of complex ones."""
    parts = 2 if jnp.iscomplexobj(y) else 1
    return parts * jnp.sum(jnp.broadcast_to(variance, y.shape))
