"""Computational optics: blur, super-resolution, inpainting, mosaics, single-pixel cameras, phase.

Images are `(y, x)` or `(z, y, x)`, colours `(channel, y, x)`; convolution kernels have their centre
at index K // 2 and are flipped (true convolution). Kernels, masks, weights and probes are array
data with gradients. `shifted_inverse`, half of a proximal step, is exact for circular blur and
downsampling, inpainting, mosaics, single-pixel patterns, coded diffraction and ptychography.
"""

from jaxrecon.physics.optics._blur import Blur, Filter, blur
from jaxrecon.physics.optics._downsample import Downsample, downsample
from jaxrecon.physics.optics._hadamard import (
    Hadamard,
    hadamard,
    hadamard_order,
    variance_order,
    walsh_hadamard,
)
from jaxrecon.physics.optics._inpaint import (
    Inpainting,
    inpaint,
    random_block_mask,
    random_pixel_mask,
)
from jaxrecon.physics.optics._kernels import (
    box_kernel,
    disk_kernel,
    gaussian_kernel,
    motion_kernel,
    normalise_kernel,
    random_motion_kernel,
)
from jaxrecon.physics.optics._mosaic import Mosaic, bayer_weights, demosaic_bilinear, mosaic
from jaxrecon.physics.optics._single_pixel import (
    SinglePixel,
    SplitSinglePixel,
    combine_split,
    single_pixel,
)
from jaxrecon.physics.optics._varying import (
    SpaceVaryingBlur,
    partition_of_unity,
    space_varying_blur,
    window_centres,
)
from jaxrecon.physics.optics.phase import (
    CodedDiffraction,
    Ptychography,
    Transmission,
    align_phase,
    amplitude,
    coded_diffraction,
    intensity,
    overlap,
    ptychography,
    random_phase_masks,
    random_transmission,
    raster_positions,
    spectral_init,
    transmission,
)

__all__ = [
    "Blur",
    "CodedDiffraction",
    "Downsample",
    "Filter",
    "Hadamard",
    "Inpainting",
    "Mosaic",
    "Ptychography",
    "SinglePixel",
    "SpaceVaryingBlur",
    "SplitSinglePixel",
    "Transmission",
    "align_phase",
    "amplitude",
    "bayer_weights",
    "blur",
    "box_kernel",
    "coded_diffraction",
    "combine_split",
    "demosaic_bilinear",
    "disk_kernel",
    "downsample",
    "gaussian_kernel",
    "hadamard",
    "hadamard_order",
    "inpaint",
    "intensity",
    "mosaic",
    "motion_kernel",
    "normalise_kernel",
    "overlap",
    "partition_of_unity",
    "ptychography",
    "random_block_mask",
    "random_motion_kernel",
    "random_phase_masks",
    "random_pixel_mask",
    "random_transmission",
    "raster_positions",
    "single_pixel",
    "space_varying_blur",
    "spectral_init",
    "transmission",
    "variance_order",
    "walsh_hadamard",
    "window_centres",
]
