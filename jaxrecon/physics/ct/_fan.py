"""Fan-beam scans in the plane: a point source and a flat detector with equally spaced bins.

Each view has its own source position, detector centre and detector axis (the vector from one bin to
the next), as arrays of (x, y) in mm with the rotation axis, the centre of the grid, as the origin;
x grows with the column and y with the row. Any trajectory is a scan; every pose has a derivative.

The circular scan of `fan_beam` at angle θ, with d = (−sin θ, cos θ) and u = (cos θ, sin θ), has its
source at −R_so d and its detector's centre at R_od d + offset u, bins along u. Bin i of n sits at
(i − (n − 1)/2)·pitch + offset, measured on the detector.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Inexact

from jaxrecon.core import LinearOperator, operator, static
from jaxrecon.physics.ct import _checks, _joseph, _lines
from jaxrecon.physics.ct._checks import Numbers


@operator
class Fan(LinearOperator):
    """Line integrals along fans of rays, built by `fan_beam` or `fan_from_poses`."""

    source: Float[Array, "view 2"]
    detector: Float[Array, "view 2"]
    axis: Float[Array, "view 2"]
    image_shape: tuple[int, int] = static()
    n_bins: int = static()
    pixel: float = static()
    taps: int = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.image_shape, self.source.dtype)

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.source.shape[0], self.n_bins), self.source.dtype)

    @property
    def spec(self) -> _joseph.Spec:
        """The static part, as the kernels want it."""
        return _joseph.Spec(self.image_shape, self.n_bins, self.taps, parallel=False)

    @property
    def lines(self) -> Float[Array, "view 2 3"]:
        """The rays as pencils of lines in pixels."""
        poses = (self.source, self.detector, self.axis)
        return _lines.fan_lines(*(pose / self.pixel for pose in poses))

    def forward(self, x: Inexact[Array, "y x"]) -> Inexact[Array, "view bin"]:
        return _joseph.forward(self.spec, self.lines, self.pixel, x)

    def adjoint(self, y: Inexact[Array, "view bin"]) -> Inexact[Array, "y x"]:
        return _joseph.adjoint(self.spec, self.lines, self.pixel, y)

    def subset(self, i: int | Array, n: int) -> "Fan":
        """The views i, i + n, i + 2n, ...; i may be traced."""
        views = _checks.part_of_views(i, n, self.source.shape[0])
        return Fan(
            *(pose[views] for pose in (self.source, self.detector, self.axis)),
            image_shape=self.image_shape,
            n_bins=self.n_bins,
            pixel=self.pixel,
            taps=self.taps,
        )


def fan_beam(
    angles: Numbers,
    image_shape: tuple[int, int],
    n_bins: int,
    *,
    source_origin: Any,
    origin_detector: Any,
    pixel: float = 1.0,
    bin_pitch: Any = None,
    offset: Numbers = 0.0,
    taps: int | None = None,
) -> Fan:
    """A circular fan-beam scan as a linear operator from images (y, x) to sinograms (view, bin).

    Args:
        angles: one angle a view, in radians; any order and spacing; may be traced.
        image_shape: rows and columns of the image.
        n_bins: detector bins.
        source_origin: distance of the source from the rotation axis, in mm.
        origin_detector: distance of the rotation axis from the detector, in mm.
        pixel: side of a pixel, in mm.
        bin_pitch: distance of bins on the detector, in mm; `pixel` times the magnification by
            default.
        offset: shift of the detector's centre along itself in mm, for all views or for each; may be
            traced.
        taps: how many bins the adjoint collects for a pixel and a view; found from the distances,
            `pixel` and `bin_pitch` when these are plain numbers, needed when one of them is traced.
            With too few the adjoint is NaN.

    Returns:
        The operator. Its arrays `source`, `detector` and `axis` have true derivatives, and so have
        the arguments that they are made of.

    Raises:
        ValueError: an argument of the wrong shape, not finite, or not positive; or the source is
            in the image.

    Example:
        >>> import jax.numpy as jnp
        >>> angles = jnp.linspace(0, 2 * jnp.pi, 8, endpoint=False)
        >>> A = fan_beam(angles, (16, 16), 24, source_origin=40.0, origin_detector=20.0)
        >>> A(jnp.ones((16, 16))).shape
        (8, 24)
    """
    shape, n_bins = _checks.sizes(image_shape, n_bins)
    angles = _checks.floats("angles", angles, (None,))
    pixel = _checks.positive("pixel", pixel)
    offset = _checks.each_view("offset", offset, angles)
    if bin_pitch is None:
        bin_pitch = pixel * (1 + origin_detector / source_origin)
    if taps is None:
        taps = _circle_taps(
            shape,
            pixel,
            source_origin=_checks.positive("source_origin", source_origin),
            origin_detector=_checks.positive("origin_detector", origin_detector),
            bin_pitch=_checks.positive("bin_pitch", bin_pitch),
        )
    poses = _circle(angles, source_origin, origin_detector, bin_pitch, offset)
    return Fan(*poses, image_shape=shape, n_bins=n_bins, pixel=pixel, taps=int(taps))


def fan_from_poses(
    source: Numbers,
    detector: Numbers,
    axis: Numbers,
    image_shape: tuple[int, int],
    n_bins: int,
    *,
    pixel: float = 1.0,
    taps: int | None = None,
) -> Fan:
    """A fan-beam scan along any trajectory.

    Args:
        source: (x, y) of the source in mm, for each view.
        detector: (x, y) of the detector's centre.
        axis: vector from one bin to the next.
        image_shape: rows and columns of the image.
        n_bins: detector bins.
        pixel: side of a pixel, in mm.
        taps: as in `fan_beam`; needed when poses are traced.

    Raises:
        ValueError: an argument of the wrong shape or not finite; a source in the image; poses are
            traced and `taps` is not given.

    Example:
        >>> import jax.numpy as jnp
        >>> A = fan_from_poses([[0.0, -40.0]], [[0.0, 20.0]], [[1.5, 0.0]], (16, 16), 24)
        >>> A(jnp.ones((16, 16))).shape
        (1, 24)
    """
    shape, n_bins = _checks.sizes(image_shape, n_bins)
    source = _checks.floats("source", source, (None, 2))
    detector, axis = (
        _checks.floats(name, value, source.shape).astype(source.dtype)
        for name, value in (("detector", detector), ("axis", axis))
    )
    scan = Fan(
        source,
        detector,
        axis,
        image_shape=shape,
        n_bins=n_bins,
        pixel=_checks.positive("pixel", pixel),
        taps=taps or 1,
    )
    if taps is None:
        if any(isinstance(a, Tracer) for a in (source, detector, axis)):
            raise ValueError("`taps` is missing, and the poses are traced: pass `taps`")
        with jax.ensure_compile_time_eval():
            taps = _checks.taps_for(scan.lines, shape)
    return Fan(
        source, detector, axis, image_shape=shape, n_bins=n_bins, pixel=scan.pixel, taps=taps
    )


def _circle(
    angles: Float[Array, " view"], source_origin, origin_detector, bin_pitch, offset
) -> tuple[Float[Array, "view 2"], ...]:
    """Source, detector centre and axis of a circular scan."""
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    along, ray = jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)
    detector = origin_detector * ray + jnp.asarray(offset)[..., None] * along
    return -source_origin * ray, detector, bin_pitch * along


def _circle_taps(shape: tuple[int, int], pixel: float, **distances: float) -> int:
    """Taps that do for every angle, so that they don't depend on the angles."""
    with jax.ensure_compile_time_eval():
        angles = jnp.linspace(0, 2 * jnp.pi, 360, endpoint=False)
        poses = _circle(angles, offset=0.0, **distances)
        lines = _lines.fan_lines(*(pose / pixel for pose in poses))
        return _checks.taps_for(lines, shape)
