"""Plots of arrays, as Matplotlib figures without global state; they need the extra `viz`."""

from jaxrecon.viz._comparison import comparison
from jaxrecon.viz._picture import image, save

__all__ = ["comparison", "image", "save"]
