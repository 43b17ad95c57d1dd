"""Solutions in closed form: Tikhonov's where the gram is inverted exactly, Wiener's filter.

    tikhonov:  x = (AᴴA + w RᴴR)⁻¹ Aᴴ y                                                      (1)
    wiener:    x = (AᴴA + N/S)⁻¹ Aᴴ y = S (AᴴA S + N)⁻¹ Aᴴ y                                 (2)

with N the variance of white noise in y and S the power spectrum of the image, both for an AᴴA that
is a circular convolution. S is in the order of `jnp.fft.fftn` and normalised so that a white
image of variance σ² has S = σ²; for complex data variances are E|z|². Everything is differentiable.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxrecon.core import Circulant, LinearOperator


def tikhonov(
    A: LinearOperator, y: PyTree, weight: Any, regulariser: LinearOperator | None = None
) -> PyTree:
    """The minimiser of ½‖Ax − y‖² + ½ weight ‖Rx‖² in closed form, equation (1).

    Args:
        A: a forward model that has `A.shifted_inverse`, or with a regulariser `A.gram_spectrum`:
            convolutions, masks, full k-space, unitary transforms, super-resolution.
        y: measurements, like the range of A.
        weight: positive scalar.
        regulariser: R, the identity by default; otherwise with a `gram_spectrum`, such as
            `gradient(..., boundary="periodic")`.

    Raises:
        ValueError: there is no closed form; `lstsq` iterates for any A and R, `svd(A).tikhonov` is
            for small ones.

    Example:
        >>> from jaxrecon.core import fft
        >>> x = jnp.arange(6.0).reshape(2, 3)
        >>> A = fft(x)
        >>> bool(jnp.allclose(tikhonov(A, A(x), 1.0), x / 2, atol=1e-5))
        True
    """
    if regulariser is None:
        inverse = A.shifted_inverse(weight)
        if inverse is None:
            raise ValueError(
                f"`A` ({type(A).__name__}) has no closed-form `shifted_inverse`: use "
                "`lstsq(A, y, damping=weight)`, or for a small one `svd(A).tikhonov(y, weight)`"
            )
    else:
        spectra = A.gram_spectrum(), regulariser.gram_spectrum()
        if spectra[0] is None or spectra[1] is None:
            name = type(A if spectra[0] is None else regulariser).__name__
            raise ValueError(
                f"`{'A' if spectra[0] is None else 'regulariser'}` ({name}) has no `gram_spectrum`:"
                " use `lstsq(A, y, damping=weight, regulariser=regulariser)`"
            )
        inverse = Circulant(1 / (spectra[0] + weight * spectra[1]), A.domain)
    return inverse(A.H(y))


def wiener(
    A: LinearOperator, y: Array, noise_power: Any, signal_power: Array | None = None
) -> Array:
    """Wiener's filter, the linear estimate of least mean squared error, equation (2).

    Args:
        A: a forward model with a `gram_spectrum`, such as a circular blur.
        y: measurements of zero-mean noise; one array.
        noise_power: its variance N in every entry, a positive scalar.
        signal_power: S, broadcastable to the image; by default a power law whose size is estimated
            from y, `estimate_power`.

    Raises:
        ValueError: AᴴA is not a circular convolution.
    """
    spectrum = _spectrum(A)
    if signal_power is None:
        signal_power = estimate_power(A, y, noise_power)
    gain = signal_power / (spectrum * signal_power + noise_power)
    return Circulant(gain, A.domain)(A.H(y))


def power_law(shape: tuple[int, ...], exponent: Any = 2.0) -> Float[Array, "..."]:
    """|k|^−exponent, the power spectrum of natural images up to a factor, in the order of `fftn`.

    k is in cycles per pixel; its zero, where the law diverges, counts as half the lowest
    frequency. Field (J. Opt. Soc. Am. A 4, 1987) found exponents about 2.
    """
    squares = np.zeros(())
    for n in shape:
        squares = squares[..., None] + np.fft.fftfreq(n) ** 2
    frequencies = np.sqrt(squares)
    frequencies.flat[0] = 0.5 / max(shape)
    return jnp.asarray(frequencies) ** -exponent


def estimate_power(
    A: LinearOperator, y: Array, noise_power: Any, exponent: Any = 2.0
) -> Float[Array, "..."]:
    """A power law for the image behind y, its size by matching what Aᴴy contains beyond noise.

    E|F Aᴴy|²/n = λ² S + λ N with λ the eigenvalues of AᴴA, summed over all frequencies but zero.
    """
    shape = A.domain.shape
    law, eigenvalues = power_law(shape, exponent), jnp.broadcast_to(_spectrum(A), shape)
    back = jnp.abs(jnp.fft.fftn(A.H(y), norm="ortho")) ** 2
    counted = jnp.ones(shape).at[(0,) * len(shape)].set(0)
    excess = jnp.sum(counted * (back - eigenvalues * noise_power))
    expected = jnp.sum(counted * eigenvalues**2 * law)
    smallest = jnp.finfo(back.dtype).eps * jnp.sum(back)
    return law * jnp.maximum(excess, smallest) / expected


def _spectrum(A: LinearOperator) -> Array:
    spectrum = A.gram_spectrum()
    if spectrum is None:
        raise ValueError(
            f"`A` ({type(A).__name__}) has no `gram_spectrum`: use `linear_mmse` or `lstsq`"
        )
    return spectrum
