"""Images judged by a task: how well a linear observer detects a lesion in them.

The channelised Hotelling observer sees an image g through a few channels, v = U g, and decides by

    t = wᵀv,    w = K⁻¹ (v̄₁ − v̄₀),    K = ½ (cov v₁ + cov v₀),                              (1)

with the means and covariances of images with (1) and without (0) the lesion. Images on which it is
trained must not judge it: the same ones flatter it. Laguerre-Gauss channels,

    u_j(r) = √2/a · exp(−π r²/a²) L_j(2π r²/a²),                                           (2)

L_j the Laguerre polynomials, are orthonormal and suit lesions without an orientation.

Source: Barrett and Myers, "Foundations of Image Science" (2004), chapters 13 and 14; Gallas and
Barrett, "Validating the use of channels to estimate the ideal linear observer", J. Opt. Soc. Am. A
20 (2003).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Detectability(NamedTuple):
    """How well a decision variable tells two classes apart."""

    snr: Float[Array, ""]
    """(t̄₁ − t̄₀)/√(½ var t₁ + ½ var t₀), the d′ of Gaussian t."""
    auc: Float[Array, ""]
    """The probability that t₁ > t₀, from all pairs; ½ is chance."""


class HotellingObserver(NamedTuple):
    """Equation (1), a pytree; call it with images ``(..., y, x)`` for their t."""

    channels: Float[Array, "channel y x"]
    weights: Float[Array, " channel"]

    def __call__(self, images: Float[Array, "... y x"]) -> Float[Array, "..."]:
        """T of each image."""
        return _seen(self.channels, images) @ self.weights


def laguerre_gauss(
    shape: tuple[int, int],
    *,
    width: float | int,
    n: int = 6,
    centre: tuple[float | int, float | int] | None = None,
) -> Float[Array, "channel y x"]:
    """Channels of equation (2), sampled at the pixels.

    Args:
        shape: rows and columns.
        width: a, in pixels; about the lesion's diameter.
        n: channels.
        centre: (row, column) of the lesion; the middle (N − 1)/2 by default.

    Raises:
        ValueError: a width or a number of channels that is not positive.

    Example:
        >>> channels = laguerre_gauss((64, 64), width=16.0, n=3)
        >>> products = jnp.einsum("iyx,jyx->ij", channels, channels, precision="highest")
        >>> bool(jnp.allclose(products, jnp.eye(3), atol=1e-4))
        True
    """
    if not width > 0 or n < 1:
        raise ValueError(f"`width` is {width} and `n` {n}; expected positive numbers")
    row, column = ((m - 1) / 2 for m in shape) if centre is None else centre
    y, x = np.ogrid[: shape[0], : shape[1]]
    square = ((y - row) ** 2 + (x - column) ** 2) / width**2
    before, polynomial = np.zeros_like(square), np.ones_like(square)
    channels = []
    for j in range(n):
        channels.append(np.sqrt(2) / width * np.exp(-np.pi * square) * polynomial)
        # (j + 1) L_{j+1}(z) = (2j + 1 − z) L_j(z) − j L_{j−1}(z)
        after = ((2 * j + 1 - 2 * np.pi * square) * polynomial - j * before) / (j + 1)
        before, polynomial = polynomial, after
    return jnp.asarray(np.stack(channels), float)


def hotelling_observer(
    present: Float[Array, "image y x"],
    absent: Float[Array, "other y x"],
    channels: Float[Array, "channel y x"],
) -> HotellingObserver:
    """The observer of equation (1), trained on images of both classes.

    Args:
        present: images with the lesion.
        absent: images without it.
        channels: such as `laguerre_gauss`.

    Raises:
        ValueError: fewer images than the channels need for a covariance that can be inverted.

    Example:
        >>> present, absent = jax.random.normal(jax.random.key(0), (2, 400, 16, 16))
        >>> channels = laguerre_gauss((16, 16), width=6.0, n=3)
        >>> present = present + channels[0]  # which has length 1, as the noise has
        >>> observer = hotelling_observer(present, absent, channels)
        >>> bool(abs(detectability(observer(present), observer(absent)).snr - 1) < 0.2)
        True
    """
    n = len(present) + len(absent) - 2
    if min(len(present), len(absent)) < 2 or n < len(channels):
        raise ValueError(
            f"`present` and `absent` have {len(present)} and {len(absent)} images, expected at "
            f"least two of each and {len(channels) + 2} in all for {len(channels)} channels"
        )
    seen = [_seen(channels, images) for images in (present, absent)]
    difference = seen[0].mean(0) - seen[1].mean(0)
    covariance = (_covariance(seen[0]) + _covariance(seen[1])) / 2
    return HotellingObserver(channels, jnp.linalg.solve(covariance, difference))


def detectability(present: Float[Array, " image"], absent: Float[Array, " other"]) -> Detectability:
    """How well decision variables of images with and without a lesion differ.

    Args:
        present: t of images with it.
        absent: t of images without it.

    Example:
        >>> found = detectability(jnp.array([2.0, 3.0, 4.0]), jnp.array([0.0, 1.0, 2.0]))
        >>> float(found.snr), round(float(found.auc), 3)
        (2.0, 0.944)
    """
    spread = jnp.sqrt((jnp.var(present, ddof=1) + jnp.var(absent, ddof=1)) / 2)
    greater = present[:, None] > absent
    auc = jnp.mean(greater + 0.5 * (present[:, None] == absent))
    return Detectability((present.mean() - absent.mean()) / spread, auc)


def _seen(channels: Float[Array, "channel y x"], images: Float[Array, "... y x"]) -> Array:
    return jnp.einsum("cyx,...yx->...c", channels, images, precision=jax.lax.Precision.HIGHEST)


def _covariance(v: Float[Array, "image channel"]) -> Array:
    centred = v - v.mean(0)
    return jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST) / (len(v) - 1)
