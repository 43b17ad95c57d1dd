"""How networks of images stand in iterations: as proximal maps, as gradients, one per iteration."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Inexact

from jaxrecon.core import pytree
from jaxrecon.functionals import Functional
from jaxrecon.nets.layers import Conv, from_channels, to_channels

T = TypeVar("T")


def image_to_image(network: Any, x: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """An image network on a real or complex image ``(..., y, x)`` without a channel axis."""
    return from_channels(fresh(network)(to_channels(x)), x)


def fresh(module: T) -> T:
    """A copy that may be called, and change its state, at the current level of tracing.

    What a call changes (running means, counters of random numbers) stays in the copy: it does not
    leave a loop. So group or instance norms suit iterations, batch norm does not, and dropout with
    shared weights drops the same features at every iteration.
    """
    return jax.tree.map(lambda leaf: leaf, module)


@pytree
class ProximalNetwork(Functional):
    """An image network in the place of a proximal map, whatever the step: prox(x) = N(x).

    For a denoiser ``D(x, sigma)``, whose strength follows the step, take `DenoiserPrior`.

    Example:
        >>> from jaxrecon.core import Problem, identity, run
        >>> from jaxrecon.functionals import LeastSquares
        >>> from jaxrecon.solvers import ProximalGradient
        >>> I = identity(jnp.zeros((4, 4)))
        >>> prior = ProximalNetwork(ConvNet(1, 1, rngs=nnx.Rngs(0)))
        >>> problem = Problem(((LeastSquares(jnp.ones((4, 4))), I), (prior, I)))
        >>> run(ProximalGradient(), problem, n_iter=3, gradient="unrolled").value.shape
        (4, 4)
    """

    network: Any

    def __call__(self, x: Array) -> Array:
        """Raises.

        Raises:
            ValueError: always, a network has no objective.
        """
        raise ValueError("`ProximalNetwork` has no value: a network is not known to minimise any")

    def prox(self, x: Array, step: Any) -> Array:
        del step
        return image_to_image(self.network, x)


@pytree
class GradientNetwork(Functional):
    """An image network in the place of a regulariser's gradient: ∇g(x) = N(x).

    The value of g is NaN, since a network is in general no gradient of anything. Its curvature is
    not known, so the algorithm has to be given its step size.
    """

    smooth: ClassVar[bool] = True

    network: Any

    def __call__(self, x: Array) -> Array:
        return jnp.full((), jnp.nan, x.real.dtype)

    def grad(self, x: Array) -> Array:
        return image_to_image(self.network, x)


def as_prior(prior: Any) -> Functional:
    """A functional as it is; an image network as a proximal map."""
    return prior if isinstance(prior, Functional) else ProximalNetwork(prior)


def stacked(make: Callable[[nnx.Rngs], T], n: int, *, rngs: nnx.Rngs) -> T:
    """N modules of one kind with weights of their own, stacked along a leading axis.

    Args:
        make: builds one from random numbers: ``lambda rngs: UNet(1, 1, rngs=rngs)``.
        n: how many.
        rngs: source of the initial values.

    Returns:
        A module each of whose arrays has a leading axis of length n. It cannot be called as it is;
        `Unrolled` takes one slice for each iteration, and `jax.vmap` can map over them.

    Example:
        >>> nets = stacked(lambda rngs: ConvNet(1, 1, rngs=rngs), 3, rngs=nnx.Rngs(0))
        >>> jax.vmap(lambda net: net(jnp.ones((4, 4, 1))))(nets).shape
        (3, 4, 4, 1)
    """
    modules = [make(rngs) for _ in range(n)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *modules)


def slice_of(module: T, i: Any) -> T:
    """The i-th of `stacked` modules."""
    return jax.tree.map(lambda leaf: leaf[i], module)


class ConvNet(nnx.Module):
    """Convolutions with an activation between them: the small network inside an iteration.

    Parameters: kernel² · n_in · n_out + n_out for each convolution, one for each PReLU. As
    ``ConvNet(1, 1, widths=(64, 32), kernels=(9, 1, 5))`` it is the SRCNN of Dong et al. (IEEE
    TPAMI 38, 2016), with 8129.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        widths: channels between the convolutions.
        kernels: sides of the kernels: one for all, or one for each convolution.
        n_axes: 2 for images, 3 for volumes.
        prelu: activations with a learned negative slope, else ReLU.
        residual: whether the input is added to the output; n_in = n_out then.
        final_gain: variance of the last layer's output for inputs of variance one; small, so that
            an iteration that adds it begins near the one without it.
        padding: what stands outside the image, as in `layers.Conv`.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Raises:
        ValueError: other than as many kernels as convolutions, or a residual of other channels.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        widths: Sequence[int] = (32, 32),
        kernels: int | Sequence[int] = 3,
        n_axes: int = 2,
        prelu: bool = False,
        residual: bool = False,
        final_gain: float = 0.1,
        padding: str = "zeros",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        channels = (n_in, *widths, n_out)
        n_layers = len(channels) - 1
        kernels = (kernels,) * n_layers if isinstance(kernels, int) else tuple(kernels)
        if len(kernels) != n_layers:
            raise ValueError(f"`kernels` is {kernels}, expected one for each of {n_layers} layers")
        if residual and n_in != n_out:
            raise ValueError(f"`residual` needs `n_in` = `n_out`, which are {n_in} and {n_out}")
        last = nnx.initializers.variance_scaling(final_gain, "fan_in", "truncated_normal")
        shared = {"n_axes": n_axes, "padding": padding, "dtype": dtype, "param_dtype": param_dtype}
        self.residual = residual
        self.layers = nnx.List()
        for i, kernel in enumerate(kernels):
            init = {"kernel_init": last} if i == n_layers - 1 else {}
            pair = channels[i : i + 2]
            self.layers.append(Conv(*pair, kernel=kernel, **init, **shared, rngs=rngs))
        slopes = n_layers - 1 if prelu else 0
        self.activations = nnx.List([nnx.PReLU(param_dtype=param_dtype) for _ in range(slopes)])

    def __call__(self, x: Float[Array, "... n_in"]) -> Float[Array, "... n_out"]:
        """The features of ``(..., y, x, n_in)``, in x's dtype."""
        h = x
        for i, layer in enumerate(self.layers):
            if i:
                h = self.activations[i - 1](h) if self.activations else jax.nn.relu(h)
            h = layer(h)
        return (x + h if self.residual else h).astype(x.dtype)
