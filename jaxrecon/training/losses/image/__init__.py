"""Distances ``d(prediction, target)`` of images; those of pixels also of measurements."""

from jaxrecon.training.losses.image._frequency import focal_frequency, frequency
from jaxrecon.training.losses.image._perceptual import Perceptual
from jaxrecon.training.losses.image._pixel import charbonnier, edge, l1, l2, normalised_l1_l2
from jaxrecon.training.losses.image._similarity import (
    WANG_2003,
    ms_ssim,
    ms_ssim_loss,
    ssim_l1,
    ssim_loss,
)

__all__ = [
    "WANG_2003",
    "Perceptual",
    "charbonnier",
    "edge",
    "focal_frequency",
    "frequency",
    "l1",
    "l2",
    "ms_ssim",
    "ms_ssim_loss",
    "normalised_l1_l2",
    "ssim_l1",
    "ssim_loss",
]
