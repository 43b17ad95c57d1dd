"""k-space files to `MRIScan`, or with a trajectory to `NonCartesianScan`.

| layout | k-space | mask | crop |
|---|---|---|---|
| npz | `ksp` (coil, y, x), (slice, coil, y, x) or (y, x) | `mask` (y, x) or (x,), optional | |
| fastMRI HDF5 | `kspace` (slice, coil, y, x) or (slice, y, x) | `mask` (x,), optional | given |
| BART .cfl | dimensions 0, 1, 3, 13 = y, x, coil, slice | none | |

What was not acquired is exactly zero in all of them. Samples that a mask claims but that are zero
in every slice and coil (fastMRI pads k-space) are therefore taken as not acquired: as measured
zeros they would pull the image towards zero.

Non-Cartesian npz: `data` or `ksp` (slice, coil, *sample), (coil, *sample) or (*sample), and `coord`
(*sample, 2) in cycles per pixel, (kx, ky), x being the image's last axis; *sample is (shot, sample)
or (sample,). Optional are `dcf` (*sample), a density compensation of any scale, and `N`, the
image's size. Here every sample counts: one that is not finite is refused.
"""

import contextlib
import pathlib
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Bool, Complex64, Float32

from jaxrecon.io._bart import read_cfl, slices_first
from jaxrecon.io._fields import Fields, Hdf5, Npz, Slices, guarded, pick
from jaxrecon.io._scan import MRIScan, NonCartesianScan, Pathlike, refuse

KSpace = Complex64[np.ndarray, "slice coil y x"]
Maps = Complex64[np.ndarray, "coil y x"]
_LARGEST_PART_LOST = 0.05
_NYQUIST = 0.5  # cycles per pixel
_ROUNDING = 1e-4
_SIZED = ("reconstruction_rss", "reconstruction_esc", "ismrmrd_header")


def read_npz_kspace(fields: Fields, slices: Slices, maps: Pathlike | None) -> MRIScan:
    """The npz layout: `ksp`, with or without `mask` and `maps`."""
    shape, _ = fields.header("ksp")
    if len(shape) not in (2, 3, 4):
        refuse(fields.path, "ksp", f"has shape {shape}, expected (coil, y, x)")
    n_slices = shape[0] if len(shape) == 4 else 1
    keep = pick(fields.path, slices, n_slices)
    data = fields.read("ksp", kinds="c", keep=keep if len(shape) == 4 else None)
    return _scan(
        fields.path,
        "ksp",
        "npz k-space",
        _four_axes(data, len(shape)),
        keep,
        n_slices,
        mask=_mask(fields, shape[-2:]),
        maps=_maps_beside(fields, maps),
    )


def read_npz_trajectory(fields: Fields, slices: Slices, maps: Pathlike | None) -> NonCartesianScan:
    """The npz layout with a trajectory, `coord`, and perhaps `dcf`, `N`, `maps`."""
    path = fields.path
    trajectory, samples = _trajectory(fields)
    name = "ksp" if "ksp" in fields else "data"
    shape, _ = fields.header(name)
    n_leading = len(shape) - len(samples)
    if n_leading not in (0, 1, 2) or shape[n_leading:] != samples:
        refuse(
            path,
            name,
            f"has shape {shape}, which does not match `coord`: expected (coil, "
            f"{', '.join(map(str, samples))})",
        )
    n_slices = shape[0] if n_leading == 2 else 1
    keep = pick(path, slices, n_slices)
    data = fields.read(name, kinds="c", keep=keep if n_leading == 2 else None)
    kspace = _complex64(path, name, data).reshape(len(keep), -1, *trajectory.shape[:2])
    _refuse_unusable(path, name, kspace)
    coil_maps = _maps_beside(fields, maps)
    if coil_maps is not None and len(coil_maps) != kspace.shape[1]:
        n_coils = kspace.shape[1]
        refuse(path, "maps", f"have shape {coil_maps.shape}, the k-space has {n_coils} coils")
    dead = np.flatnonzero(~kspace.any(axis=(0, 2, 3))).tolist()
    return NonCartesianScan(
        kspace=kspace,
        trajectory=trajectory,
        density=_density(fields, samples, trajectory.shape[:2]),
        maps=coil_maps,
        shape=_image_shape(fields),
        slices=tuple(f"slice {i}" for i in keep),
        understood=(
            "npz k-space along a trajectory (non-Cartesian)",
            f"`{name}`: {len(keep)} of {n_slices} slices, {kspace.shape[1]} coils, "
            f"{trajectory.shape[0]} shots x {trajectory.shape[1]} samples",
            f"`coord`: up to {np.linalg.norm(trajectory, axis=-1).max():.4g} from the centre",
            "density compensation: " + ("`dcf`" if "dcf" in fields else "none in the file"),
            "coil maps: " + ("given" if coil_maps is not None else "none in the file"),
        ),
        assumed=("`coord` is (kx, ky) in cycles per pixel, x along the image's last axis",),
        repaired=(f"coils {dead} are all zeros",) if dead else (),
    )


def _trajectory(
    fields: Fields,
) -> tuple[Float32[np.ndarray, "shot sample 2"], tuple[int, ...]]:
    """(ky, kx) of `coord`, and the axes of its samples in the file."""
    coord = fields.read("coord", kinds="f")
    if coord.ndim in (2, 3) and coord.shape[-1] == 3:
        refuse(
            fields.path,
            "coord",
            f"has shape {coord.shape}: a three-dimensional trajectory is recognised but not "
            "supported yet",
        )
    if coord.ndim not in (2, 3) or coord.shape[-1] != 2:
        expected = "expected (shot, sample, 2) or (sample, 2)"
        refuse(fields.path, "coord", f"has shape {coord.shape}, {expected}")
    if n := int((~np.isfinite(coord)).any(axis=-1).sum()):
        total = coord[..., 0].size
        refuse(fields.path, "coord", f"{n} of {total} points have NaN or infinite values")
    reach = float(np.abs(coord).max())
    if reach > _NYQUIST + _ROUNDING:
        refuse(
            fields.path,
            "coord",
            f"reaches {reach:.6g}, expected cycles per pixel, -0.5 to 0.5 (cycles per field of "
            "view are to be divided by the image's size)",
        )
    if reach == 0:
        refuse(fields.path, "coord", "is zero everywhere")
    samples = coord.shape[:-1]
    shots = coord.reshape(-1, *coord.shape[-2:])[..., ::-1]
    return np.ascontiguousarray(shots, np.float32), samples


def _density(
    fields: Fields, samples: tuple[int, ...], shape: tuple[int, ...]
) -> Float32[np.ndarray, "shot sample"] | None:
    if "dcf" not in fields:
        return None
    density = fields.read("dcf")
    if density.shape != samples:
        refuse(fields.path, "dcf", f"has shape {density.shape}, `coord` needs {samples}")
    if not (np.isfinite(density) & (density >= 0)).all() or not density.any():
        refuse(fields.path, "dcf", "has negative values or ones that are not finite, or only zeros")
    # Only ratios matter; counted in the largest, no scale is lost in float32.
    return (density / density.max()).astype(np.float32).reshape(shape)


def _image_shape(fields: Fields) -> tuple[int, int] | None:
    """`N`: one size, or (y, x)."""
    if "N" not in fields:
        return None
    sizes = fields.read("N").ravel()
    if sizes.size not in (1, 2) or not (np.isfinite(sizes) & (sizes >= 2)).all():
        refuse(fields.path, "N", f"is {sizes.tolist()}, expected the image's size: N or (y, x)")
    if (sizes != np.rint(sizes)).any():
        refuse(fields.path, "N", f"is {sizes.tolist()}, expected whole numbers")
    return int(sizes[0]), int(sizes[-1])


def _refuse_unusable(path: Pathlike, field: str, kspace: np.ndarray) -> None:
    if n := int((~np.isfinite(kspace)).sum()):
        refuse(path, field, f"{n} of {kspace.size} values are NaN or infinite")
    empty = np.flatnonzero(~kspace.any(axis=(1, 2, 3)))
    if len(empty):
        refuse(
            path, field, f"slice number {empty[0]} of those read is all zeros: nothing was acquired"
        )


def read_fastmri(fields: Hdf5, slices: Slices, maps: Pathlike | None) -> MRIScan:
    """The fastMRI layout, multicoil or singlecoil."""
    shape, _ = fields.header("kspace")
    if len(shape) not in (3, 4):
        refuse(
            fields.path,
            "kspace",
            f"has shape {shape}, expected (slice, coil, y, x) or (slice, y, x)",
        )
    keep = pick(fields.path, slices, shape[0])
    data = fields.read("kspace", kinds="c", keep=keep)
    recon_shape, assumed = _recon_shape(fields, shape[-2:])
    kind = "multicoil" if len(shape) == 4 else "singlecoil"
    return _scan(
        fields.path,
        "kspace",
        f"fastMRI HDF5, {kind}",
        data if len(shape) == 4 else data[:, None],
        keep,
        shape[0],
        mask=_mask(fields, shape[-2:]),
        maps=None if maps is None else read_maps(maps),
        recon_shape=recon_shape,
        assumed=assumed,
    )


def read_bart(path: Pathlike, slices: Slices, maps: Pathlike | None) -> MRIScan:
    """BART's .cfl and .hdr."""
    data = slices_first(path, read_cfl(path))
    keep = pick(path, slices, data.shape[0])
    with guarded(path):
        kspace = np.ascontiguousarray(data[keep])
    return _scan(
        path,
        "Dimensions",
        "BART k-space (dimension 0, the readout, along y)",
        kspace,
        keep,
        data.shape[0],
        maps=None if maps is None else read_maps(maps),
    )


@np.errstate(all="ignore")  # values that are not finite are looked for, not warned about
def read_maps(path: Pathlike) -> Maps:
    """Coil maps (coil, y, x) from a .cfl/.hdr pair or the array `maps` of an .npz file.

    Raises:
      ScanError: no such file, several sets of maps, wrong dtype, values that are not finite.
    """
    if pathlib.Path(path).suffix == ".npz":
        if not pathlib.Path(path).is_file():
            refuse(path, None, "no such file (coil maps)")
        with contextlib.closing(Npz(path)) as fields:
            data = fields.read("maps", kinds="c")
    else:
        data = slices_first(path, read_cfl(path))
    return _one_set(path, np.asarray(data))


def _one_set(path: Pathlike, data: np.ndarray) -> Maps:
    if data.ndim == 4 and data.shape[0] == 1:
        data = data[0]
    if data.ndim != 3:
        refuse(path, "maps", f"has shape {data.shape}, expected one set (coil, y, x)")
    maps = _complex64(path, "maps", data)
    if not np.isfinite(maps).all() or not maps.any():
        refuse(path, "maps", "is all zeros or has values that are not finite")
    return maps


def _maps_beside(fields: Fields, maps: Pathlike | None) -> Maps | None:
    if maps is not None:
        return read_maps(maps)
    return _one_set(fields.path, fields.read("maps", kinds="c")) if "maps" in fields else None


def _four_axes(data: np.ndarray, ndim: int) -> np.ndarray:
    return data.reshape((1,) * (4 - ndim) + data.shape)


def _mask(fields: Fields, shape: tuple[int, ...]) -> Bool[np.ndarray, "y x"] | None:
    if "mask" not in fields:
        return None
    mask = fields.read("mask", kinds="biuf")
    if mask.shape not in (shape, shape[1:], (1, *shape[1:])):
        refuse(
            fields.path,
            "mask",
            f"has shape {mask.shape}, expected {shape} (y, x) or {shape[1:]} (x)",
        )
    if not np.isin(mask, (0, 1)).all():
        refuse(fields.path, "mask", "has values other than 0 and 1")
    return np.broadcast_to(mask.astype(bool), shape)


def _recon_shape(
    fields: Hdf5, shape: tuple[int, ...]
) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """The size of the file's images, else the header's `reconSpace`; never beyond k-space's."""
    name = next((name for name in _SIZED if name in fields), None)
    if name is None:
        return None, (f"none of {', '.join(_SIZED)} in the file: the image is not cropped",)
    header = name == "ismrmrd_header"
    crop = _header_recon_size(fields) if header else fields.header(name)[0][-2:]
    if len(crop) != 2 or min(crop) < 1:
        refuse(fields.path, name, f"asks for an image of shape {crop}")
    fitting = (min(crop[0], shape[0]), min(crop[1], shape[1]))
    if fitting != crop:
        return fitting, (f"`{name}` asks for an image of {crop}, k-space is only {shape}",)
    return fitting, ()


def _header_recon_size(fields: Hdf5) -> tuple[int, int]:
    """`encoding/reconSpace/matrixSize`: x is the readout, which is the image's y here."""
    with guarded(fields.path, "ismrmrd_header"):
        root = ElementTree.fromstring(fields.text("ismrmrd_header"))
        size = root.find("./{*}encoding/{*}reconSpace/{*}matrixSize")
        if size is None:
            raise ValueError("it has no encoding/reconSpace/matrixSize")
        x, y = (int(size.findtext(f"{{*}}{axis}") or "") for axis in "xy")
    return x, y


def _complex64(path: Pathlike, field: str, data: np.ndarray) -> np.ndarray:
    if data.dtype.kind != "c":
        refuse(path, field, f"has dtype {data.dtype}, expected complex numbers")
    return np.ascontiguousarray(data, np.complex64)


def _scan(
    path: Pathlike,
    field: str,
    layout: str,
    data: np.ndarray,
    keep: list[int],
    n_slices: int,
    *,
    mask: Bool[np.ndarray, "y x"] | None = None,
    maps: Maps | None = None,
    recon_shape: tuple[int, int] | None = None,
    assumed: tuple[str, ...] = (),
) -> MRIScan:
    kspace = _complex64(path, field, data)
    _, n_coils, n_y, n_x = kspace.shape
    if maps is not None and maps.shape != kspace.shape[1:]:
        refuse(path, "maps", f"have shape {maps.shape}, the k-space needs {kspace.shape[1:]}")
    kspace, mask, notes, repaired = _acquired(path, field, kspace, mask)
    shown = f"{len(keep)} of {n_slices} slices" if len(keep) < n_slices else f"{n_slices} slices"
    return MRIScan(
        kspace=kspace,
        mask=mask,
        maps=maps,
        recon_shape=recon_shape,
        slices=tuple(f"slice {i}" for i in keep),
        understood=(
            layout,
            f"k-space: {shown}, {n_coils} coils, {n_y} x {n_x} (y, x), centred",
            f"sampled: {mask.sum()} of {mask.size} positions ({mask.mean():.1%})",
            "coil maps: given" if maps is not None else "coil maps: none in the file",
            *([f"image: cropped to {recon_shape} (y, x)"] if recon_shape else []),
        ),
        assumed=(*assumed, *notes),
        repaired=repaired,
    )


def _acquired(
    path: Pathlike, field: str, kspace: KSpace, mask: Bool[np.ndarray, "y x"] | None
) -> tuple[KSpace, Bool[np.ndarray, "y x"], tuple[str, ...], tuple[str, ...]]:
    """k-space that is zero off the mask, the mask, what was assumed, what was repaired."""
    finite = np.isfinite(kspace).all(axis=(0, 1))
    nonzero = (kspace != 0).any(axis=(0, 1))
    claimed = nonzero if mask is None else mask
    sampled = claimed & nonzero & finite
    _refuse_if_lost(path, field, kspace, claimed & ~finite, claimed)
    kspace = np.where(sampled, kspace, np.complex64(0))
    if not kspace.any(axis=(1, 2, 3)).all():
        empty = np.flatnonzero(~kspace.any(axis=(1, 2, 3)))[0]
        refuse(
            path, field, f"slice number {empty} of those read is all zeros: nothing was acquired"
        )
    notes, repaired = [], []
    if mask is None:
        notes.append("no `mask`: samples that are zero in every coil were not acquired")
    elif n := int((mask & ~nonzero).sum()):
        notes.append(f"`mask` claims {n} samples that are zero in every coil: not acquired")
    if mask is not None and (n := int((nonzero & ~mask).sum())):
        notes.append(f"{n} samples outside `mask` are not zero: left out")
    if n := int((claimed & ~finite).sum()):
        repaired.append(f"{n} samples with NaN or infinite values: treated as not acquired")
    if dead := np.flatnonzero(~kspace.any(axis=(0, 2, 3))).tolist():
        repaired.append(f"coils {dead} are all zeros")
    return kspace, sampled, tuple(notes), tuple(repaired)


def _refuse_if_lost(
    path: Pathlike, field: str, kspace: KSpace, lost: np.ndarray, claimed: np.ndarray
) -> None:
    if lost.sum() > _LARGEST_PART_LOST * claimed.sum():
        n = int((~np.isfinite(kspace)).sum())
        refuse(
            path,
            field,
            f"{n} of {kspace.size} values are NaN or infinite, in {int(lost.sum())} of "
            f"{int(claimed.sum())} sampled positions: too many to leave out",
        )
