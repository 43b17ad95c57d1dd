"""From a scan on file to measurements: geometry, rotation centre, coil maps, forward models."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxrecon.cli._maps import check_region, estimated_maps
from jaxrecon.cli._noncartesian import image_shape, noncartesian_measurements
from jaxrecon.cli.methods import Measurement
from jaxrecon.io import CTScan, MRIScan, NonCartesianScan, Scan
from jaxrecon.physics import ct, mri, noise_from_differences, noise_from_periphery
from jaxrecon.physics._memory import device_bytes

# A rotation centre in a file is overruled where its residual is this many times the found one's.
_CONTRADICTED = 1.5
# Images in memory at once, at the very least: the one in work and the one that is written.
_COPIES = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A scan as one measurement a slice.

    Attributes:
        modality: "ct" or "mri".
        measurements: one for each slice.
        finish: from a reconstruction to the image that is written.
        spacing: pixel size in mm, or None if unknown.
        facts: lines that say what was built.
    """

    modality: str
    measurements: list[Measurement]
    finish: Callable[[Array], np.ndarray]
    spacing: float | None
    facts: list[str]


def build_model(
    scan: Scan,
    *,
    source: str,
    size: int | None = None,
    center: float | None = None,
    map_sets: int | None = None,
    remove_stripes: bool = False,
) -> Model:
    """The forward models of a scan.

    Args:
        scan: what `jaxrecon.io.read` gave.
        source: the file it is from, for errors.
        size: image size in pixels, square; in CT as many as bins by default, along a trajectory
            what the file says.
        center: CT rotation centre as a bin index; found, or the detector's middle, by default.
        map_sets: 1 or 2 sets of ESPIRiT maps; chosen from the calibration data by default.
        remove_stripes: CT: take out the stripes that become rings.

    Raises:
        ValueError: an option that does not belong to the scan's kind, an image larger than the
            memory, or k-space from which no coil maps can be estimated.
    """
    if isinstance(scan, CTScan):
        if map_sets is not None:
            raise ValueError("`map_sets` belongs to MRI, but the file is a CT scan")
        return _ct_model(scan, size, center, remove_stripes)
    for name, used in {"center": center is not None, "stripes": remove_stripes}.items():
        if used:
            raise ValueError(f"`{name}` belongs to CT, but the file is an MRI scan")
    if isinstance(scan, NonCartesianScan):
        return _noncartesian_model(scan, source, size, map_sets)
    if size is not None:
        raise ValueError(
            "`size` belongs to CT and non-Cartesian MRI, but the file is a Cartesian MRI scan, "
            "whose image has the size of k-space"
        )
    return _mri_model(scan, source, map_sets)


def _ct_model(scan: CTScan, size: int | None, center: float | None, remove_stripes: bool) -> Model:
    n_slices, n_views, n_bins = scan.line_integrals.shape
    n = n_bins if size is None else size
    if n < 2:
        raise ValueError(f"`size` is {n}, expected at least 2 pixels")
    _refuse_beyond_memory((n, n), 4)
    center, how = _rotation_center(scan, center)
    offset = ((n_bins - 1) / 2 - center) * scan.pitch
    angles = jnp.asarray(scan.angles, jnp.float32)
    if scan.kind == "fan":
        source, detector = float(scan.source_origin or 0), float(scan.origin_detector or 0)
        pixel = scan.pitch * source / (source + detector) * n_bins / n
        A = ct.fan_beam(
            angles,
            (n, n),
            n_bins,
            source_origin=source,
            origin_detector=detector,
            pixel=pixel,
            bin_pitch=scan.pitch,
            offset=offset,
        )
    else:
        pixel = scan.pitch * n_bins / n
        A = ct.parallel_beam(
            angles, (n, n), n_bins, pixel=pixel, bin_pitch=scan.pitch, offset=offset
        )
    pairs = zip(jnp.asarray(scan.line_integrals), jnp.asarray(scan.weights), strict=True)
    cleaned = [_cleaned(p, w, remove_stripes) for p, w in pairs]
    n_zingers = sum(int(n) for *_, n in cleaned)
    measurements = [
        Measurement(operator=A, data=p, weights=w, noise=functools.partial(noise_of_views, p, w))
        for p, w, _ in cleaned
    ]
    unit = "mm" if scan.bin_pitch is not None else "bins"
    facts = [
        f"{scan.kind} beam, {n_views} views x {n_bins} bins, {n_slices} slice(s)",
        f"image {n} x {n}, pixel {pixel:.4g} {unit}",
        f"rotation centre at bin {center:.2f} ({how})",
        f"zingers: {n_zingers} isolated outliers replaced by the local median, weight 0",
        *(["stripes removed by sorting (Vo 2018)"] if remove_stripes else []),
    ]
    return Model(
        modality="ct",
        measurements=measurements,
        finish=np.asarray,
        spacing=pixel if scan.bin_pitch is not None else None,
        facts=facts,
    )


def _refuse_beyond_memory(shape: tuple[int, int], pixel_bytes: int) -> None:
    """Refuses what cannot fit: systems that promise more memory than they have kill the process."""
    needed, available = _COPIES * pixel_bytes * math.prod(shape), device_bytes()
    if available is not None and needed > available:
        raise ValueError(
            f"`--size` {shape[0]}: images of {shape[0]} x {shape[1]} pixels take at least "
            f"{needed / 2**30:.4g} GiB, but the memory is {available / 2**30:.4g} GiB; pass a "
            "smaller `--size`"
        )


def _rotation_center(scan: CTScan, given: float | None) -> tuple[float, str]:
    n_slices, _, n_bins = scan.line_integrals.shape
    if given is not None:
        if not 0 <= given <= n_bins - 1 or not math.isfinite(given):
            raise ValueError(f"`center` is {given}, expected a bin from 0 to {n_bins - 1}")
        return given, "given"
    if scan.kind == "fan":
        middle = (n_bins - 1) / 2
        return (
            (middle, "assumed: the detector's middle")
            if scan.center is None
            else (scan.center, "from the file")
        )
    found = ct.find_center(jnp.asarray(scan.line_integrals[n_slices // 2]), scan.angles)
    if scan.center is None:
        return float(found.center), "found"
    ratio = _misfit(found, scan.center) / _misfit(found, found.center)
    if ratio < _CONTRADICTED:
        return scan.center, f"from the file; the data say {found.center:.2f}"
    how = f"found; the file says {scan.center:.2f}, where opposite views disagree {ratio:.1f}x more"
    return float(found.center), how


def _misfit(found: ct.Center, center: float) -> float:
    """The search's residual at a centre, between the candidates that it tried."""
    order = np.argsort(found.candidates)
    return float(np.interp(center, found.candidates[order], found.residuals[order]))


def _cleaned(p: Array, weights: Array, remove_stripes: bool) -> tuple[Array, Array, Array]:
    """Line integrals without zingers, and their number."""
    p, outlier = ct.remove_zingers(p)
    p = ct.remove_stripes(p) if remove_stripes else p
    return p, jnp.where(outlier, 0, weights), jnp.sum(outlier)


def noise_of_views(p: Array, weights: Array) -> float:
    """Of line integrals where the weight is one; from view to view too, where there are enough."""
    axes = (-2, -1) if len(p) > 2 else (-1,)
    return float(noise_from_differences(p, weights, axes=axes)) if p.shape[-1] > 2 else 0.0


def noise_of_kspace(kspace: Array, mask: Array) -> float:
    """Of the real and of the imaginary part of Cartesian samples."""
    mask = jnp.broadcast_to(mask, kspace.shape[1:])
    places = jnp.indices(mask.shape) - (jnp.asarray(mask.shape) // 2)[:, None, None]
    radius = jnp.where(mask, jnp.linalg.norm(places.astype(jnp.float32), axis=0), jnp.nan)
    return float(noise_from_periphery(kspace.reshape(len(kspace), -1), radius.ravel()))


def _mri_model(scan: MRIScan, source: str, map_sets: int | None) -> Model:
    n_slices, n_coils, *shape = scan.kspace.shape
    mask = jnp.asarray(scan.mask)
    measurements, how = [], ""
    for kspace in scan.kspace:
        data = jnp.asarray(kspace)
        maps, how = _coil_maps(scan, source, data, map_sets)
        A = mri.sense(maps, mask)
        noise = functools.partial(noise_of_kspace, data, mask)
        measurements.append(Measurement(operator=A, data=data, noise=noise))
    fraction = 100 * float(scan.mask.mean())
    facts = [
        f"Cartesian, {n_coils} coil(s), {shape[0]} x {shape[1]}, {n_slices} slice(s)",
        f"sampled {fraction:.1f} % of k-space; coil maps: {how}",
    ]
    crop = scan.recon_shape or tuple(shape)
    return Model(
        modality="mri",
        measurements=measurements,
        finish=lambda image: _cropped(_one_image(np.asarray(image)), crop),
        spacing=None,
        facts=facts,
    )


def _noncartesian_model(
    scan: NonCartesianScan, source: str, size: int | None, map_sets: int | None
) -> Model:
    shape = image_shape(scan, source, size)
    _refuse_beyond_memory(shape, 8 * scan.kspace.shape[1])
    measurements, facts = noncartesian_measurements(scan, source, shape, map_sets)
    return Model(
        modality="mri",
        measurements=measurements,
        finish=lambda image: _one_image(np.asarray(image)),
        spacing=None,
        facts=facts,
    )


def _coil_maps(
    scan: MRIScan, source: str, kspace: Array, map_sets: int | None
) -> tuple[Array, str]:
    """Maps of one slice and where they come from."""
    n_coils, *_ = kspace.shape
    shape = (kspace.shape[1], kspace.shape[2])
    if scan.maps is not None:
        return jnp.asarray(scan.maps), "given"
    if n_coils == 1:
        return jnp.ones((1, *shape), kspace.dtype), "one coil, no maps"
    sampled = np.asarray(scan.mask)
    region = mri.calibration_shape(sampled)
    check_region(source, region)
    return estimated_maps(source, mri.central_region(kspace, region), shape, map_sets)


def _one_image(image: np.ndarray) -> np.ndarray:
    """Sets of images combined by root sum of squares."""
    return image if image.ndim == 2 else np.sqrt(np.sum(np.abs(image) ** 2, 0))


def _cropped(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    wanted = tuple(min(n, m) for n, m in zip(shape, image.shape, strict=True))
    return np.asarray(mri.central_region(image, wanted))
