"""CT files to `CTScan`: where each layout keeps its arrays, its axes and its units.

| layout | data (axes) | flat, dark, monitor | angles |
|---|---|---|---|
| DXchange HDF5 | `exchange/data` (view, slice, bin) | `data_white`, `data_dark` | `theta` |
| npz projections | `proj` (view, slice, bin), counts | `flat`, `dark` | `theta_deg` ... |
| npz transmission | `sino_transmission` (view, bin), normalised | | |
| npz with monitor | `transmitted` (view, slice, bin) | `monitor` | |
| npz sinogram | `sino` (view, bin), line integrals | | |

Every npz layout takes its angles from `theta_deg`, `angles_deg`, `theta_rad` or `angles_rad`, and
may have `cor` (the bin of the rotation axis), `det_pixel_mm` and, for a fan beam, `sod_mm` and
`sdd_mm` (source to axis and source to detector). Other keys are ignored.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from jaxrecon.io._correct import correct, from_line_integrals
from jaxrecon.io._fields import Fields, Slices, pick
from jaxrecon.io._scan import CTScan, refuse

_RESOLUTION = "measurement/instrument/detection_system/objective/resolution"
_MILLIMETRES = {
    unit: factor
    for factor, units in (
        (1e-3, "um µm μm micron microns micrometer micrometers"),
        (1.0, "mm millimeter millimeters"),
        (1e3, "m meter meters"),
    )
    for unit in units.split()
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Names of the arrays of one layout.

    `axes` is the order of a three-dimensional `data`; `is_y_up` says that its angles turn as in
    ASTRA and scikit-image, where y grows upwards: ours are the negative of these.
    """

    name: str
    data: str
    axes: str = "view slice bin"
    flat: str = ""
    dark: str = ""
    monitor: str = ""
    is_line_integrals: bool = False
    is_y_up: bool = False


DXCHANGE = Layout(
    name="DXchange HDF5",
    data="exchange/data",
    flat="exchange/data_white",
    dark="exchange/data_dark",
)
NPZ = (
    Layout(name="npz projections (counts)", data="proj", flat="flat", dark="dark"),
    Layout(name="npz transmission sinogram", data="sino_transmission", axes="slice view bin"),
    Layout(name="npz scan with a beam monitor", data="transmitted", monitor="monitor"),
    Layout(
        name="npz sinogram of line integrals",
        data="sino",
        axes="slice view bin",
        is_line_integrals=True,
        is_y_up=True,  # the Helsinki challenge's own reconstruction is then not mirrored
    ),
)
_ANGLES = ("theta_deg", "angles_deg", "theta_rad", "angles_rad")


def read_ct(fields: Fields, layout: Layout, slices: Slices) -> CTScan:
    """Reads, corrects and describes the scan that `layout` finds in `fields`.

    Raises:
      ScanError: an array is absent, of the wrong shape or dtype, or without usable values.
    """
    axes, size = _axes(fields, layout)
    keep = pick(fields.path, slices, size["slice"])
    angles, angles_said, assumed = _angles(fields, layout, size["view"])
    data = _stack(fields, layout.data, axes, keep)
    if layout.is_line_integrals:
        corrected = from_line_integrals(fields.path, layout.data, data)
    else:
        corrected = correct(
            fields.path,
            layout.data,
            data,
            flat=_frames(fields, layout.flat, axes, size, keep),
            dark=_frames(fields, layout.dark, axes, size, keep),
            monitor=_monitor(fields, layout, axes, data, keep),
        )
    geometry = _geometry(fields, size["bin"])
    shown = f"{len(keep)} of {size['slice']}" if len(keep) < size["slice"] else f"{size['slice']}"
    return CTScan(
        kind="fan" if geometry.source_origin else "parallel",
        line_integrals=corrected.line_integrals,
        weights=corrected.weights,
        angles=angles,
        **geometry._asdict(),
        slices=tuple(f"row {i}" for i in keep),
        understood=(
            layout.name,
            f"`{layout.data}`: {shown} slices, {size['view']} views, {size['bin']} bins",
            angles_said,
            *_geometry_said(geometry),
            *corrected.understood,
        ),
        assumed=(*assumed, *_geometry_assumed(layout, geometry), *corrected.assumed),
        repaired=corrected.repaired,
    )


def _axes(fields: Fields, layout: Layout) -> tuple[tuple[str, ...], dict[str, int]]:
    """The order of the data's axes, and their sizes (one slice where there is no such axis)."""
    path, name = fields.path, layout.data
    shape, _ = fields.header(name)
    axes = tuple(layout.axes.split())
    if said := fields.attribute(name, "axes"):
        words = {"theta": "view", "angle": "view", "y": "slice", "x": "bin"}
        axes = tuple(words.get(word.strip(), word) for word in said.split(":"))
        if not {"view", "bin"} <= set(axes) <= {"view", "slice", "bin"} or len(axes) != len(shape):
            refuse(path, f"{name}@axes", f"is {said!r}, expected an order of theta, y and x")
    elif len(shape) == 2:
        axes = tuple(axis for axis in axes if axis != "slice")
    if len(shape) != len(axes):
        refuse(path, name, f"has shape {shape}, expected ({', '.join(axes)}) or (view, bin)")
    size = {"slice": 1} | dict(zip(axes, shape))
    if size["bin"] < 2:
        refuse(path, name, f"has shape {shape}: {size['bin']} bin, expected at least 2")
    return axes, size


def _stack(
    fields: Fields, name: str, axes: tuple[str, ...], keep: list[int]
) -> Float32[np.ndarray, "slice view bin"]:
    """An array of the data's shape as (slice, view, bin), only the wanted slices read."""
    if "slice" not in axes:
        data, axes = fields.read(name)[None], ("slice", *axes)
    else:
        data = fields.read(name, axis=axes.index("slice"), keep=keep)
    order = [axes.index(axis) for axis in ("slice", "view", "bin")]
    return np.ascontiguousarray(_float32(data).transpose(order))


def _float32(data: np.ndarray) -> Float32[np.ndarray, "..."]:
    return data.astype(np.float32)  # what this cannot hold becomes inf, and is counted as such


def _frames(
    fields: Fields, name: str, axes: tuple[str, ...], size: dict[str, int], keep: list[int]
) -> Float32[np.ndarray, "slice bin"] | None:
    """The mean of flat or dark frames, or None where the layout or the file has none."""
    if not name or name not in fields:
        return None
    shape, _ = fields.header(name)
    order = [axis for axis in axes if axis != "view"]
    one = tuple(size[axis] for axis in order)
    if shape != one and shape[1:] != one:
        refuse(fields.path, name, f"has shape {shape}, expected (frame, {', '.join(order)}) {one}")
    axis = len(shape) - len(one) + order.index("slice") if "slice" in order else 0
    data = _float32(fields.read(name, axis=axis, keep=keep if "slice" in order else None))
    mean = data if shape == one else data.mean(axis=0, dtype=np.float64)
    mean = mean[None] if "slice" not in order else (mean if order[0] == "slice" else mean.T)
    return mean.astype(np.float32)


def _monitor(
    fields: Fields,
    layout: Layout,
    axes: tuple[str, ...],
    data: Float32[np.ndarray, "slice view bin"],
    keep: list[int],
) -> Float32[np.ndarray, "#slice view #bin"] | None:
    """Beam monitor readings, one for each value or for each view."""
    name = layout.monitor
    if not name:
        return None
    if name not in fields:
        refuse(
            fields.path, name, f"is not in the file; `{layout.data}` cannot be normalised without"
        )
    shape, _ = fields.header(name)
    n_views = data.shape[1]
    if shape == (n_views,):
        return _float32(fields.read(name)).reshape(1, n_views, 1)
    if shape != fields.header(layout.data)[0]:
        refuse(
            fields.path,
            name,
            f"has shape {shape}, expected that of `{layout.data}` or ({n_views},), one a view",
        )
    return _stack(fields, name, axes, keep)


def _angles(
    fields: Fields, layout: Layout, n_views: int
) -> tuple[Float64[np.ndarray, " view"], str, tuple[str, ...]]:
    """View angles in radians, what was understood of them, what was assumed."""
    if layout is DXCHANGE:
        name = "exchange/theta"
        if name not in fields:
            equal = np.arange(n_views) * (np.pi / n_views)
            line = (
                f"no `{name}`: {n_views} views equally spaced over 180 degrees, the last excluded"
            )
            return equal, "angles: none in the file", (line,)
    else:
        name = next((name for name in _ANGLES if name in fields), _ANGLES[0])
    shape, _ = fields.header(name)
    angles = fields.read(name).astype(np.float64).reshape(-1)
    if max(shape, default=1) != n_views or angles.size != n_views:
        refuse(fields.path, name, f"has shape {shape}, but `{layout.data}` has {n_views} views")
    if not np.isfinite(angles).all():
        refuse(fields.path, name, f"{int((~np.isfinite(angles)).sum())} angles are not finite")
    if n_views > 1 and np.ptp(angles) == 0:
        refuse(fields.path, name, f"all {n_views} angles are {angles[0]}: never written?")
    units, assumed = _angle_units(fields, name, angles)
    radians = angles if units == "radians" else np.deg2rad(angles)
    low, high = np.rad2deg([radians.min(), radians.max()])
    said = f"angles: {low:.6g} to {high:.6g} degrees (`{name}`, in {units})"
    return (-radians if layout.is_y_up else radians), said, assumed


def _angle_units(
    fields: Fields, name: str, angles: Float64[np.ndarray, " view"]
) -> tuple[str, tuple[str, ...]]:
    if name.endswith(("_deg", "_rad")):
        return ("degrees" if name.endswith("_deg") else "radians"), ()
    said = fields.attribute(name, "units")
    if said.startswith(("deg", "°")):
        return "degrees", ()
    if said.startswith("rad"):
        return "radians", ()
    if said:
        refuse(fields.path, f"{name}@units", f"is {said!r}, expected degrees or radians")
    guess = "radians" if np.abs(angles).max() < 2 * np.pi + 0.1 and len(angles) > 16 else "degrees"
    return guess, (f"`{name}` has no units: {guess}, judged by its range",)


class _Geometry(NamedTuple):
    bin_pitch: float | None
    center: float | None
    source_origin: float | None
    origin_detector: float | None


def _geometry(fields: Fields, n_bins: int) -> _Geometry:
    center = fields.scalar("cor") if "cor" in fields else None
    if center is not None and not 0 <= center <= n_bins - 1:
        refuse(fields.path, "cor", f"is {center}, outside the detector's bins 0 to {n_bins - 1}")
    if "sod_mm" not in fields and "sdd_mm" not in fields:
        return _Geometry(_pitch(fields), center, None, None)
    to_origin, to_detector = fields.scalar("sod_mm"), fields.scalar("sdd_mm")
    if not 0 < to_origin < to_detector:
        refuse(
            fields.path,
            "sdd_mm",
            f"source to axis {to_origin} mm and source to detector "
            f"{to_detector} mm, expected 0 < sod_mm < sdd_mm",
        )
    pitch = _pitch(fields)
    if pitch is None:
        refuse(
            fields.path, "det_pixel_mm", "is not in the file; a fan beam has no scale without it"
        )
    return _Geometry(pitch, center, to_origin, to_detector - to_origin)


def _pitch(fields: Fields) -> float | None:
    """The bin pitch in mm: `det_pixel_mm`, or the resolution of DXchange's objective."""
    name, factor = "det_pixel_mm", 1.0
    if name not in fields:
        name = _RESOLUTION
        if name not in fields:
            return None
        factor = _MILLIMETRES.get(fields.attribute(name, "units"), 0.0)
        if not factor or fields.header(name)[1].kind not in "iuf":
            return None
    pitch = fields.scalar(name) * factor
    if not pitch > 0:
        refuse(fields.path, name, f"is {pitch} mm, expected a positive length")
    return pitch


def _geometry_said(geometry: _Geometry) -> list[str]:
    lines = []
    if geometry.source_origin is not None:
        lines.append(
            f"fan beam, flat detector: source to axis {geometry.source_origin:.6g} mm, "
            f"axis to detector {geometry.origin_detector:.6g} mm"
        )
    else:
        lines.append("parallel beam")
    if geometry.bin_pitch is not None:
        lines.append(f"bin pitch: {geometry.bin_pitch:.6g} mm")
    if geometry.center is not None:
        lines.append(f"rotation axis: bin {geometry.center:.6g}")
    return lines


def _geometry_assumed(layout: Layout, geometry: _Geometry) -> list[str]:
    turn = "counter-clockwise, as in ASTRA" if layout.is_y_up else "clockwise, from x down to y"
    lines = [f"views turn {turn}; if the scanner turned the other way, images are mirrored"]
    if geometry.bin_pitch is None:
        lines.append("bin pitch not in the file: 1, so lengths are in bins, attenuation in 1/bin")
    if geometry.source_origin is None and geometry.bin_pitch is None:
        lines.append("beam not described in the file: parallel")
    return lines
