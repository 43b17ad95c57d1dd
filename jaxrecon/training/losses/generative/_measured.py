"""Generative priors from measurements alone: no clean image is ever seen.

Ambient diffusion (Daras, Shah, Dagan, Gollakota, Dimakis and Klivans, NeurIPS 2023): of each image
only y = A x₀ is known, with another A each time. The network sees still less, Ã = diag(k) A, of the
image with noise, and is judged on all of y:

    E λ(σ) ‖A h(Ã, Ã(x₀ + σn), σ) − y‖²                                                    (1)

Since h cannot know which rows A has beyond those of Ã, it must be right on all that A may have: if
E[AᴴA | Ã] has full rank, the minimiser is h = E[x₀ | Ã(x₀ + σn), Ã], of all pixels. Judged on what
it was shown (k = 1) it learns nothing of the rest.

Noisy images y = x₀ + s n₁ (A = 1) are made noisier still, z = y + τ n₂, σ² = s² + τ², and D(z, σ)
is learned for σ > s; below s no data say what images look like. Two ways:

    E λ [ ‖D(z, σ) − z‖² − σ² N + 2 σ² div D ]                    Stein's estimate          (2)
    E λ ‖(τ²/σ²) D(z, σ) + (s²/σ²) z − y‖²                        E[y | z], by Tweedie      (3)

(2) is the squared error of D in the mean, for any D; (3) needs no divergence and has the same
minimiser E[x₀ | z]. Sources: Aali, Arvinte, Kumar and Tamir, "Solving inverse problems with
score-based generative priors learned from noisy data", Asilomar 2023; Daras, Dimakis and
Daskalakis, "Consistent diffusion meets Tweedie", ICML 2024.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Key

from jaxrecon.core import identity, pytree, tree
from jaxrecon.training.losses._loss import Batch, Metrics, entries
from jaxrecon.training.losses.generative._denoising import LogNormal, edm_weight, mean_square
from jaxrecon.training.losses.self_supervised import SURE, UniformSplit, restrict, units
from jaxrecon.training.losses.self_supervised._rows import count, weigh
from jaxrecon.training.losses.self_supervised._splits import split_units


@pytree
class AmbientDiffusion:
    """Equation (1), for a network ``net(A, y, sigma) -> x``, such as `nets.generative.OfScan`.

    The batch has "y", without noise (or with little beside the levels), and "A", linear. To sample,
    or as a prior of other scans, take `nets.generative.Seen` of the network.

    Attributes:
        levels: ``levels(key) -> sigma``.
        weight: λ.
        further: which measured units are still shown: a `Split` whose kept part may be any.
    """

    levels: Any = LogNormal()
    weight: Any = Partial(edm_weight)
    further: Any = UniformSplit(0.1)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network; "error" is of the data, before it is weighted.

        Raises:
            ValueError: the batch lacks "y" or "A".
        """
        y, A = entries(batch, "y", "A")
        key_level, key_noise, key_rows = jax.random.split(key, 3)
        sigma = self.levels(key_level)
        noisy = tree.add_scaled(y, sigma, A(tree.standard_noise(key_noise, A.domain)))
        keep = split_units(self.further, key_rows, units(A))
        image = net(restrict(A, keep), weigh(keep, noisy), sigma)
        error = tree.sum_of_squares(tree.sub(A(image), y)) / count(A)
        return self.weight(sigma) * error, {"error": error}


@pytree
class SUREScore:
    """Equation (2), for a denoiser; the batch has "y", an image with noise.

    The metric "error" is the estimate before it is weighted: the mean squared error of the image.

    Attributes:
        noise: s, of each part of complex images.
        levels: of τ: ``levels(key)``.
        weight: λ, of σ.
        epsilon: step of the divergence's differences; see `SURE`.

    Example:
        >>> y = 2 + 0.5 * jax.random.normal(jax.random.key(0), (64, 64))
        >>> loss = SUREScore(0.5, levels=LogNormal(-1.0, 0.1))
        >>> _, metrics = loss(lambda x, sigma: 0.9 * x, {"y": y}, jax.random.key(1))
        >>> sigma2 = 0.5**2 + float(jnp.exp(-2.0))
        >>> abs(float(metrics["error"]) - (0.2**2 + 0.81 * sigma2)) < 0.1  # bias² + variance
        True
    """

    noise: Any
    levels: Any = LogNormal()
    weight: Any = Partial(edm_weight)
    epsilon: Any = None

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network.

        Raises:
            ValueError: the batch has no "y".
        """
        (y,) = entries(batch, "y")
        key_noisier, key_risk = jax.random.split(key)
        z, _, sigma = _noisier(key_noisier, y, self.noise, self.levels)
        risk = SURE(sigma, epsilon=self.epsilon)
        error, _ = risk(lambda A, z: net(z, sigma), {"y": z, "A": identity(z)}, key_risk)
        return self.weight(sigma) * error, {"error": error}


@pytree
class AmbientTweedie:
    """Equation (3), for a denoiser; the batch has "y", an image with noise.

    Attributes:
        noise: s, of each part of complex images.
        levels: of τ: ``levels(key)``.
        weight: λ, of σ.
    """

    noise: Any
    levels: Any = LogNormal()
    weight: Any = Partial(edm_weight)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network.

        Raises:
            ValueError: the batch has no "y".
        """
        (y,) = entries(batch, "y")
        z, tau, sigma = _noisier(key, y, self.noise, self.levels)
        share = jnp.square(tau / sigma)
        error = mean_square(share * net(z, sigma) + (1 - share) * z - y)
        return self.weight(sigma) * error, {}


def _noisier(
    key: Key[Array, ""], y: Array, noise: Any, levels: Any
) -> tuple[Array, Float[Array, ""], Float[Array, ""]]:
    """Z, τ and σ."""
    key_level, key_noise = jax.random.split(key)
    tau = levels(key_level).astype(y.real.dtype)
    return y + tau * tree.standard_noise(key_noise, y), tau, jnp.hypot(tau, noise)
