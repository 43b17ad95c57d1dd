"""Structural similarity as a loss, on one scale and on several.

SSIM is `jaxrecon.metrics.ssim`; its loss is 1 − SSIM. Multi-scale SSIM takes the luminance l from
the coarsest of M scales only, and contrast-structure c from all,

    MS-SSIM = l_M^{β_M} Π_{j=1…M} c_j^{β_j},                                               (1)

every factor averaged over the image first, each scale half as fine as the one before by means of
2×2 pixels. A negative c_j counts as 0. Complex images are compared by magnitude. The data range is
max|target| of the array that is passed (a slice or a volume) unless it is given.

Source: Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality assessment",
Asilomar 2003; Zhao, Gallo, Frosio and Kautz, "Loss functions for image restoration with neural
networks", IEEE Trans. Comput. Imaging 3 (2017) for the mixture.
"""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxrecon import metrics
from jaxrecon.metrics._unit import positive
from jaxrecon.metrics._window import gaussian_window, local_mean
from jaxrecon.training.losses.image._pixel import l1, magnitude

WANG_2003 = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The exponents β of five scales, from the finest to the coarsest."""


def ssim_loss(
    prediction: Array,
    target: Array,
    *,
    data_range: ArrayLike | None = None,
    window: str = "gaussian",
    n_axes: int = 2,
) -> Float[Array, ""]:
    """1 − SSIM, between 0 and 2.

    Args:
        prediction: ``(..., y, x)``, real or complex (then by magnitude).
        target: alike.
        data_range: of the images; max|target| if None.
        window: "gaussian" (Wang et al. 2004) or "uniform" (fastMRI's 7 pixels).
        n_axes: 2 for windows in slices, 3 for windows in volumes.

    Raises:
        ValueError: an unknown window, shapes that differ, or an image smaller than a window.

    Example:
        >>> x = jnp.arange(144.0).reshape(12, 12)
        >>> abs(float(ssim_loss(x, x))) < 1e-6, float(ssim_loss(x.T, x)) > 0.1
        (True, True)
    """
    if window not in _SSIM:
        raise ValueError(f"`window` is {window!r}, expected one of {sorted(_SSIM)}")
    return 1 - _SSIM[window](prediction, target, data_range=data_range, n_axes=n_axes)


_SSIM = {"gaussian": metrics.ssim, "uniform": metrics.ssim_uniform}


@functools.partial(jax.jit, static_argnames=("exponents", "sigma", "n_axes"))
def ms_ssim(
    prediction: Array,
    target: Array,
    *,
    data_range: ArrayLike | None = None,
    exponents: tuple[float, ...] = WANG_2003,
    sigma: float = 1.5,
    n_axes: int = 2,
) -> Float[Array, ""]:
    """Multi-scale structural similarity, equation (1).

    Args:
        prediction: ``(..., y, x)``, real or complex (then by magnitude).
        target: alike.
        data_range: of the images; max|target| if None.
        exponents: β, one for each scale from the finest to the coarsest. Five scales need 176
            pixels along every axis; for smaller images pass fewer, such as ``WANG_2003[:3]``.
        sigma: of the Gaussian window in pixels of each scale; it is cut off at 3.5 sigma.
        n_axes: 2 for slices, 3 for volumes.

    Returns:
        A scalar from 0 to 1, 1 for equal images; with leading axes, the mean over these.

    Raises:
        ValueError: shapes differ, or the coarsest image is smaller than the window.

    Example:
        >>> x = jnp.arange(1024.0).reshape(32, 32)
        >>> round(float(ms_ssim(x, x, exponents=WANG_2003[:2])), 5)
        1.0
    """
    if prediction.shape != target.shape:
        raise ValueError(f"`prediction` has shape {prediction.shape}, expected {target.shape}")
    radius = int(3.5 * sigma + 0.5)
    smallest = (2 * radius + 1) * 2 ** (len(exponents) - 1)
    if target.ndim < n_axes or min(target.shape[-n_axes:]) < smallest:
        raise ValueError(
            f"`prediction` has shape {prediction.shape}, expected at least {smallest} pixels along "
            f"the last {n_axes} axes for {len(exponents)} scales: pass fewer `exponents`"
        )
    x, y = (_magnitude(image) for image in (prediction, target))
    if data_range is None:
        data_range = jnp.max(jnp.abs(y))
    window = gaussian_window(sigma, radius)
    value = jnp.ones(())
    for scale, exponent in enumerate(exponents):
        luminance, contrast = _terms(x, y, data_range, window, n_axes)
        value = value * _power(contrast, exponent)
        if scale == len(exponents) - 1:
            value = value * _power(luminance, exponent)
        else:
            x, y = (_halved(image, n_axes) for image in (x, y))
    return jnp.mean(value)


def ms_ssim_loss(
    prediction: Array,
    target: Array,
    *,
    data_range: ArrayLike | None = None,
    exponents: tuple[float, ...] = WANG_2003,
    n_axes: int = 2,
) -> Float[Array, ""]:
    """1 − MS-SSIM, between 0 and 1; see `ms_ssim`."""
    options = {"data_range": data_range, "exponents": exponents, "n_axes": n_axes}
    return 1 - ms_ssim(prediction, target, **options)


def ssim_l1(
    prediction: Array,
    target: Array,
    *,
    weight: ArrayLike = 0.84,
    data_range: ArrayLike | None = None,
    window: str = "gaussian",
    n_axes: int = 2,
) -> Float[Array, ""]:
    """weight·(1 − SSIM) + (1 − weight)·l1/range: the field's mixture of structure and pixels.

    Both are of order one and neither changes with the images' units. Of complex images SSIM sees
    the magnitudes and l1 both parts, so that the phase counts. For several scales weigh
    `ms_ssim_loss` and `l1` with `supervised`.

    Args:
        prediction: ``(..., y, x)``.
        target: alike.
        weight: of SSIM; 0.84 is that of Zhao et al. (2017).
        data_range: of the images; max|target| if None.
        window: as for `ssim_loss`.
        n_axes: 2 for slices, 3 for volumes.
    """
    if data_range is None:
        data_range = jnp.max(magnitude(target))
    similarity = ssim_loss(prediction, target, data_range=data_range, window=window, n_axes=n_axes)
    pixels = l1(prediction, target) / positive(jnp.asarray(data_range))
    return similarity + (1 - jnp.asarray(weight)) * (pixels - similarity)


def _terms(
    x: Array, y: Array, data_range: ArrayLike, window, n_axes: int
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The means over each image of luminance and of contrast times structure."""
    data_range = positive(jnp.asarray(data_range, x.dtype))
    c1, c2 = ((k * data_range) ** 2 for k in (0.01, 0.03))
    # Variances do not see an offset, their rounding errors do: take most of it away.
    offset = jax.lax.stop_gradient(jnp.mean(y))
    u, v = x - offset, y - offset
    u, v, uu, vv, uv = local_mean(jnp.stack([u, v, u * u, v * v, u * v]), window, n_axes)
    contrast = (2 * (uv - u * v) + c2) / (uu - u * u + vv - v * v + c2)
    u, v = u + offset, v + offset
    luminance = (2 * u * v + c1) / (u * u + v * v + c1)
    axes = tuple(range(-n_axes, 0))
    return jnp.mean(luminance, axes), jnp.mean(contrast, axes)


def _power(x: Array, exponent: float) -> Array:
    """max(x, 0)^β, with gradient zero where x ≤ 0."""
    positive = x > 0
    return jnp.where(positive, jnp.where(positive, x, 1) ** exponent, 0)


def _halved(x: Array, n_axes: int) -> Array:
    """Means of 2×2 (×2) pixels; an odd last row or column is left out."""
    for axis in range(x.ndim - n_axes, x.ndim):
        n = x.shape[axis] // 2
        x = jax.lax.slice_in_dim(x, 0, 2 * n, axis=axis)
        x = jnp.mean(x.reshape(*x.shape[:axis], n, 2, *x.shape[axis + 1 :]), axis + 1)
    return x


def _magnitude(x: Array) -> Array:
    """|x| of complex images, real ones with their sign, in single precision at least."""
    x = magnitude(x) if jnp.iscomplexobj(x) else x
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
