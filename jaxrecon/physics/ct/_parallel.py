"""Parallel-beam scans in the plane.

At angle θ rays run along (−sin θ, cos θ) in (x, y), x growing with the column and y with the row,
and the detector along (cos θ, sin θ). Bin i of n sits at s = (i − (n − 1)/2)·pitch + offset from
the rotation axis, which is the centre of the grid. Every view has its own angle, offset and pitch,
as arrays: one can differentiate with respect to them, and a new scan compiles nothing.
"""

import math

import jax
from jaxtyping import Array, Float, Inexact

from jaxrecon.core import LinearOperator, operator, static
from jaxrecon.physics.ct import _checks, _joseph, _lines
from jaxrecon.physics.ct._checks import Numbers


@operator
class Parallel(LinearOperator):
    """Line integrals along parallel rays by Joseph's method; built by `parallel_beam`."""

    angles: Float[Array, " view"]
    offset: Float[Array, " view"]
    bin_pitch: Float[Array, " view"]
    image_shape: tuple[int, int] = static()
    n_bins: int = static()
    pixel: float = static()
    taps: int = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.image_shape, self.angles.dtype)

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.angles.shape[0], self.n_bins), self.angles.dtype)

    @property
    def spec(self) -> _joseph.Spec:
        """The static part, as the kernels want it."""
        return _joseph.Spec(self.image_shape, self.n_bins, self.taps, parallel=True)

    @property
    def lines(self) -> Float[Array, "view 2 3"]:
        """The rays as pencils of lines in pixels."""
        return _lines.parallel_lines(
            self.angles, self.offset / self.pixel, self.bin_pitch / self.pixel
        )

    def forward(self, x: Inexact[Array, "y x"]) -> Inexact[Array, "view bin"]:
        return _joseph.forward(self.spec, self.lines, self.pixel, x)

    def adjoint(self, y: Inexact[Array, "view bin"]) -> Inexact[Array, "y x"]:
        return _joseph.adjoint(self.spec, self.lines, self.pixel, y)

    def subset(self, i: int | Array, n: int) -> "Parallel":
        """The views i, i + n, i + 2n, ...; i may be traced."""
        views = _checks.part_of_views(i, n, self.angles.shape[0])
        return Parallel(
            *(a[views] for a in (self.angles, self.offset, self.bin_pitch)),
            image_shape=self.image_shape,
            n_bins=self.n_bins,
            pixel=self.pixel,
            taps=self.taps,
        )


def parallel_beam(
    angles: Numbers,
    image_shape: tuple[int, int],
    n_bins: int,
    *,
    pixel: float = 1.0,
    bin_pitch: Numbers | None = None,
    offset: Numbers = 0.0,
    taps: int | None = None,
) -> Parallel:
    """A parallel-beam scan as a linear operator from images (y, x) to sinograms (view, bin).

    Args:
        angles: one angle a view, in radians; any order and spacing; may be traced.
        image_shape: rows and columns of the image.
        n_bins: detector bins.
        pixel: side of a pixel, in mm.
        bin_pitch: distance of bins in mm, for all views or for each; `pixel` by default.
        offset: position of the detector's centre in mm, for all views or for each; may be traced.
            A rotation axis seen at bin c means ``offset = ((n_bins - 1) / 2 - c) * bin_pitch``.
        taps: how many bins the adjoint collects for a pixel and a view; found from `pixel` and
            `bin_pitch` when these are known. Needed when `bin_pitch` is traced: at least
            2 * pixel / bin_pitch. With too few the adjoint is NaN.

    Returns:
        The operator. Its arrays `angles`, `offset` and `bin_pitch` have true derivatives.

    Raises:
        ValueError: an argument of the wrong shape, not finite, or not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> A = parallel_beam(jnp.linspace(0, jnp.pi, 8, endpoint=False), (16, 16), 24)
        >>> A(jnp.ones((16, 16))).shape
        (8, 24)
    """
    shape, n_bins = _checks.sizes(image_shape, n_bins)
    angles = _checks.floats("angles", angles, (None,))
    pixel = _checks.positive("pixel", pixel)
    pitch = _checks.each_view("bin_pitch", pixel if bin_pitch is None else bin_pitch, angles)
    offset = _checks.each_view("offset", offset, angles)
    if taps is None:
        # A bin sees pixels up to pixel·max(|cos θ|, |sin θ|) away from its ray.
        closest = _checks.smallest("bin_pitch", pixel if bin_pitch is None else bin_pitch)
        taps = max(1, math.ceil(2 * pixel / closest - 1e-6))
    return Parallel(
        angles, offset, pitch, image_shape=shape, n_bins=n_bins, pixel=pixel, taps=int(taps)
    )
