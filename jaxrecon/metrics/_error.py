"""Pixel-wise errors: MSE, NMSE, NRMSE, PSNR, SNR, and an explicit change of scale.

With d = image − reference, sums over the whole array (the unit evaluated) or inside `mask`:

    MSE   = mean |d|²                                                   (1)
    NMSE  = Σ|d|² / Σ|reference|²                                       (2)
    NRMSE = ‖d‖ / ‖reference‖ = √NMSE                                   (3)
    PSNR  = 10 log₁₀(data_range² / MSE)                                 (4)
    SNR   = 10 log₁₀(Σ|reference|² / Σ|d|²) = −10 log₁₀ NMSE            (5)

Complex images are compared as such, so a wrong phase is an error; pass magnitudes where the phase
is a free gauge. Where image and reference are equal, PSNR and SNR are +inf; there (and for NRMSE)
the gradient is defined as zero. Several images: `jax.vmap`.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from jaxrecon.metrics import _unit
from jaxrecon.metrics._unit import Region, Values


def mse(image: Values, reference: Values, *, mask: Region | None = None) -> Float[Array, ""]:
    """Mean squared error, equation (1).

    Args:
        image: the reconstruction, real or complex, any shape.
        reference: the truth, of the same shape.
        mask: the pixels that count.

    Returns:
        A scalar in squared units of the image.

    Raises:
        ValueError: shapes differ, or the mask is not boolean.

    Example:
        >>> float(mse(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        2.0
    """
    image, reference = _unit.pair(image, reference, mask)
    return _unit.mean(_squared_error(image, reference, mask), mask)


def nmse(image: Values, reference: Values, *, mask: Region | None = None) -> Float[Array, ""]:
    """Normalised mean squared error, equation (2); see `mse` for the arguments.

    Example:
        >>> round(float(nmse(jnp.array([3.0, 5.0]), jnp.array([3.0, 4.0]))), 6)
        0.04
    """
    image, reference = _unit.pair(image, reference, mask)
    return _unit.total(_squared_error(image, reference, mask), mask) / _energy(reference, mask)


def nrmse(image: Values, reference: Values, *, mask: Region | None = None) -> Float[Array, ""]:
    """Normalised root mean squared error, equation (3); see `mse` for the arguments.

    This is the norm of the error over the norm of the reference, the field's relative error; other
    programs divide by the reference's range or mean.

    Example:
        >>> round(float(nrmse(jnp.array([3.0, 5.0]), jnp.array([3.0, 4.0]))), 6)
        0.2
    """
    return _unit.safe_sqrt(nmse(image, reference, mask=mask))


def psnr(
    image: Values,
    reference: Values,
    *,
    data_range: ArrayLike | None = None,
    mask: Region | None = None,
) -> Float[Array, ""]:
    """Peak signal-to-noise ratio in decibels, equation (4).

    Args:
        image: the reconstruction, real or complex, any shape.
        reference: the truth, of the same shape.
        data_range: the peak; if None max|reference| of the array that is passed, inside the mask.
            A slice and its volume have different peaks: comparing figures needs the same choice.
        mask: the pixels that count.

    Returns:
        A scalar in dB.

    Raises:
        ValueError: shapes differ, or the mask is not boolean.

    Example:
        >>> float(psnr(jnp.array([10.0, 1.0]), jnp.array([10.0, 0.0]), data_range=10 / 2**0.5))
        20.0
    """
    image, reference = _unit.pair(image, reference, mask)
    peak = _unit.data_range(reference, mask) if data_range is None else jnp.asarray(data_range)
    error = _unit.mean(_squared_error(image, reference, mask), mask)
    return _unit.decibels(peak.astype(error.dtype) ** 2, error)


def snr(image: Values, reference: Values, *, mask: Region | None = None) -> Float[Array, ""]:
    """Signal-to-noise ratio in decibels, equation (5): all of the error is noise.

    See `mse` for the arguments.

    Example:
        >>> float(snr(jnp.array([10.0, 1.0]), jnp.array([10.0, 0.0])))
        20.0
    """
    image, reference = _unit.pair(image, reference, mask)
    error = _unit.total(_squared_error(image, reference, mask), mask)
    return _unit.decibels(_energy(reference, mask), error)


def match_scale(
    image: Values, reference: Values, *, mask: Region | None = None
) -> Inexact[Array, "..."]:
    """The image times the one global factor that brings it closest to the reference.

    The factor is argmin_c ‖c·image − reference‖ = ⟨image, reference⟩ / ‖image‖², complex if either
    is; 0 for an image of zeros. No metric does this by itself: a scale taken from the truth hides
    an error, so it belongs only where the scale is a free gauge (two programs that normalise
    differently), and is then to be reported.

    Args:
        image: the reconstruction, real or complex, any shape.
        reference: the truth, of the same shape.
        mask: the pixels that decide the factor; the whole image is scaled.

    Returns:
        The scaled image.

    Raises:
        ValueError: shapes differ, or the mask is not boolean.

    Example:
        >>> match_scale(jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])).tolist()
        [2.0, 4.0]
    """
    image, reference = _unit.pair(image, reference, mask)
    energy = _energy(image, mask)
    seen, wanted = _unit.inside(image, mask), _unit.inside(reference, mask)
    overlap = jnp.sum(jnp.conj(seen) * wanted)
    return image * jnp.where(energy == 0, 0, overlap / jnp.where(energy == 0, 1, energy))


def _squared_error(image: Array, reference: Array, mask: Region | None) -> Array:
    return _unit.squares(_unit.inside(image, mask) - _unit.inside(reference, mask))


def _energy(x: Array, mask: Region | None) -> Array:
    return jnp.sum(_unit.squares(_unit.inside(x, mask)))
