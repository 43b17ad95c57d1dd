"""Sets of figures that are reported together."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxrecon.metrics import _unit
from jaxrecon.metrics._error import nmse, nrmse, psnr
from jaxrecon.metrics._ssim import ssim, ssim_uniform
from jaxrecon.metrics._unit import Region, Values


@jax.jit
def summary(
    image: Values,
    reference: Values,
    *,
    data_range: ArrayLike | None = None,
    mask: Region | None = None,
) -> dict[str, Float[Array, ""]]:
    """PSNR (dB), SSIM (Gaussian window) and NRMSE of one image.

    Args:
        image: the reconstruction, `(y, x)` or with leading axes; the array is one unit.
        reference: the truth, of the same shape. Complex images: PSNR and NRMSE see the phase, SSIM
            compares magnitudes; pass magnitudes where the phase is a free gauge.
        data_range: of PSNR and SSIM; if None max|reference| of the array, inside the mask.
        mask: the pixels that count.

    Returns:
        A dict with keys `psnr`, `ssim`, `nrmse`.

    Raises:
        ValueError: shapes differ, or the image is smaller than SSIM's 11 pixels.

    Example:
        >>> image = jnp.arange(144.0).reshape(12, 12)
        >>> {name: round(float(value), 3) for name, value in summary(1.1 * image, image).items()}
        {'nrmse': 0.1, 'psnr': 24.756, 'ssim': 0.991}
    """
    return {
        "psnr": psnr(image, reference, data_range=data_range, mask=mask),
        "ssim": ssim(image, reference, data_range=data_range, mask=mask),
        "nrmse": nrmse(image, reference, mask=mask),
    }


@jax.jit
def fastmri(image: Values, reference: Values) -> dict[str, Float[Array, ""]]:
    """NMSE, PSNR and SSIM of a volume as fastMRI's `evaluate.py` computes them.

    One unit is a volume: the data range is the maximum of the reference volume, SSIM has uniform
    7 x 7 windows and sample covariance and is averaged over slices. Magnitudes are compared, whose
    target in fastMRI is the root sum of squares, cropped to 320 x 320; cropping is the caller's.

    Args:
        image: the reconstruction, `(slice, y, x)`.
        reference: the target, of the same shape.

    Returns:
        A dict with keys `nmse`, `psnr` (dB), `ssim`.

    Raises:
        ValueError: not three axes, or shapes that differ.

    Source: Zbontar et al., "fastMRI: an open dataset and benchmarks for accelerated MRI",
    arXiv:1811.08839.

    Example:
        >>> image = jnp.arange(288.0).reshape(2, 12, 12)
        >>> round(float(fastmri(1.1 * image, image)["nmse"]), 4)
        0.01
    """
    if image.ndim != 3:
        raise ValueError(
            f"`image` has shape {image.shape}, expected (slice, y, x): "
            "pass image[None] for a single slice"
        )
    image, reference = (_unit.magnitude(x) for x in _unit.pair(image, reference, None))
    return {
        "nmse": nmse(image, reference),
        "psnr": psnr(image, reference, data_range=jnp.max(reference)),
        "ssim": ssim_uniform(image, reference, data_range=jnp.max(reference)),
    }
