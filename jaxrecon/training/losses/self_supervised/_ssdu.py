"""Learning from undersampled measurements alone, by splitting them.

Of the measured rows Ω the network sees Θ and is judged on Ω∖Θ (SSDU). Let p be the probability with
which the scans of a training set measure a row of the full scan, and q that with which the split
keeps it, both independent from row to row. Given what the network sees, a row that it does not see
was measured with probability

    P(j ∈ Ω | j ∉ Θ) = p_j (1 − q_j) / (1 − p_j q_j),                                      (1)

so that with the inverse of it as weights

    E Σ_{j ∈ Ω∖Θ} w_j |A x̂ − y|²_j = E Σ_{j ∉ Θ} |A x̂ − y₀|²_j,                            (2)

the supervised loss on all that the network does not see, of the full scan y₀: the weighted loss
has the minimiser of supervised training on those rows; without the weights rows count as they
are sampled. What (2) needs is masks that differ between examples, such that every row is
measured at times, and q < 1 wherever p < 1: with one fixed mask p = 0 elsewhere, and a row that is
always kept is never judged; nothing is learnt there. The metric "unjudged" is their share.

Noise n of standard deviation σ on y is independent in Ω∖Θ and causes no bias there; but on Θ the
network learns nothing, and may leave noise in what it sees. Robust SSDU shows it ỹ = y + ñ, ñ of
standard deviation ασ, and asks on Θ for t = y − ñ/α², whose noise n − ñ/α² is uncorrelated with
that of ỹ, n + ñ: clean data are learnt on all rows.

Source: Yaman et al., "Self-supervised learning of physics-guided reconstruction neural networks
without fully sampled reference data", Magn. Reson. Med. 84 (2020), and for several masks NMR
Biomed. 35 (2022); Millard and Chiew, "A theoretical framework for self-supervised MR image
reconstruction using sub-sampling via variable density Noisier2Noise", IEEE Trans. Comput. Imaging 9
(2023), and "Clean self-supervised MRI reconstruction from noisy, sub-sampled training data with
Robust SSDU", 2024.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxrecon.core import pytree, static, tree
from jaxrecon.training.losses._loss import Batch, Metrics, entries
from jaxrecon.training.losses.image import normalised_l1_l2
from jaxrecon.training.losses.image._pixel import Distance
from jaxrecon.training.losses.self_supervised._noise import GaussianNoise
from jaxrecon.training.losses.self_supervised._rows import complement, restrict, units, weigh
from jaxrecon.training.losses.self_supervised._splits import (
    GaussianSplit,
    VariableDensitySplit,
    split_units,
)


def split_loss(net: Any, A: Any, y: PyTree, keep: PyTree, distance: Distance) -> Array:
    """The distance on the measured rows that `keep` leaves out, of what the network sees not."""
    held = complement(A, keep)
    image = net(restrict(A, keep), weigh(keep, y))
    return distance(weigh(held, A(image)), weigh(held, y))


def held_out_weights(density: Any, probability: Any) -> Float[Array, "..."]:
    """The inverse of equation (1); 0 where a row can never be held out.

    Args:
        density: p, with which probability a row is measured.
        probability: q, with which one that is measured is kept.

    Example:
        >>> float(held_out_weights(1.0, 0.5)), float(held_out_weights(0.5, 0.0))
        (1.0, 2.0)
    """
    p, q = jnp.asarray(density), jnp.asarray(probability)
    chance = p * (1 - q)
    possible = chance > 0
    return jnp.where(possible, (1 - p * q) / jnp.where(possible, chance, 1), 0)


@pytree
class SSDU:
    """Self-supervised learning via data undersampling: seen rows in, unseen rows judge.

    For k-space lines or points, shots of a trajectory, views of a sinogram: whatever the scan's
    units are. Use a split that suits them.

    Attributes:
        split: what the network sees; `GaussianSplit` is the publication's, for k-space.
        axes: along which rows are told apart; the scan's own if None (see `units`).
        distance: of measurements that are zero where not held out.
        n_masks: splits of an example at once; several are multi-mask SSDU.

    Example:
        >>> from jaxrecon.physics import mri
        >>> from jaxrecon.training.losses import UniformSplit
        >>> A = mri.cartesian(jnp.ones((6, 8), bool))
        >>> y = A(jnp.ones((6, 8), complex))
        >>> loss = SSDU(UniformSplit(0.3))
        >>> value, metrics = loss(lambda A, y: A.H(y), {"y": y, "A": A}, jax.random.key(1))
        >>> value.shape
        ()
    """

    split: Any = GaussianSplit()
    axes: tuple[int, ...] | None = static(default=None)
    distance: Distance = static(default=normalised_l1_l2)
    n_masks: int = static(default=1)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network."""
        y, A = entries(batch, "y", "A")
        rows = units(A, self.axes)
        keeps = [split_units(self.split, k, rows) for k in jax.random.split(key, self.n_masks)]
        values = [split_loss(net, A, y, keep, self.distance) for keep in keeps]
        return sum(values[1:], values[0]) / self.n_masks, {}


@pytree
class WeightedSSDU:
    """SSDU with the weights of equation (2): in expectation supervised on all unseen rows.

    The mean over the full scan of weighted squared differences. Its value times the scan's size is
    comparable with a supervised sum.

    Attributes:
        split: with independent units and known `probability`.
        density: p over units, with which probability each is measured in the training set; if
            None batch["density"]. See `sampling_density`.
        axes: as for `SSDU`.
    """

    split: Any = VariableDensitySplit()
    density: Any = None
    axes: tuple[int, ...] | None = static(default=None)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network.

        Raises:
            ValueError: no density, one of another shape, or a split without probabilities.
        """
        y, A = entries(batch, "y", "A")
        density = entries(batch, "density")[0] if self.density is None else self.density
        rows = units(A, self.axes)
        keep = split_units(self.split, key, rows)
        image = net(restrict(A, keep), weigh(keep, y))
        residual, weights = tree.sub(A(image), y), unit_weights(self.split, density, rows)
        metrics = {"unjudged": _unjudged(density, weights)}
        return weighted_square(residual, complement(A, keep), weights), metrics


@pytree
class RobustSSDU:
    """SSDU that also removes noise from what the network sees: see the module's text.

    Attributes:
        sigma: standard deviation of the noise on y (of each part of complex data).
        alpha: standard deviation of the added noise over sigma.
        split: as for `WeightedSSDU`; where no density is given, any.
        density: as there; None weighs all held-out rows alike.
        axes: as for `SSDU`.
    """

    sigma: Any
    alpha: Any = 0.75
    split: Any = VariableDensitySplit()
    density: Any = None
    axes: tuple[int, ...] | None = static(default=None)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network; use that as it is afterwards, on measurements as they are."""
        y, A = entries(batch, "y", "A")
        key_split, key_noise = jax.random.split(key)
        rows = units(A, self.axes)
        keep = split_units(self.split, key_split, rows)
        noisier = GaussianNoise(self.alpha * self.sigma).sample(key_noise, A, y)
        image = net(restrict(A, keep), weigh(keep, noisier))
        prediction = A(image)
        if self.density is None:
            weights = jax.tree.map(lambda u: jnp.ones(u.shape), rows)
        else:
            weights = unit_weights(self.split, self.density, rows)
        unseen = weighted_square(tree.sub(prediction, y), complement(A, keep), weights)
        # y − ñ/α², where ñ = noisier − y.
        target = tree.add_scaled(y, -1 / self.alpha**2, tree.sub(noisier, y))
        ones = jax.tree.map(lambda k: jnp.ones(k.shape), keep)
        seen = weighted_square(tree.sub(prediction, target), keep, ones)
        metrics = {"unseen": unseen, "seen": seen}
        if self.density is not None:
            metrics["unjudged"] = _unjudged(self.density, weights)
        return unseen + seen, metrics


def unit_weights(split: Any, density: PyTree, rows: PyTree) -> PyTree:
    """`held_out_weights` of every unit of a scan.

    Raises:
        ValueError: a density of another shape than the scan's units.
    """
    weight = lambda u, p: held_out_weights(p, split.probability(u.shape))  # noqa: E731
    return jax.tree.map(weight, rows, matching_density(density, rows))


def matching_density(density: PyTree, rows: PyTree) -> PyTree:
    """The density, if it has the shape of the units, or one that broadcasts to it.

    Raises:
        ValueError: it has not; says what is expected.
    """

    def check(u: Array, p: Any) -> Any:
        shape = jnp.shape(p)
        ones = (1,) * (u.ndim - len(shape))
        fits = all(n in (1, m) for n, m in zip((*ones, *shape), u.shape))
        if len(shape) > u.ndim or not fits:
            raise ValueError(
                f"`density` has shape {shape}, expected {u.shape}, that of the scan's units: see "
                "`units`, and draw the masks of `sampling_density` in their shape"
            )
        return p

    return jax.tree.map(check, rows, density)


def _unjudged(density: PyTree, weights: PyTree) -> Array:
    """The share of units that scans miss at times and that are never judged."""
    missed = jax.tree.map(lambda p, w: jnp.mean((p < 1) & (w == 0)), density, weights)
    return jnp.mean(jnp.stack(jax.tree.leaves(missed)))


def weighted_square(residual: PyTree, mask: PyTree, weights: PyTree) -> Float[Array, ""]:
    """Σ over the mask of w |r|², over the number of entries."""
    chosen = jax.tree.map(lambda w, m: jnp.where(m, w, 0), weights, mask)
    total = tree.dot(residual, weigh(chosen, residual))
    return total / sum(r.size for r in jax.tree.leaves(residual))
