"""An image network, then a data-consistency layer: MoDL, cascades, and networks in two domains.

    x⁺ = C(N(x))                                                                            (1)

with C one of `_consistency`. With the proximal layer and shared weights this is MoDL (Aggarwal,
Mani and Jacob, IEEE Trans. Med. Imaging 38, 2019), with the hard or soft one and weights for each
iteration the deep cascade (Schlemper et al., IEEE Trans. Med. Imaging 37, 2018). Where C N is a
contraction (1) has a fixed point, so it serves as a deep equilibrium too.

`KspaceAlternating` works in both domains (KIKI-net: Eo et al., Magn. Reson. Med. 80, 2018):

    k = D(F S x + K(F S x)),    x = N'(Sᴴ F⁻¹ k),    x⁺ = Sᴴ F⁻¹ D(F S x)                    (2)

with networks K of k-space and N' of images, and D putting measured samples in their places.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import LinearOperator, Problem, pytree
from jaxrecon.core.operators._elementary import Diagonal
from jaxrecon.core.operators._operator import Composition, Scaled, is_unitary
from jaxrecon.nets.reconstruction._consistency import (
    DataConsistency,
    HardConsistency,
    ProximalConsistency,
    fit_of,
)
from jaxrecon.nets.reconstruction._iteration import LearnedIteration
from jaxrecon.nets.reconstruction._networks import image_to_image
from jaxrecon.nets.reconstruction._unrolled import Unrolled
from jaxrecon.physics.mri import Sense


@pytree
class Prepared:
    """A problem as `Alternating` sees it: what its layer has prepared."""

    data: Any


class Alternating(LearnedIteration):
    """The iteration (1): an image network, then a data-consistency layer.

    Args:
        network: image network, 1 channel for real images, 2 for complex ones.
        consistency: a layer; one without learned numbers may be shared by iterations.
    """

    def __init__(self, network: Any, consistency: DataConsistency):
        self.network = network
        self.consistency = consistency

    def prepare(self, problem: Problem) -> Prepared:
        """The work of the layer that iterations share."""
        return Prepared(self.consistency.prepare(*fit_of(problem)))

    def start(self, problem: Prepared, x0: PyTree) -> PyTree:
        del problem
        return x0

    def advance(self, problem: Prepared, state: PyTree) -> PyTree:
        return self.consistency.apply(problem.data, image_to_image(self.network, state))

    def fixed_point(self, problem: Prepared, point: PyTree) -> PyTree:
        """Equation (1), with one step in the place of an inner solver."""
        denoised = image_to_image(self.network, point)
        return self.consistency.towards(problem.data, denoised, point)

    def value(self, state: PyTree) -> PyTree:
        return state


def modl(network: Any, *, n_iter: int = 10, penalty: float = 0.05, **options: Any) -> Unrolled:
    """MoDL: a shared network and conjugate gradients on the data, in turn.

    One parameter more than the network has.

    Args:
        network: image network, a denoiser; in the paper DnCNN with 5 layers and 64 channels.
        n_iter: iterations, 10 in the paper.
        penalty: μ to start from.
        options: further ones of `Unrolled`.

    Example:
        >>> from flax import nnx
        >>> from jaxrecon.nets.reconstruction import ConvNet
        >>> from jaxrecon.physics import mri
        >>> A = mri.sense(jnp.ones((2, 4, 6), complex) / 2**0.5, jnp.arange(6)[None] % 2 == 0)
        >>> net = modl(ConvNet(2, 2, residual=True, rngs=nnx.Rngs(0)), n_iter=3)
        >>> net(A, A(jnp.ones((4, 6), complex))).shape
        (4, 6)
    """
    return Unrolled(Alternating(network, ProximalConsistency(penalty)), n_iter=n_iter, **options)


def cascade(
    networks: Any, *, n_iter: int = 5, consistency: DataConsistency | None = None, **options: Any
) -> Unrolled:
    """A deep cascade: networks with weights of their own, each followed by data consistency.

    Args:
        networks: image networks, `stacked`, n_iter of them.
        n_iter: their number, 5 in the paper.
        consistency: one layer without learned numbers for all, or `stacked` ones. Hard by default.
        options: further ones of `Unrolled`.
    """
    layer = HardConsistency() if consistency is None else consistency
    iteration = Alternating(networks, layer)
    return Unrolled(iteration, n_iter=n_iter, shared=False, **options)


@pytree
class Cartesian:
    """Cartesian sampling taken apart: A = c · mask · full, with its data."""

    full: LinearOperator
    mask: Array
    data: Array

    def measured(self, kspace: Array, strength: Any = 1.0) -> Array:
        """K-space with the measured samples in it, or moved towards them by a strength below 1."""
        mask = self.mask.astype(kspace.real.dtype)
        return kspace - strength * mask * (mask * kspace - self.data)


def cartesian_of(A: LinearOperator, y: Array) -> Cartesian:
    """The parts of a scan made by `mri.sense` or `mri.cartesian`.

    Raises:
        ValueError: another operator.
    """
    match A:
        case Scaled():
            return cartesian_of(A.inner, y / jnp.asarray(A.factor, y.dtype))
        case Sense():
            everywhere = jnp.ones((1,) * A.mask.ndim, bool)
            return Cartesian(Sense(A.maps, everywhere), A.mask, y)
        case Composition(outer=Diagonal() as outer, inner=inner) if is_unitary(inner):
            return Cartesian(inner, outer.weights, y)
    raise ValueError(
        f"`A` is a {type(A).__name__}, expected Cartesian sampling, from `mri.sense` or "
        "`mri.cartesian`: for other scans take a network of images with data consistency"
    )


class KspaceAlternating(LearnedIteration):
    """The iteration (2), on Cartesian scans whose maps have Σ|S|² = 1.

    Args:
        kspace_network: network of k-space, 2 channels, coil by coil.
        image_network: network of images, 2 channels.
    """

    def __init__(self, kspace_network: Any, image_network: Any):
        self.kspace_network = kspace_network
        self.image_network = image_network

    def prepare(self, problem: Problem) -> Cartesian:
        """The parts of the scan."""
        return cartesian_of(*fit_of(problem))

    def start(self, problem: Cartesian, x0: Array) -> Array:
        del problem
        return x0

    def advance(self, problem: Cartesian, state: Array) -> Array:
        kspace = problem.full(state)
        kspace = problem.measured(kspace + image_to_image(self.kspace_network, kspace))
        image = problem.full.H(kspace)
        image = image + image_to_image(self.image_network, image)
        return problem.full.H(problem.measured(problem.full(image)))

    def value(self, state: Array) -> Array:
        return state


def kiki(kspace_networks: Any, image_networks: Any, *, n_iter: int = 2, **options: Any) -> Unrolled:
    """KIKI-net: networks of k-space and of images in turn, with data consistency after each.

    Args:
        kspace_networks: `stacked`, n_iter of them; what they return is added.
        image_networks: likewise.
        n_iter: iterations, 2 in the paper.
        options: further ones of `Unrolled`.
    """
    iteration = KspaceAlternating(kspace_networks, image_networks)
    return Unrolled(iteration, n_iter=n_iter, shared=False, **options)
