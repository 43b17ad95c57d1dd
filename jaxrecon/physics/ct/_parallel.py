"""Parallel-beam scans in the plane.

At angle θ rays run along (−sin θ, cos θ) in (x, y), x growing with the column and y with the row,
and the detector along (cos θ, sin θ). Bin i of n sits at s = (i − (n − 1)/2)·pitch + offset from
the rotation axis, which is the centre of the grid. Every view has its own angle, offset and pitch,
as arrays: one can differentiate with respect to them, and a new scan compiles nothing.
"""

import math
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Inexact

from jaxrecon.core import LinearOperator, operator, replace, static
from jaxrecon.physics.ct import _checks, _fourier, _joseph, _lines
from jaxrecon.physics.ct._checks import Numbers
from jaxrecon.physics.nufft import Plan
from jaxrecon.physics.nufft._plan import make_plan


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
        return _part(self, i, n)


@operator
class FourierParallel(LinearOperator):
    """Projections of a band-limited object by the Fourier-slice theorem; built by `parallel_beam`.

    Exact, up to `eps`, for an object whose spectrum ends within the square |f_x|, |f_y| ≤
    1/(2·pixel) and which pixels and bins sample or average as `pixel_model` and `bin_model` say. An
    object with sharp edges has a spectrum beyond. That is missing here, so that its projections
    ring: those of a disc of 80 pixels err by up to 1.3 % of the longest chord at the edge, 0.7 %
    five pixels away and 0.5 % twenty away, at a pitch of a pixel (3, 1 and 0.9 % at half a pixel,
    0.6, 0.2 and 0.2 % at two). Hence line integrals of a positive image can be slightly negative.

    `gram` is the adjoint after the forward. It is not exactly a convolution, because the detector
    ends and because frequencies beyond 1/(2·bin_pitch) alias; see `approximate_gram`.

    `offset` and `bin_pitch` may move within 3 % of the sizes for which the operator was built. A
    view beyond that is NaN, and so is the adjoint; one that cannot see the image is zero.

    Attributes:
        angles: of the views, in radians.
        offset: of the detector's centre, in mm.
        bin_pitch: in mm.
        image_shape: rows and columns.
        n_bins: detector bins.
        pixel: side of a pixel in mm.
        padded_bins: of the periodic detector that holds the image's projection once.
        n_frequencies: along a spoke, from zero on.
        pixel_model: "average", "point" or "square".
        bin_model: "average" or "point".
        eps: relative error of the non-uniform FFT; the rest are its choices, as in `nufft.NUFFT`.
    """

    angles: Float[Array, " view"]
    offset: Float[Array, " view"]
    bin_pitch: Float[Array, " view"]
    image_shape: tuple[int, int] = static()
    n_bins: int = static()
    pixel: float = static()
    padded_bins: int = static()
    n_frequencies: int = static()
    pixel_model: str = static()
    bin_model: str = static()
    eps: float = static()
    backend: str = static()
    oversampling: float = static()
    width: int = static()
    grid_shape: tuple[int, ...] = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.image_shape, self.angles.dtype)

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.angles.shape[0], self.n_bins), self.angles.dtype)

    @property
    def spec(self) -> _fourier.Spec:
        """The static part, as the transforms want it."""
        plan = Plan(*(getattr(self, name) for name in Plan._fields))
        return _fourier.Spec(plan, *(getattr(self, name) for name in _fourier.Spec._fields[1:]))

    @property
    def views(self) -> _fourier.Views:
        """The arrays."""
        return _fourier.Views(self.angles, self.offset, self.bin_pitch)

    def forward(self, x: Inexact[Array, "y x"]) -> Inexact[Array, "view bin"]:
        return _fourier.forward(self.spec, self.views, x)

    def adjoint(self, y: Inexact[Array, "view bin"]) -> Inexact[Array, "y x"]:
        return _fourier.adjoint(self.spec, self.views, y)

    def approximate_gram(self, view_weights: Numbers = 1.0) -> _fourier.FourierGram:
        """AᴴWA as a convolution, two FFTs of twice the size: for preconditioners and quick solvers.

        As if the detector had no ends and frequencies beyond 1/(2·bin_pitch) did not alias. Where
        the object lies within the detector's view, it agrees with `gram` to about 1e-6 for a
        bin_pitch of at most 0.7 pixels, to 1e-3 for a head and a pitch of one pixel, and not at all
        for white noise. The kernel is computed here, so take it outside loops.

        Args:
            view_weights: one real weight for all views or for each.
        """
        weights = _checks.each_view("view_weights", view_weights, self.angles)
        return _fourier.gram(self.spec, self.views, weights)

    def subset(self, i: int | Array, n: int) -> "FourierParallel":
        """The views i, i + n, i + 2n, ...; i may be traced."""
        return _part(self, i, n)


@overload
def parallel_beam(
    angles: Numbers,
    image_shape: tuple[int, int],
    n_bins: int,
    *,
    pixel: float = 1.0,
    bin_pitch: Numbers | None = None,
    offset: Numbers = 0.0,
    method: Literal["joseph"] = "joseph",
    taps: int | None = None,
) -> Parallel: ...
@overload
def parallel_beam(
    angles: Numbers,
    image_shape: tuple[int, int],
    n_bins: int,
    *,
    pixel: float = 1.0,
    bin_pitch: Numbers | None = None,
    offset: Numbers = 0.0,
    method: Literal["fourier"],
    pixel_model: str | None = None,
    bin_model: str | None = None,
    eps: float | None = None,
    backend: str | None = None,
    oversampling: float | None = None,
) -> FourierParallel: ...
def parallel_beam(
    angles: Numbers,
    image_shape: tuple[int, int],
    n_bins: int,
    *,
    pixel: float = 1.0,
    bin_pitch: Numbers | None = None,
    offset: Numbers = 0.0,
    method: str = "joseph",
    taps: int | None = None,
    pixel_model: str | None = None,
    bin_model: str | None = None,
    eps: float | None = None,
    backend: str | None = None,
    oversampling: float | None = None,
) -> Parallel | FourierParallel:
    """A parallel-beam scan as a linear operator from images (y, x) to sinograms (view, bin).

    Args:
        angles: one angle a view, in radians; any order and spacing; may be traced.
        image_shape: rows and columns of the image.
        n_bins: detector bins.
        pixel: side of a pixel, in mm.
        bin_pitch: distance of bins in mm, for all views or for each; `pixel` by default.
        offset: position of the detector's centre in mm, for all views or for each; may be traced.
            A rotation axis seen at bin c means ``offset = ((n_bins - 1) / 2 - c) * bin_pitch``.
        method: "joseph" interpolates along each ray: local, and never negative. "fourier" goes
            through a non-uniform FFT: ten times faster on CPU and closer to bins that average over
            their width, but it rings at sharp edges; see `FourierParallel`.
        taps: of "joseph": how many bins the adjoint collects for a pixel and a view; found from
            `pixel` and `bin_pitch` when these are known. Needed when `bin_pitch` is traced: at
            least 2 * pixel / bin_pitch. With too few the adjoint is NaN.
        pixel_model: of "fourier": a pixel is the object's "average" over its square (the default,
            and closest to analytic sinograms), its value at a "point", or the object is made of
            every pixel as a "square" of constant value.
        bin_model: of "fourier": a bin is the "average" over its width (the default), or measures at
            a "point".
        eps: of "fourier": relative error of the non-uniform FFT, 1e-4 by default.
        backend: of "fourier": as in `nufft.nufft`, like the next.
        oversampling: of "fourier".

    Returns:
        The operator. Its arrays `angles`, `offset` and `bin_pitch` have true derivatives.

    Raises:
        ValueError: an argument of the wrong shape, not finite, or not positive; an unknown method,
            or an option of the other one; for "fourier", a `bin_pitch` that is traced.

    Example:
        >>> import jax.numpy as jnp
        >>> angles = jnp.linspace(0, jnp.pi, 8, endpoint=False)
        >>> image = jnp.zeros((16, 16)).at[5:9, 6:12].set(0.5)
        >>> A = parallel_beam(angles, image.shape, 24)
        >>> A(image).shape
        (8, 24)
        >>> B = parallel_beam(angles, image.shape, 24, method="fourier")
        >>> bool(jnp.linalg.norm(B(image) - A(image)) < 0.1 * jnp.linalg.norm(A(image)))
        True
    """
    _check_method(
        method,
        joseph={"taps": taps},
        fourier={
            "pixel_model": pixel_model,
            "bin_model": bin_model,
            "eps": eps,
            "backend": backend,
            "oversampling": oversampling,
        },
    )
    shape, n_bins = _checks.sizes(image_shape, n_bins)
    angles = _checks.floats("angles", angles, (None,))
    pixel = _checks.positive("pixel", pixel)
    known_pitch, known_offset = pixel if bin_pitch is None else bin_pitch, offset
    pitch = _checks.each_view("bin_pitch", known_pitch, angles)
    offset = _checks.each_view("offset", offset, angles)
    if method == "joseph":
        if taps is None:
            # A bin sees pixels up to pixel·max(|cos θ|, |sin θ|) away from its ray.
            taps = max(1, math.ceil(2 * pixel / _checks.smallest("bin_pitch", known_pitch) - 1e-6))
        return Parallel(angles, offset, pitch, shape, n_bins, pixel, int(taps))
    pitches, offsets = _known(known_pitch, known_offset, angles.shape)
    padded_bins, n_frequencies = _fourier.sizes(shape, n_bins, pixel, pitches, offsets)
    dtype = jnp.promote_types(angles.dtype, jnp.float32)
    n_points = angles.shape[0] * n_frequencies
    plan = make_plan(shape, n_points, 1e-4 if eps is None else eps, dtype, backend, oversampling)
    return FourierParallel(
        angles,
        offset,
        pitch,
        n_bins=n_bins,
        pixel=pixel,
        padded_bins=padded_bins,
        n_frequencies=n_frequencies,
        pixel_model=_choice("pixel_model", pixel_model, _fourier.PIXELS),
        bin_model=_choice("bin_model", bin_model, _fourier.BINS),
        **plan._asdict(),
    )


def _check_method(method: str, **options: dict[str, Any]) -> None:
    """Refuses an unknown method, and options that belong to another than the one chosen."""
    if method not in options:
        raise ValueError(f"`method` is {method!r}, expected one of 'joseph', 'fourier'")
    for other, values in options.items():
        for name, value in values.items():
            if other != method and value is not None:
                raise ValueError(
                    f"`{name}` is {value!r}, but it is an option of method={other!r} and the "
                    f"method is {method!r}: leave it out"
                )


def _choice(name: str, value: str | None, allowed: tuple[str, ...]) -> str:
    """An option by its name; the first by default."""
    if value is None:
        return allowed[0]
    if value not in allowed:
        expected = ", ".join(map(repr, allowed))
        raise ValueError(f"`{name}` is {value!r}, expected one of {expected}")
    return value


def _known(
    bin_pitch: Numbers, offset: Numbers, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Every view's pitch, which must be known, and offset, if it is."""
    if isinstance(bin_pitch, Tracer):
        raise ValueError(
            "`bin_pitch` is traced, but it decides the program's size: build the operator from a "
            "plain number, and put the traced pitch, within 3 % of it, into its field `bin_pitch`"
        )
    _checks.smallest("bin_pitch", bin_pitch)
    pitches = np.broadcast_to(np.asarray(bin_pitch, float), shape)
    if isinstance(offset, Tracer):
        return pitches, None
    return pitches, np.broadcast_to(np.asarray(offset, float), shape)


def _part(scan: Any, i: int | Array, n: int) -> Any:
    """The scan of the views i, i + n, i + 2n, ..."""
    views = _checks.part_of_views(i, n, scan.angles.shape[0])
    arrays = {name: getattr(scan, name)[views] for name in ("angles", "offset", "bin_pitch")}
    return replace(scan, **arrays)
