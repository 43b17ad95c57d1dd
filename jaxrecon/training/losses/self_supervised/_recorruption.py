"""Learning from measurements made noisier, or sparser, still.

Let y = A x + n, and the network f see a worse version of y.

Noisier2Noise (Moran et al., CVPR 2020): z = y + α n', n' drawn like n. The minimiser of
‖A f(z) − y‖² gives A f(z) = E[y | z], and as n and n'/α weigh alike in z,

    E[A x | z] = ((1 + α²) E[y | z] − z) / α².                                             (1)

Its k-space form (Millard and Chiew, IEEE Trans. Comput. Imaging 9, 2023) puts a second mask for the
noise: ỹ = M y on the rows Θ that it keeps, with the probabilities p of being measured and q of
being kept, and K = (1 − p)/(1 − p q) that of not having been measured where ỹ is missing,

    E[y | ỹ] = (1 − K) E[y₀ | ỹ] + K ỹ.                                                    (2)

Recorrupted2Recorrupted (Pang et al., CVPR 2021; generalised by Monroy et al., CVPR 2025) makes of y
a pair with independent noise (`Noise.recorrupt`), so that ‖A f(y₁) − y₂‖² is the supervised loss
for y₁ and a constant, without correction afterwards.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import pytree, static, tree
from jaxrecon.training.losses._loss import Batch, Metrics, entries
from jaxrecon.training.losses.image import l2
from jaxrecon.training.losses.image._pixel import Distance
from jaxrecon.training.losses.self_supervised._noise import GaussianNoise
from jaxrecon.training.losses.self_supervised._rows import restrict, units, unmasked, weigh
from jaxrecon.training.losses.self_supervised._splits import VariableDensitySplit, split_units
from jaxrecon.training.losses.self_supervised._ssdu import matching_density


@pytree
class Noisier2Noise:
    """d(A net(A, z), y) with z = y + α n', equation (1); then use `reconstruct`.

    Attributes:
        sigma: standard deviation of the noise on y (of each part of complex data).
        alpha: standard deviation of the added noise over sigma.
        distance: of measurements; (1) is about `l2`.
    """

    sigma: Any
    alpha: Any = 1.0
    distance: Distance = static(default=l2)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network."""
        y, A = entries(batch, "y", "A")
        return self.distance(A(net(A, self._noisier(A, y, key))), y), {}

    def reconstruct(self, net: Any, A: Any, y: PyTree, key: Key[Array, ""]) -> PyTree:
        """The denoised measurement A x̂, by equation (1) from one z; the image where A = I."""
        z = self._noisier(A, y, key)
        return corrected(A(net(A, z)), z, self.alpha)

    def _noisier(self, A: Any, y: PyTree, key: Key[Array, ""]) -> PyTree:
        return GaussianNoise(self.alpha * self.sigma).sample(key, A, y)


def corrected(prediction: PyTree, z: PyTree, alpha: Any) -> PyTree:
    """E[A x | z] of a prediction of E[y | z], equation (1).

    Example:
        >>> float(corrected(jnp.array(3.0), jnp.array(4.0), 1.0))
        2.0
    """
    return jax.tree.map(lambda p, v: p + (p - v) / alpha**2, prediction, z)


@pytree
class KSpaceNoisier2Noise:
    """Noisier2Noise with a second mask for noise, on Cartesian k-space; see equation (2).

    With B the scan without its mask, the mean of |(1 − K) B x̂ + K ỹ − y|² over all of k-space,
    where y is zero if it was not measured: what is zero by chance is what the second mask makes
    likely. The network's x̂ needs no correction. `WeightedSSDU` has the same minimiser with less
    variance.

    Attributes:
        density: p over units; batch["density"] if None.
        split: with independent units and known `probability`.
    """

    density: Any = None
    split: Any = VariableDensitySplit()

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network."""
        y, A = entries(batch, "y", "A")
        density = entries(batch, "density")[0] if self.density is None else self.density
        rows = units(A)
        keep = split_units(self.split, key, rows)
        sparser = weigh(keep, y)
        image = net(restrict(A, keep), sparser)

        density = matching_density(density, rows)

        def blend(full, seen, u, p):
            missing = never_measured(p, self.split.probability(u.shape)).astype(full.real.dtype)
            return (1 - missing) * full + missing * seen

        return l2(jax.tree.map(blend, unmasked(A)(image), sparser, rows, density), y), {}


def never_measured(density: Any, probability: Any) -> Array:
    """K of equation (2): that a row missing from what the network sees was not measured at all.

    Example:
        >>> float(never_measured(0.5, 1.0)), float(never_measured(1.0, 0.5))
        (1.0, 0.0)
    """
    p, q = jnp.asarray(density), jnp.asarray(probability)
    missing = 1 - p * q
    return jnp.where(missing > 0, (1 - p) / jnp.where(missing > 0, missing, 1), 0)


@pytree
class Recorrupted2Recorrupted:
    """d(A net(A, y₁), y₂) of a pair made of y, R2R; of noise not Gaussian, GR2R.

    Attributes:
        noise: `GaussianNoise`, `PoissonNoise` or `GammaNoise`, the noise of y.
        alpha: between 0 and 1: how much worse than y the network's input is.
        distance: of measurements; the theory is about `l2`.
    """

    noise: Any
    alpha: Any = 0.15
    distance: Distance = static(default=l2)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network."""
        y, A = entries(batch, "y", "A")
        first, second = self.noise.recorrupt(key, A, y, self.alpha)
        return self.distance(A(net(A, first)), second), {}

    def reconstruct(
        self, net: Any, A: Any, y: PyTree, key: Key[Array, ""], *, n: int = 8
    ) -> PyTree:
        """The mean reconstruction of n draws of y₁, what the network was trained for."""
        draws = [self.noise.recorrupt(k, A, y, self.alpha)[0] for k in jax.random.split(key, n)]
        images = [net(A, first) for first in draws]
        total = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *images)
        return tree.scale(1 / n, total)
