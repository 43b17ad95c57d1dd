"""Algorithms learned as a whole: learned primal-dual and the recurrent inference machine.

Learned primal-dual (Adler and Öktem, IEEE Trans. Med. Imaging 37, 2018), with a memory of n images
f and of m data sets h, and networks Γ of data and Λ of images:

    h⁺ = h + Γ([h, A f₂, y]),    f⁺ = f + Λ([f, Aᴴ h⁺₁])                                     (1)

The forward is applied to the second image (the first, if there is but one), the adjoint to the
first data set; the result is the first image. It starts from zeros.

Recurrent inference machine (Putzky and Welling, arXiv:1706.04008; for MRI Lønning et al., Med.
Image Anal. 53, 2019): a recurrent network is given the image and the fidelity's gradient,

    x⁺ = x + N(x, ∇f(Ax); hidden)                                                            (2)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxrecon.core import Problem
from jaxrecon.nets.layers import Conv, ConvGRU, from_channels, to_channels
from jaxrecon.nets.reconstruction._consistency import fit_of
from jaxrecon.nets.reconstruction._iteration import LearnedIteration
from jaxrecon.nets.reconstruction._networks import ConvNet, stacked
from jaxrecon.nets.reconstruction._unrolled import Unrolled
from jaxrecon.solvers.gradient._grams import with_fast_grams
from jaxrecon.solvers.gradient._smooth import Term, gradient_of


class Memory(NamedTuple):
    """F ``(n, *image)`` and h ``(m, *data)``."""

    images: Array
    data: Array


class PrimalDual(LearnedIteration):
    """The iteration (1), for one array of measurements.

    Args:
        image_network: Λ, with (n + 1)·c channels in and n·c out, c = 2 for complex images, else 1.
        data_network: Γ, with (m + 2)·c channels in and m·c out, on data ``(..., view, bin)`` or
            ``(coil, y, x)``: axes before its own are examples.
        n_images: n.
        n_data: m.
    """

    def __init__(
        self, image_network: Any, data_network: Any, *, n_images: int = 5, n_data: int = 5
    ):
        self.image_network = image_network
        self.data_network = data_network
        self.n_images = n_images
        self.n_data = n_data

    def start(self, problem: Problem, x0: Array) -> Memory:
        _, y = fit_of(problem)
        images = jnp.zeros((self.n_images, *x0.shape), x0.dtype)
        return Memory(images, jnp.zeros((self.n_data, *y.shape), y.dtype))

    def advance(self, problem: Problem, state: Memory) -> Memory:
        A, y = fit_of(problem)
        f, h = state
        projected = A(f[min(1, self.n_images - 1)])
        h = h + _mixed(self.data_network, h, projected, y)
        f = f + _mixed(self.image_network, f, A.H(h[0]))
        return Memory(f, h)

    def value(self, state: Memory) -> Array:
        return state.images[0]


def learned_primal_dual(
    *,
    n_iter: int = 10,
    n_images: int = 5,
    n_data: int = 5,
    width: int = 32,
    complex_values: bool = False,
    shared: bool = False,
    param_dtype: Any = jnp.float32,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **options: Any,
) -> Unrolled:
    """Learned primal-dual with the paper's networks: three convolutions, PReLU between them.

    251 980 parameters with the defaults.

    Args:
        n_iter: iterations.
        n_images: memory of images.
        n_data: memory of data.
        width: channels between the convolutions.
        complex_values: whether images and data are complex.
        shared: whether all iterations share their weights.
        param_dtype: of parameters.
        dtype: of activations.
        rngs: source of the initial values.
        options: further ones of `Unrolled`.

    Example:
        >>> from jaxrecon.physics import ct
        >>> A = ct.parallel_beam(jnp.linspace(0, 3, 4), (6, 6), 8)
        >>> net = learned_primal_dual(n_iter=2, width=4, rngs=nnx.Rngs(0))
        >>> net(A, A(jnp.ones((6, 6)))).shape
        (6, 6)
    """
    parts = 2 if complex_values else 1
    sizes = {"widths": (width, width), "prelu": True, "param_dtype": param_dtype, "dtype": dtype}

    def make(rngs: nnx.Rngs) -> PrimalDual:
        images = ConvNet((n_images + 1) * parts, n_images * parts, **sizes, rngs=rngs)
        data = ConvNet((n_data + 2) * parts, n_data * parts, **sizes, rngs=rngs)
        return PrimalDual(images, data, n_images=n_images, n_data=n_data)

    iteration = make(rngs) if shared else stacked(make, n_iter, rngs=rngs)
    return Unrolled(iteration, n_iter=n_iter, shared=shared, **options)


class Recurrent(NamedTuple):
    """The image, and the hidden states of the recurrent layers."""

    image: Array
    hidden: tuple[Array, Array]


class RecurrentInference(LearnedIteration):
    """The iteration (2), with two gated recurrent layers as for MRI, for any smooth fidelity.

    Args:
        width: channels of the layers.
        complex_values: whether images are complex.
        n_axes: 2 for images, 3 for volumes.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        complex_values: bool = False,
        n_axes: int = 2,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        parts = 2 if complex_values else 1
        shared = {"n_axes": n_axes, "dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        small = nnx.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        self.first = Conv(2 * parts, width, kernel=5, **shared)
        self.second = Conv(width, width, **shared)
        self.last = Conv(width, parts, kernel_init=small, use_bias=False, **shared)
        self.cells = nnx.List([ConvGRU(width, width, kernel=1, **shared) for _ in range(2)])

    def prepare(self, problem: Problem) -> tuple[Term, ...]:
        """The terms, with fast grams."""
        return with_fast_grams(problem.terms)

    def start(self, problem: tuple[Term, ...], x0: Array) -> Recurrent:
        del problem
        features = to_channels(x0)
        return Recurrent(x0, (self.cells[0].start(features), self.cells[1].start(features)))

    def advance(self, problem: tuple[Term, ...], state: Recurrent) -> Recurrent:
        slope = gradient_of(problem, state.image)
        h = jax.nn.relu(self.first(to_channels(jnp.stack([state.image, slope]), axis=0)))
        first = self.cells[0](state.hidden[0], h)
        second = self.cells[1](state.hidden[1], jax.nn.relu(self.second(first)))
        change = from_channels(self.last(second), state.image)
        return Recurrent(state.image + change, (first, second))

    def value(self, state: Recurrent) -> Array:
        return state.image


def recurrent_inference(
    *,
    n_iter: int = 8,
    width: int = 64,
    complex_values: bool = False,
    param_dtype: Any = jnp.float32,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **options: Any,
) -> Unrolled:
    """The recurrent inference machine, unrolled; weights are shared by nature.

    Args:
        n_iter: iterations, 8 in Lønning et al.
        width: channels of its layers.
        complex_values: whether images are complex.
        param_dtype: of parameters.
        dtype: of activations.
        rngs: source of the initial values.
        options: further ones of `Unrolled`.
    """
    sizes = {"width": width, "param_dtype": param_dtype, "dtype": dtype}
    iteration = RecurrentInference(**sizes, complex_values=complex_values, rngs=rngs)
    return Unrolled(iteration, n_iter=n_iter, **options)


def _mixed(network: Any, memory: Array, *others: Array) -> Array:
    """What a network makes of a memory and further arrays like its entries, all as channels."""
    everything = jnp.concatenate([memory, jnp.stack(others).astype(memory.dtype)])
    return from_channels(network(to_channels(everything, axis=0)), memory, axis=0)
