"""Networks that see the measurements once: an initial image improved, or an inverse learned whole.

`PostProcessing` is FBPConvNet and its relatives (Jin et al., IEEE Trans. Image Process. 26, 2017);
with `FullyConnected` in front, whose weights are learned, it is AUTOMAP (Zhu et al., Nature 555,
2018). The textbook comparison of the two at equal data, a single-pixel camera with 333 patterns of
64² pixels: a frozen pseudo-inverse and `ConvNet(1, 1, widths=(64, 32), kernels=(9, 1, 5))` have
8129 parameters; a learned layer in the place of the first has 1 368 064 more.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Inexact, PyTree

from jaxrecon.core import LinearOperator
from jaxrecon.nets.layers import from_channels, to_channels
from jaxrecon.nets.reconstruction._networks import ConvNet, image_to_image
from jaxrecon.nets.reconstruction._scan import check_measurements, peak, with_values
from jaxrecon.nets.reconstruction._unrolled import held


class PostProcessing(nnx.Module):
    """An initial image and a network that improves it: ``net(A, y)``.

    Args:
        initial: ``initial(A, y)``, such as `FilteredBackprojection`, `Tikhonov`, `PseudoInverse`,
            a `FullyConnected`, or a whole reconstruction network.
        network: image network, which sees images of peak 1.
        data_network: network of measurements ``(..., y, x, channel)``, which sees measurements of
            peak 1 before the initial image is made, for work in both domains.

    Example:
        >>> from jaxrecon.nets.reconstruction import FilteredBackprojection
        >>> from jaxrecon.physics import ct
        >>> A = ct.parallel_beam(jnp.linspace(0, 3, 4), (6, 6), 8)
        >>> network = ConvNet(1, 1, residual=True, rngs=nnx.Rngs(0))
        >>> net = PostProcessing(FilteredBackprojection("hann"), network)
        >>> net(A, A(jnp.ones((6, 6)))).shape
        (6, 6)
    """

    def __init__(
        self, initial: Callable[[Any, Any], Any], network: Any, *, data_network: Any = None
    ):
        self.initial = held(initial)
        self.network = network
        self.data_network = nnx.data(data_network)

    def __call__(self, A: LinearOperator, y: PyTree) -> PyTree:
        """The image behind measurements of one example."""
        check_measurements(A, y)
        if self.data_network is not None:
            scale = peak(y)
            y = scale * image_to_image(self.data_network, y / scale)
        x0 = with_values(self.initial)(A, y)
        scale = peak(x0)
        return scale * image_to_image(self.network, x0 / scale)


class FullyConnected(nnx.Module):
    """Dense layers from all measurements to all pixels, learned: ``initial(A, y)``, or a network.

    The operator is an argument for uniformity alone: it is not looked at. Measurements are brought
    to peak 1, which is undone. Real and imaginary parts are numbers like others. Parameters:
    Σ (n_in + 1)·n_out over the layers.

    Args:
        measurements: struct of the measurements, ``A.range``; one array.
        image: struct of the image, ``A.domain``; one array.
        hidden: sizes of layers between, each followed by the activation.
        activation: of hidden layers; and of the last one too, with hidden layers, in AUTOMAP.
        final_activation: of the last layer, none by default.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Raises:
        ValueError: measurements or an image of several arrays.
    """

    def __init__(
        self,
        measurements: Any,
        image: Any,
        *,
        hidden: Sequence[int] = (),
        activation: Callable[[Array], Array] = jnp.tanh,
        final_activation: Callable[[Array], Array] | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        sizes = (_real_size(measurements), *hidden, _real_size(image))
        options: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        pairs = itertools.pairwise(sizes)
        self.layers = nnx.List([nnx.Linear(n, m, **options) for n, m in pairs])
        self.image = jax.ShapeDtypeStruct(image.shape, image.dtype)
        self.activation = activation
        self.final_activation = final_activation

    def __call__(self, A: LinearOperator, y: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """The image of measurements y."""
        check_measurements(A, y)
        scale = peak(y)
        h = to_channels(y / scale).ravel()
        for layer in self.layers[:-1]:
            h = self.activation(layer(h))
        h = self.layers[-1](h)
        h = h if self.final_activation is None else self.final_activation(h)
        h = h.reshape(*self.image.shape, -1)
        return scale * from_channels(h, self.image)


def automap(
    A: LinearOperator,
    *,
    hidden: int | None = None,
    width: int = 64,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    rngs: nnx.Rngs,
) -> PostProcessing:
    """AUTOMAP: two dense layers with tanh, then three convolutions.

    The dense layers have (m + 1)·h + (h + 1)·n parameters for m real measurements and n pixels
    (real and imaginary part counted): small images only.

    Args:
        A: a forward model, for its shapes.
        hidden: h, n by default.
        width: channels of the convolutions.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.
    """
    options: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
    pixels = _real_size(A.domain)
    dense = FullyConnected(
        A.range, A.domain, hidden=(hidden or pixels,), final_activation=jnp.tanh, **options
    )
    parts = pixels // math.prod(A.domain.shape)
    network = ConvNet(parts, parts, widths=(width, width), kernels=(5, 5, 7), **options)
    return PostProcessing(dense, network)


def _real_size(struct: Any) -> int:
    if not isinstance(struct, jax.ShapeDtypeStruct):
        raise ValueError(
            f"`measurements` and `image` are {struct}, expected the struct of an array"
        )
    parts = 2 if jnp.issubdtype(struct.dtype, jnp.complexfloating) else 1
    return parts * math.prod(struct.shape)
