"""Losses without truth: the measurement itself, and what is known of images and of scans.

With x₁ = net(A, y), measurement consistency asks that A x₁ = y and leaves open what A does not
see. Two things are known about that part. The set of images does not change under a group T, hence
net(A, A T x₁) = T x₁ (equivariant imaging); and it is the same for all scans B of a family, hence
net(B, B x₁) = x₁ (multi-operator imaging). With x₂ = T x₁ and x₃ = net(B, B x₂ + noise),

    loss = fidelity(x₁; y) + weight · d(x₃, x₂).                                           (1)

A network that is exact on the range of images, and one that is equivariant with A, have a second
term of zero. With noise in y the fidelity must not be fitted exactly: robust equivariant imaging
puts `SURE` for it, and noise of the same kind in the second measurement.

Source: Chen, Tachella and Davies, "Equivariant imaging: learning beyond the range space", ICCV
2021, and "Robust equivariant imaging", CVPR 2022; Tachella, Chen and Davies, "Unsupervised
learning from incomplete measurements for inverse problems", NeurIPS 2022; for both together Wang
and Davies, "Fully unsupervised dynamic MRI reconstruction via diffeo-temporal equivariance", 2024.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxrecon.core import pytree, static
from jaxrecon.training.losses._loss import Batch, Metrics, as_pytree, entries
from jaxrecon.training.losses.image import l2
from jaxrecon.training.losses.image._pixel import Distance


@pytree
class MeasurementConsistency:
    """d(A x, y) of the reconstruction x = net(A, y): what the scan saw, and nothing else.

    Attributes:
        distance: of measurements.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> y = jnp.array([2.0, 0.0])
        >>> A = diagonal(jnp.array([1.0, 0.0]), y)
        >>> loss = MeasurementConsistency()  # blind to the second pixel
        >>> float(loss(lambda A, y: y + 7 * (y == 0), {"y": y, "A": A}, jax.random.key(0))[0])
        0.0
    """

    distance: Distance = static(default=l2)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network."""
        y, A = entries(batch, "y", "A")
        return self.given(net(A, y), net, batch, key)

    def given(
        self, image: Any, net: Any, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Metrics]:
        """The loss where net(A, y) is there already."""
        del net, key
        y, A = entries(batch, "y", "A")
        value = self.distance(A(image), y)
        return value, {"consistency": value}


@pytree
class ImagingConsistency:
    """Equation (1); built by `equivariant_imaging` and `multi_operator_imaging`.

    Attributes:
        fidelity: a loss with `given`, such as `MeasurementConsistency` or `SURE`.
        transform: T, a group, or None for the identity.
        operators: ``operators(key, batch) -> B``, or None for B = A.
        noise: a noise model with `sample(key, A, y)`, or None.
        weight: of the second term.
        distance: of images.
        detached: whether x₂ is data, so that only x₃ follows the gradient.
    """

    fidelity: Any
    transform: Any = None
    operators: Any = None
    noise: Any = None
    weight: Any = 1.0
    distance: Distance = static(default=l2)
    detached: bool = static(default=False)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network."""
        y, A = entries(batch, "y", "A")
        key_fidelity, key_transform, key_operator, key_noise = jax.random.split(key, 4)
        image = net(A, y)
        fidelity, metrics = self.fidelity.given(image, net, batch, key_fidelity)
        moved = image
        if self.transform is not None:
            # Every array of an image in parts moves alike: one key for all.
            moved = jax.tree.map(lambda x: self.transform(key_transform, x), image)
        if self.detached:
            moved = jax.lax.stop_gradient(moved)
        B = A if self.operators is None else self.operators(key_operator, batch)
        again = B(moved)
        if self.noise is not None:
            again = self.noise.sample(key_noise, B, again)
        invariance = self.distance(net(B, again), moved)
        return fidelity + self.weight * invariance, {**metrics, "invariance": invariance}


def equivariant_imaging(
    transform: Any,
    *,
    weight: Any = 1.0,
    fidelity: Any = None,
    noise: Any = None,
    distance: Distance = l2,
    detached: bool = False,
) -> ImagingConsistency:
    """Equivariant imaging (EI), equation (1) with B = A.

    It learns what A does not see only if A T differs from A: shifts tell nothing of a scan that
    commutes with them (deblurring), rotations and shifts do of sparse views, rotations of k-space
    masks.

    Args:
        transform: a group, such as `Rotations` or `Product((Flips(), Shifts()))`.
        weight: of the second term.
        fidelity: `MeasurementConsistency` by default; `SURE(sigma)` makes it robust EI.
        noise: for robust EI the noise of the measurement, such as `GaussianNoise(sigma)`.
        distance: of images.
        detached: whether the moved image is data; the publications differentiate through it.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.training.losses import Flips
        >>> y = jnp.arange(6.0).reshape(2, 3)
        >>> loss = equivariant_imaging(Flips())  # the exact inverse of the identity
        >>> batch = {"y": y, "A": identity(y)}
        >>> float(loss(lambda A, y: A.H(y), batch, jax.random.key(0))[0])
        0.0
    """
    fidelity = MeasurementConsistency() if fidelity is None else fidelity
    return ImagingConsistency(fidelity, transform, None, noise, weight, distance, detached)


def multi_operator_imaging(
    operators: Any = None,
    *,
    transform: Any = None,
    weight: Any = 1.0,
    fidelity: Any = None,
    noise: Any = None,
    distance: Distance = l2,
    detached: bool = False,
) -> ImagingConsistency:
    """Multi-operator imaging (MOI); with a transform multi-operator equivariant imaging (MO-EI).

    Args:
        operators: how another scan of the family is drawn, ``operators(key, A) -> B``: a new mask,
            for example, ``lambda key, A: core.replace(A, mask=random_mask(key, ...))``. None takes
            one of batch["operators"], scans of A's kind stacked along a leading axis.
        transform: a group, for MO-EI.
        weight: as for `equivariant_imaging`, like the rest.
        fidelity: as there.
        noise: as there.
        distance: of images.
        detached: as there.
    """
    fidelity = MeasurementConsistency() if fidelity is None else fidelity
    draw = _FromBatch() if operators is None else _Drawn(as_pytree(operators))
    return ImagingConsistency(fidelity, transform, draw, noise, weight, distance, detached)


@pytree
class _Drawn:
    """A scan drawn by a function of the one at hand."""

    draw: Any

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Any:
        return self.draw(key, batch["A"])


@pytree
class _FromBatch:
    """One of the scans that come with an example."""

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Any:
        (operators,) = entries(batch, "operators")
        n = jax.tree.leaves(operators)[0].shape[0]
        i = jax.random.randint(key, (), 0, n)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[i], operators)
