"""Variational networks: gradient steps on a fidelity, and learned ones on a regulariser.

With filters K_i, activations φ_i and one number λ for each iteration (Hammernik et al., Magn.
Reson. Med. 79, 2018),

    x⁺ = x − Σ K_iᵀ φ_i(K_i x) − λ Aᴴ(Ax − y)                                                (1)
    φ(z) = Σ_j w_j exp(−(z − m_j)²/(2σ²)),   m_j evenly from −r to r, σ their distance        (2)

Filters have zero mean and unit norm over both parts of a complex image, whatever is learned.

End to end (Sriram et al., MICCAI 2020): k-space k of all coils is what is refined,

    k⁺ = k − η M(k − y) + F S N(Sᴴ F⁻¹ k)                                                    (3)

with coil maps S that a network makes of the fully sampled centre.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Complex, Float

from jaxrecon.core import LinearOperator, Problem, centered_ifft, replace
from jaxrecon.nets.layers import to_channels
from jaxrecon.nets.reconstruction._alternating import Cartesian, cartesian_of
from jaxrecon.nets.reconstruction._consistency import fit_of
from jaxrecon.nets.reconstruction._iteration import LearnedIteration
from jaxrecon.nets.reconstruction._networks import image_to_image, stacked
from jaxrecon.nets.reconstruction._scan import Positive
from jaxrecon.nets.reconstruction._unrolled import Unrolled
from jaxrecon.physics.mri import Sense, rss
from jaxrecon.solvers.gradient._grams import with_fast_grams
from jaxrecon.solvers.gradient._smooth import Term, gradient_of


class FilterGradient(LearnedIteration):
    """The iteration (1), for any smooth fidelity.

    Parameters: n_filters · (kernel² · c + n_nodes) + 1, c = 2 for complex images, else 1.

    Args:
        n_filters: number of filters and activations.
        kernel: the filters' side in pixels.
        n_nodes: Gaussians in each activation.
        reach: r of (2), in units of the image's peak.
        step: λ to start from.
        complex_values: whether images are complex.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        *,
        n_filters: int = 48,
        kernel: int = 11,
        n_nodes: int = 31,
        reach: float = 1.0,
        step: float = 1.0,
        complex_values: bool = False,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shape = kernel, kernel, 2 if complex_values else 1, n_filters
        self.filters = nnx.Param(jax.random.normal(rngs.params(), shape, param_dtype))
        # Activations begin as lines of slope 1/n_filters.
        nodes = jnp.linspace(-1, 1, n_nodes, dtype=param_dtype) * (reach / n_filters / 2.5)
        self.weights = nnx.Param(jnp.broadcast_to(nodes, (n_filters, n_nodes)))
        self.step_size = Positive(step, dtype=param_dtype)
        self.reach = reach

    def prepare(self, problem: Problem) -> tuple[Term, ...]:
        """The terms, with fast grams."""
        return with_fast_grams(problem.terms)

    def start(self, problem: tuple[Term, ...], x0: Array) -> Array:
        del problem
        return x0

    def advance(self, problem: tuple[Term, ...], state: Array) -> Array:
        step = self.step_size().astype(state.dtype)
        filters = normalised_filters(self.filters[...])
        prior = filter_gradient(state, filters, self.weights[...], self.reach)
        return state - prior - step * gradient_of(problem, state)

    def value(self, state: Array) -> Array:
        return state


def normalised_filters(
    filters: Float[Array, "height width part filter"],
) -> Float[Array, "height width part filter"]:
    """Filters of zero mean (in each part) and unit norm (over both)."""
    filters = filters - jnp.mean(filters, (0, 1), keepdims=True)
    squares = jnp.sum(filters**2, (0, 1, 2), keepdims=True)
    return filters / jnp.sqrt(jnp.where(squares > 0, squares, 1))


def filter_gradient(
    x: Array,
    filters: Float[Array, "height width part filter"],
    weights: Float[Array, "filter node"],
    reach: float,
) -> Array:
    """Σ K_iᵀ φ_i(K_i x), the image mirrored at its borders; Kᵀ is the exact transpose."""

    def filtered(x: Array) -> Array:
        height, width = filters.shape[:2]
        borders = [((n - 1) // 2, n // 2) for n in (height, width)]
        channels = to_channels(x)
        leading = ((0, 0),) * (channels.ndim - 3)
        padded = jnp.pad(channels, (*leading, *borders, (0, 0)), mode="symmetric")
        batch = padded.reshape(-1, *padded.shape[-3:])
        layout = ("NHWC", "HWIO", "NHWC")
        kernels = filters.astype(batch.dtype)
        z = jax.lax.conv_general_dilated(batch, kernels, (1, 1), "VALID", dimension_numbers=layout)
        return z.reshape(*channels.shape[:-1], -1)

    z, transpose = jax.vjp(filtered, x)
    (slope,) = transpose(radial_basis(z, weights.astype(z.dtype), reach))
    return jnp.conj(slope)  # the cotangents of JAX pair without conjugation


@jax.checkpoint
def radial_basis(
    z: Float[Array, "... filter"], weights: Float[Array, "filter node"], reach: Any
) -> Float[Array, "... filter"]:
    """Equation (2), each filter with its weights. Only z is kept for the derivative."""
    n_nodes = weights.shape[-1]
    distance = 2 * reach / (n_nodes - 1)

    def add(total: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
        centre, weight = node
        return total + weight * jnp.exp(-0.5 * ((z - centre) / distance) ** 2), None

    centres = jnp.linspace(-1, 1, n_nodes, dtype=z.dtype) * reach
    return jax.lax.scan(add, jnp.zeros_like(z), (centres, weights.T))[0]


def variational_network(
    *, n_iter: int = 10, rngs: nnx.Rngs, sizes: dict[str, Any] | None = None, **options: Any
) -> Unrolled:
    """The variational network (1): iterations with filters and activations of their own.

    With the paper's sizes, on complex images, 131 050 parameters.

    Args:
        n_iter: iterations.
        rngs: source of the initial values.
        sizes: of `FilterGradient`, such as ``{"n_filters": 24, "complex_values": True}``.
        options: further ones of `Unrolled`.
    """
    iteration = stacked(lambda r: FilterGradient(**(sizes or {}), rngs=r), n_iter, rngs=rngs)
    return Unrolled(iteration, n_iter=n_iter, shared=False, **options)


class MultiCoil(NamedTuple):
    """K-space of every coil, and the image combined from it."""

    kspace: Array
    image: Array


class KspaceRefinement(LearnedIteration):
    """The iteration (3), on Cartesian scans whose maps have Σ|S|² = 1.

    Args:
        network: image network, 2 channels; what it returns is added.
        step: η to start from; an array of them for stacked networks.
        param_dtype: of η.
    """

    def __init__(self, network: Any, *, step: Any = 1.0, param_dtype: Any = jnp.float32):
        self.network = network
        self.step_size = Positive(step, dtype=param_dtype)

    def prepare(self, problem: Problem) -> Cartesian:
        """The parts of the scan."""
        return cartesian_of(*fit_of(problem))

    def start(self, problem: Cartesian, x0: Array) -> MultiCoil:
        return MultiCoil(problem.data, problem.full.H(problem.data).astype(x0.dtype))

    def advance(self, problem: Cartesian, state: MultiCoil) -> MultiCoil:
        eta = self.step_size().astype(state.kspace.real.dtype)
        refined = problem.full(image_to_image(self.network, state.image))
        kspace = problem.measured(state.kspace, eta) + refined
        return MultiCoil(kspace, problem.full.H(kspace))

    def value(self, state: MultiCoil) -> Array:
        return state.image


class CoilMapNetwork(nnx.Module):
    """Coil maps by a network from the fully sampled centre of k-space: ``calibrate(A, y)``.

    The images of the centre, divided by their root sum of squares, are maps already; the network,
    the same for all coils, adds to them, and they are divided once more.

    Args:
        network: image network, 2 channels.
        centre: samples of the centre along each axis, None where all are sampled.

    Raises:
        ValueError: an operator other than `mri.sense` makes.
    """

    def __init__(self, network: Any, centre: tuple[int | None, ...]):
        self.network = network
        self.centre = centre

    def __call__(self, A: LinearOperator, y: Complex[Array, "coil *image"]) -> Sense:
        """The scan with new maps."""
        if not isinstance(A, Sense) or A.mask.ndim != len(self.centre):
            raise ValueError(
                f"`A` is a {type(A).__name__}, expected `mri.sense` of as many axes as `centre` "
                f"has, {len(self.centre)}"
            )
        axes = tuple(range(1, y.ndim))
        images = centered_ifft(y * central_window(y.shape[1:], self.centre), axes)
        maps = _unit(images)
        return replace(A, maps=_unit(maps + image_to_image(self.network, maps)))


def central_window(shape: tuple[int, ...], centre: tuple[int | None, ...]) -> Float[Array, "..."]:
    """One in the centre of k-space, zero elsewhere."""
    window = jnp.ones(())
    for n, width in zip(shape, centre, strict=True):
        width = n if width is None else min(width, n)
        start = n // 2 - width // 2
        places = jnp.arange(n)
        inside = (places >= start) & (places < start + width)
        window = window[..., None] * inside
    return window


def end_to_end_varnet(
    networks: Any,
    map_network: Any,
    *,
    centre: tuple[int | None, ...],
    n_iter: int = 12,
    step: float = 1.0,
    **options: Any,
) -> Unrolled:
    """The end-to-end variational network (3), called with any `mri.sense` that has the right mask.

    The maps of that are not used; the image belongs to the maps found. Its magnitude is what to
    compare, since the maps' phase is free.

    Args:
        networks: image networks with 2 channels, `stacked`, n_iter of them; U-Nets in the paper.
        map_network: image network with 2 channels.
        centre: as for `CoilMapNetwork`: ``(None, 24)`` for 24 central columns.
        n_iter: iterations, 12 in the paper.
        step: η to start from.
        options: further ones of `Unrolled`.
    """
    steps = np.full(n_iter, step)
    return Unrolled(
        KspaceRefinement(networks, step=steps),
        n_iter=n_iter,
        shared=False,
        calibrate=CoilMapNetwork(map_network, centre),
        **options,
    )


def _unit(maps: Complex[Array, "coil *image"]) -> Complex[Array, "coil *image"]:
    size = rss(maps)[None]
    return jnp.where(size > 0, maps / jnp.where(size > 0, size, 1), 0)
