"""Visual information fidelity in the pixel domain (VIFp).

The image is a local gain g and added variance σ_v² of the reference, and the eye adds noise of
variance σ_n² = 2 to images of range 0 to 255. Over four scales and all positions,

    VIF = Σ log(1 + g² σ_r² / (σ_v² + σ_n²)) / Σ log(1 + σ_r² / σ_n²)                 (1)
    g = σ_ri / σ_r²,  σ_v² = σ_i² − g σ_ri,

local variances under Gaussian windows of 17, 9, 5 and 3 pixels with σ = width / 5, each coarser
scale smoothed by its own window and taken at every other pixel. This is Sheikh and Bovik's
multi-scale pixel-domain version (`vifp_mscale`), not the one in the wavelet domain; other programs'
"VIF" may be either. Thresholds below which a window counts as flat grow with the rounding errors of
the precision in use, so that single precision gives the same figures.

Source: Sheikh and Bovik, "Image information and visual quality", IEEE Trans. Image Process. 15
(2006), and their published code for the pixel domain.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxrecon.metrics import _unit
from jaxrecon.metrics._unit import Region, Values
from jaxrecon.metrics._window import gaussian_window, local_mean

_WIDTHS = (17, 9, 5, 3)
_SMALLEST = 41
"""Pixels along an axis that leave one window at the coarsest scale."""
_EYE_NOISE = 2.0
_FLAT = 1e-10


@jax.jit
def vif(
    image: Values,
    reference: Values,
    *,
    data_range: ArrayLike | None = None,
    mask: Region | None = None,
) -> Float[Array, ""]:
    """Visual information fidelity in the pixel domain, equation (1) of the module.

    Args:
        image: the reconstruction, `(y, x)` or with leading axes, whose slices add up in both sums;
            real or complex (then |image|).
        reference: the truth, of the same shape.
        data_range: what corresponds to 255; if None max|reference| of the array that is passed,
            inside the mask.
        mask: windows centred on these pixels count.

    Returns:
        A scalar: 1 for equal images, below 1 for information lost, above 1 for contrast enhanced;
        NaN where the reference is flat and holds no information.

    Raises:
        ValueError: shapes differ, the mask is not boolean, or the image is smaller than 41 pixels
            along y or x.

    Example:
        >>> image = jnp.sin(jnp.arange(48.0 * 48)).reshape(48, 48)
        >>> round(float(vif(image, image)), 4)
        1.0
    """
    image, reference = _unit.pair(image, reference, mask)
    _check_size(image)
    image, reference = _unit.magnitude(image), _unit.magnitude(reference)
    peak = _unit.data_range(reference, mask) if data_range is None else jnp.asarray(data_range)
    scale = 255 / _unit.positive(peak).astype(image.dtype)
    images, centres = scale * jnp.stack([image, reference]), mask
    received, sent = jnp.zeros((), image.dtype), jnp.zeros((), image.dtype)
    for width in _WIDTHS:
        window = gaussian_window(width / 5, width // 2)
        if width != _WIDTHS[0]:
            images = local_mean(images, window, 2)[..., ::2, ::2]
            centres = _crop(centres, width)
            centres = None if centres is None else centres[..., ::2, ::2]
        gained, all_of_it = _information(images[0], images[1], window)
        received += _unit.total(gained, _crop(centres, width))
        sent += _unit.total(all_of_it, _crop(centres, width))
    return received / sent


def _information(image: Array, reference: Array, window: np.ndarray) -> tuple[Array, Array]:
    """The two logarithms of equation (1), at every position of the window."""
    stack = jnp.stack([image, reference, image**2, reference**2, image * reference])
    i, r, ii, rr, ir = local_mean(stack, window, 2)
    rounding = 8 * jnp.finfo(image.dtype).eps
    image_flat = ii - i * i < _FLAT + rounding * ii
    reference_flat = rr - r * r < _FLAT + rounding * rr
    image_variance = jnp.maximum(ii - i * i, 0)
    reference_variance = jnp.where(reference_flat, 0, rr - r * r)
    covariance = ir - i * r

    unrelated = image_flat | reference_flat | (covariance < 0)
    gain = jnp.where(unrelated, 0, covariance / jnp.where(reference_flat, 1, rr - r * r))
    added = jnp.where(image_flat, 0, image_variance - gain * covariance)
    added = jnp.maximum(added, _FLAT)
    received = jnp.log1p(gain**2 * reference_variance / (added + _EYE_NOISE))
    return received, jnp.log1p(reference_variance / _EYE_NOISE)


def _crop(mask: Region | None, width: int) -> Region | None:
    return (
        None if mask is None else mask[..., width // 2 : -(width // 2), width // 2 : -(width // 2)]
    )


def _check_size(image: Array) -> None:
    if image.ndim < 2 or min(image.shape[-2:]) < _SMALLEST:
        raise ValueError(
            f"`image` has shape {image.shape}, expected at least {_SMALLEST} pixels along y and x, "
            "which four scales need: pass a larger image, or use `ssim`"
        )
