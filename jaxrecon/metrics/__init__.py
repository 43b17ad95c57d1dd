"""How good an image is: pure functions `metric(image, reference, *, ...)`.

All work under jit, vmap and reverse-mode grad (of a complex image: conj(jax.grad) is the ascent
direction). The array passed is the unit evaluated, a slice or a volume, which decides the data
range. No metric rescales; `match_scale` does when asked. `hotelling_observer` judges by a task
instead: what a lesion's detectability in many images is.
"""

from jaxrecon.metrics._contrast import cnr
from jaxrecon.metrics._error import match_scale, mse, nmse, nrmse, psnr, snr
from jaxrecon.metrics._observer import (
    Detectability,
    HotellingObserver,
    detectability,
    hotelling_observer,
    laguerre_gauss,
)
from jaxrecon.metrics._presets import fastmri, summary
from jaxrecon.metrics._ssim import ssim, ssim_uniform
from jaxrecon.metrics._vif import vif

__all__ = [
    "Detectability",
    "HotellingObserver",
    "cnr",
    "detectability",
    "fastmri",
    "hotelling_observer",
    "laguerre_gauss",
    "match_scale",
    "mse",
    "nmse",
    "nrmse",
    "psnr",
    "snr",
    "ssim",
    "ssim_uniform",
    "summary",
    "vif",
]
