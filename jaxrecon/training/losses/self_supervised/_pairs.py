"""Learning from pairs of noisy measurements of one object, or from pairs made of one measurement.

If y₁ and y₂ have independent noise of mean zero, then for any network f of y₁ and linear A

    E‖A f(y₁) − y₂‖² = E‖A f(y₁) − E y₂‖² + tr cov y₂,                                     (1)

the supervised loss and a constant. Noise2Noise is given the pair; Noise2Inverse makes it of the
views of one scan, Neighbour2Neighbour of the pixels of one image.

Source: Lehtinen et al., "Noise2Noise: learning image restoration without clean data", ICML 2018;
Hendriksen, Pelt and Batenburg, "Noise2Inverse: self-supervised deep convolutional denoising for
tomography", IEEE Trans. Comput. Imaging 6 (2020); Huang et al., "Neighbor2Neighbor: self-supervised
denoising from single noisy images", CVPR 2021.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxrecon.core import identity, pytree, static
from jaxrecon.training.losses._loss import Batch, Metrics, as_pytree, entries
from jaxrecon.training.losses.image import l2
from jaxrecon.training.losses.image._pixel import Distance
from jaxrecon.training.losses.self_supervised._rows import unit_axes


@pytree
class Noise2Noise:
    """d(A₂ net(A, y), y₂) with a second noisy measurement batch["y2"] of the same object.

    A₂ is batch["A2"], or A where the second scan is like the first. For denoising A is the
    identity.

    Attributes:
        distance: of measurements; (1) is about `l2`.

    Example:
        >>> y = jnp.array([1.0, 2.0])
        >>> batch = {"y": y, "y2": y + 1, "A": identity(y)}
        >>> float(Noise2Noise()(lambda A, y: y, batch, jax.random.key(0))[0])
        1.0
    """

    distance: Distance = static(default=l2)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network."""
        del key
        y, A, second = entries(batch, "y", "A", "y2")
        return self.distance(batch.get("A2", A)(net(A, y)), second), {}


def as_denoiser(net: Any, image: Array) -> Array:
    """A reconstruction network on an image: as the measurement of the identity."""
    return net(identity(image), image)


@pytree
class Noise2Inverse:
    """Denoising of reconstructions: parts of the views make the input, the other ones the target.

    The scan's views (or shots) are split into n interleaved parts, each reconstructed for itself;
    their noise is independent. In every step one part is drawn: "X:1" takes the mean of the
    others for the input and that one for the target, "1:X" the other way round. Afterwards the
    network denoises the reconstruction from all views, `reconstruct(A, y)`.

    Built by `noise2inverse`.

    Attributes:
        reconstruct: ``reconstruct(A, y) -> image``, linear in y, such as filtered backprojection.
        denoise: ``denoise(net, image) -> image``.
        n: parts; has to divide the number of views.
        strategy: "X:1" or "1:X".
        distance: of images.
    """

    reconstruct: Any
    denoise: Any
    n: int = static(default=4)
    strategy: str = static(default="X:1")
    distance: Distance = static(default=l2)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network.

        Raises:
            ValueError: n does not divide the views.
        """
        y, A = entries(batch, "y", "A")
        one, others = partial_reconstructions(
            self.reconstruct, A, y, self.n, jax.random.randint(key, (), 0, self.n)
        )
        source, target = (others, one) if self.strategy == "X:1" else (one, others)
        return self.distance(self.denoise(net, source), target), {}


def noise2inverse(
    reconstruct: Callable[[Any, Any], Array],
    *,
    n: int = 4,
    strategy: str = "X:1",
    denoise: Callable[[Any, Array], Array] = as_denoiser,
    distance: Distance = l2,
) -> Noise2Inverse:
    """Noise2Inverse, see there.

    Args:
        reconstruct: linear, such as ``lambda A, y: ct.fbp(A, y)``.
        n: parts of the views.
        strategy: "X:1", the better one in the publication, or "1:X".
        denoise: how the network is applied to an image; by default as a reconstruction network of
            the identity. For an image network: ``lambda net, x: net(x[..., None])[..., 0]``.
        distance: of images.

    Raises:
        ValueError: an unknown strategy, or fewer than two parts.
    """
    if strategy not in ("X:1", "1:X"):
        raise ValueError(f"`strategy` is {strategy!r}, expected 'X:1' or '1:X'")
    if n < 2:
        raise ValueError(f"`n` is {n}, expected at least 2 parts")
    return Noise2Inverse(as_pytree(reconstruct), as_pytree(denoise), n, strategy, distance)


def partial_reconstructions(
    reconstruct: Callable[[Any, Any], Array], A: Any, y: Array, n: int, i: Any
) -> tuple[Array, Array]:
    """The reconstruction from part i of n, and the mean of those from the other parts.

    Raises:
        ValueError: n does not divide the views.
    """
    axis = unit_axes(A)[0]
    if y.shape[axis] % n:
        raise ValueError(f"`n` is {n}, which does not divide the {y.shape[axis]} views of `y`")
    rows = [np.arange(j, y.shape[axis], n) for j in range(n)]
    images = [reconstruct(A.subset(j, n), jnp.take(y, rows[j], axis)) for j in range(n)]
    images = jnp.stack(images)
    return images[i], (jnp.sum(images, 0) - images[i]) / (n - 1)


@pytree
class Neighbour2Neighbour:
    """Denoising from single images with pixel-wise independent noise: neighbours are the pair.

    Of every 2×2 pixels two neighbours are drawn, which make two images g₁ and g₂ of half the size
    of the noisy image y; with f the network

        |f(g₁ y) − g₂ y|² + weight · |f(g₁ y) − g₂ y − (g₁ f(y) − g₂ f(y))|²               (2)

    where the second term makes up for the difference of the two underlying images. No gradient
    goes through f(y), as published. A is the identity.

    Attributes:
        weight: of the second term.
    """

    weight: Any = 1.0

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network.

        Raises:
            ValueError: an image of odd size.
        """
        y, A = entries(batch, "y", "A")
        first, second = neighbours(key, y)
        residual = as_denoiser(net, first) - second
        whole = jax.lax.stop_gradient(net(A, y))
        g1, g2 = neighbours(key, whole)
        fit, balance = l2(residual, jnp.zeros_like(residual)), l2(residual, g1 - g2)
        return fit + self.weight * balance, {"fit": fit, "balance": balance}


def neighbours(key: Key[Array, ""], image: Array) -> tuple[Array, Array]:
    """Two images of half the size, of two neighbouring pixels of every 2×2, drawn at random.

    Raises:
        ValueError: the last two axes are not even.
    """
    n_y, n_x = image.shape[-2:]
    if n_y % 2 or n_x % 2:
        raise ValueError(f"`y` has shape {image.shape}, expected even sizes of the last two axes")
    cells = image.reshape(*image.shape[:-2], n_y // 2, 2, n_x // 2, 2)
    # Around the square, so that the next place is always a neighbour.
    ring = jnp.stack(
        [cells[..., 0, :, 0], cells[..., 0, :, 1], cells[..., 1, :, 1], cells[..., 1, :, 0]]
    )
    key_place, key_side = jax.random.split(key)
    place = jax.random.randint(key_place, (n_y // 2, n_x // 2), 0, 4)
    step = 2 * jax.random.bernoulli(key_side, 0.5, place.shape).astype(int) - 1
    pick = lambda i: jnp.take_along_axis(ring, _like(i % 4, ring), 0)[0]  # noqa: E731
    return pick(place), pick(place + step)


def _like(index: Array, ring: Array) -> Array:
    return jnp.broadcast_to(index, (1, *ring.shape[1:]))
