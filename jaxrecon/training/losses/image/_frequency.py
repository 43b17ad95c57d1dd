"""Distances of spectra: networks favour low frequencies, which these losses make up for.

With D = F(prediction − target), F the orthonormal discrete Fourier transform over the image's axes,

    frequency = mean w |D|,     focal = mean w |D|²,  w = (|D| / max |D|)^α.               (1)

(The mean of |D|² is that of the pixels, by Parseval's theorem.) Of complex images the complex
difference counts.

Source: Jiang, Dai, Wu and Loy, "Focal frequency loss for image reconstruction and synthesis", ICCV
2021.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxrecon.training.losses.image._pixel import difference, magnitude, squares


def frequency(
    prediction: Array, target: Array, *, weights: ArrayLike = 1.0, n_axes: int = 2
) -> Float[Array, ""]:
    """The mean absolute difference of spectra, equation (1).

    Args:
        prediction: ``(..., y, x)``.
        target: alike.
        weights: w, broadcastable to the spectrum in the order of `jnp.fft.fftn`.
        n_axes: the image's axes.

    Example:
        >>> x = jnp.ones((4, 4))  # one frequency of size √16
        >>> float(frequency(x, 0 * x))
        0.25
    """
    return jnp.mean(weights * magnitude(_spectrum(prediction, target, n_axes)))


def focal_frequency(
    prediction: Array, target: Array, *, alpha: float = 1.0, n_axes: int = 2
) -> Float[Array, ""]:
    """The mean squared difference of spectra with weights on what is worst, equation (1).

    The weights follow the prediction but take no part in the gradient.

    Args:
        prediction: ``(..., y, x)``.
        target: alike.
        alpha: how much the focus is on the worst frequencies; 0 is `l2`.
        n_axes: the image's axes.

    Example:
        >>> x = jnp.arange(6.0).reshape(2, 3)
        >>> abs(float(focal_frequency(x, 0 * x, alpha=0.0)) - float(jnp.mean(x**2))) < 1e-5
        True
    """
    spectrum = _spectrum(prediction, target, n_axes)
    size = jax.lax.stop_gradient(magnitude(spectrum))
    worst = jnp.max(size, tuple(range(-n_axes, 0)), keepdims=True)
    weights = (size / jnp.where(worst > 0, worst, 1)) ** alpha
    return jnp.mean(weights * squares(spectrum))


def _spectrum(prediction: Array, target: Array, n_axes: int) -> Array:
    d = difference(prediction, target)
    return jnp.fft.fftn(d, axes=range(d.ndim - n_axes, d.ndim), norm="ortho")
