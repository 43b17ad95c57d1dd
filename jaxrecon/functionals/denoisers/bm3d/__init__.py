"""BM3D."""

from jaxrecon.functionals.denoisers.bm3d._bm3d import BM3D

__all__ = ["BM3D"]
