"""Structural similarity (SSIM) with Gaussian or uniform windows.

With local means μ, variances σ² and covariance σ_xy under a window w,

    SSIM = (2 μ_x μ_y + C₁)(2 σ_xy + C₂) / ((μ_x² + μ_y² + C₁)(σ_x² + σ_y² + C₂))       (1)
    C₁ = (0.01 R)²,  C₂ = (0.03 R)²,  R the data range,

averaged over all positions at which the window lies inside the image (no padding), equal to
scikit-image's `structural_similarity`. Windows span the last `n_axes` axes; leading axes are
slices, and all share one data range. Complex images are compared by magnitude.

Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
structural similarity", IEEE Trans. Image Process. 13 (2004).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxrecon.metrics import _unit
from jaxrecon.metrics._unit import Region, Values
from jaxrecon.metrics._window import gaussian_window, local_mean, uniform_window


@functools.partial(jax.jit, static_argnames=("sigma", "n_axes"))
def ssim(
    image: Values,
    reference: Values,
    *,
    data_range: ArrayLike | None = None,
    mask: Region | None = None,
    sigma: float | int = 1.5,
    n_axes: int = 2,
) -> Float[Array, ""]:
    """Structural similarity of Wang et al. (2004): Gaussian window, population covariance.

    Args:
        image: the reconstruction, `(y, x)` or with leading axes, real or complex (then |image|).
        reference: the truth, of the same shape.
        data_range: R of equation (1); if None max|reference| of the array that is passed, inside
            the mask.
        mask: windows centred on these pixels count; what their windows reach is seen, masked or
            not.
        sigma: the window's standard deviation in pixels; it is cut off at 3.5 sigma.
        n_axes: 2 for slice by slice, 3 for windows that span a volume's three axes.

    Returns:
        A scalar, 1 for equal images.

    Raises:
        ValueError: shapes differ, the mask is not boolean, or the image is smaller than a window.

    Example:
        >>> image = jnp.arange(144.0).reshape(12, 12)
        >>> round(float(ssim(image, image)), 6)
        1.0
    """
    window = gaussian_window(sigma, radius=int(3.5 * sigma + 0.5))
    return _ssim(image, reference, data_range, mask, window, n_axes, covariance_scale=1.0)


@functools.partial(jax.jit, static_argnames=("size", "n_axes"))
def ssim_uniform(
    image: Values,
    reference: Values,
    *,
    data_range: ArrayLike | None = None,
    mask: Region | None = None,
    size: int = 7,
    n_axes: int = 2,
) -> Float[Array, ""]:
    """Structural similarity with a uniform window and sample covariance: fastMRI's.

    These are scikit-image's defaults. The figures differ from `ssim`'s; compare like with like. See
    there for arguments and errors; `size` is the window's odd width.

    Example:
        >>> image = jnp.arange(144.0).reshape(12, 12)
        >>> round(float(ssim_uniform(image, image)), 6)
        1.0
    """
    if size % 2 == 0:
        raise ValueError(f"`size` is {size}, expected an odd width: pass {size + 1}")
    n = size**n_axes
    window = uniform_window(size)
    return _ssim(image, reference, data_range, mask, window, n_axes, covariance_scale=n / (n - 1))


def _ssim(
    image: Values,
    reference: Values,
    data_range: ArrayLike | None,
    mask: Region | None,
    window: np.ndarray,
    n_axes: int,
    covariance_scale: float,
) -> Array:
    image, reference = _unit.pair(image, reference, mask)
    _check_size(image, window.size, n_axes)
    image, reference = _unit.magnitude(image), _unit.magnitude(reference)
    if data_range is None:
        data_range = _unit.data_range(reference, mask)
    # Variances do not see an offset, their rounding errors do: take most of it away.
    offset = jax.lax.stop_gradient(_unit.mean(reference, mask))
    similarity = ssim_map(image, reference, offset, data_range, window, n_axes, covariance_scale)
    return _unit.mean(similarity, _centres(mask, window.size // 2, n_axes))


def ssim_map(
    image: Float[Array, "..."],
    reference: Float[Array, "..."],
    offset: Float[Array, ""],
    data_range: ArrayLike,
    window: np.ndarray,
    n_axes: int,
    covariance_scale: float,
) -> Float[Array, "..."]:
    """Equation (1) at every position of the window; `offset` changes only its rounding errors."""
    # Blank images have no range: equal ones then are 1, and the derivative of others is finite.
    data_range = _unit.positive(jnp.asarray(data_range, image.dtype))
    c1, c2 = ((k * data_range) ** 2 for k in (0.01, 0.03))
    x, y = image - offset, reference - offset
    stack = jnp.stack([x, y, x * x, y * y, x * y])
    x, y, xx, yy, xy = local_mean(stack, window, n_axes)
    variances = covariance_scale * (xx - x * x + yy - y * y)
    covariance = covariance_scale * (xy - x * y)
    x, y = x + offset, y + offset
    luminance = (2 * x * y + c1) / (x * x + y * y + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


def _centres(mask: Region | None, radius: int, n_axes: int) -> Region | None:
    """The mask at the centres of the windows."""
    if mask is None or radius == 0:
        return mask
    return mask[(..., *[slice(radius, -radius)] * n_axes)]


def _check_size(image: Array, size: int, n_axes: int) -> None:
    if image.ndim < n_axes or min(image.shape[-n_axes:]) < size:
        raise ValueError(
            f"`image` has shape {image.shape}, expected at least {size} pixels along each of the "
            f"last {n_axes} axes, the width of the window: pass a larger image or a smaller window"
        )
