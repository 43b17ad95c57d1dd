"""`read`: from a path to a scan. The content decides what a file is, not its suffix.

What is recognised and not supported is refused by its name, so that nobody wonders whether the
file is broken.
"""

import contextlib
import pathlib
import struct
from typing import NoReturn

import numpy as np

from jaxrecon.io._bart import pair
from jaxrecon.io._ct import DXCHANGE, NPZ, read_ct
from jaxrecon.io._fields import Fields, Hdf5, Npz, Slices, guarded
from jaxrecon.io._mri import read_bart, read_fastmri, read_npz_kspace, read_npz_trajectory
from jaxrecon.io._scan import Pathlike, Scan, refuse

_NOT_YET = "is recognised but not supported yet"
# Foreign files: what they start with, and what to call them.
_FOREIGN = (
    (b"\x93NUMPY", "a bare .npy array (no angles, no mask: put it in an .npz beside them)"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"\x1f\x8b", "a gzip file (a NIfTI volume?)"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"II*\x00", "a TIFF file"),
    (b"MM\x00*", "a TIFF file"),
    (b"II+\x00", "a BigTIFF file"),
)
# Arrays of .npz files that give away what they are: raw data of kinds to come, and things that are
# no raw data.
_FUTURE_NPZ = (
    ({"fdg"}, "a PET phantom"),
    ({"mu", "voxel_mm"}, "a PET attenuation map"),
    ({"data", "lin"}, "decoded Siemens lines"),
    ({"images", "TE_s"}, "multi-echo images"),
)
_NOT_RAW_NPZ = (
    ({"image", "provenance"}, "an image that jaxrecon wrote"),
    ({"img", "spacing_mm"}, "an image volume"),
    ({"hu"}, "a CT volume"),
    ({"img"}, "a set of coil images"),
    ({"recon"}, "a reconstruction"),
    ({"maps"}, "a set of coil maps (to be passed as `maps`)"),
)


@np.errstate(all="ignore")  # values that are not finite are counted and reported, not warned about
def read(path: Pathlike, *, slices: Slices = None, maps: Pathlike | None = None) -> Scan:
    """Reads a raw-data file.

    Formats: DXchange/tomopy HDF5, fastMRI HDF5, BART .cfl/.hdr, and .npz files of projections,
    sinograms or k-space, Cartesian or not (`jaxrecon.io._ct` and `jaxrecon.io._mri` list names and
    axes).

    Args:
      path: the file; for BART the .cfl, the .hdr or their common stem.
      slices: an index, a slice or a list of indices; only these are read. Default: all.
      maps: a file of coil maps, .npz (array `maps`) or .cfl, for k-space.

    Returns:
      A `CTScan`, an `MRIScan` or a `NonCartesianScan`; all say what was understood, assumed and
      repaired.

    Raises:
      ScanError: one line with the file, the field and what is wrong; nothing else is raised for a
        file, however broken.

    >>> import numpy as np, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "scan.npz"
    >>> np.savez(path, sino=np.ones((3, 8)), theta_deg=[0.0, 60.0, 120.0])
    >>> scan = read(path)
    >>> scan.kind, scan.line_integrals.shape
    ('parallel', (1, 3, 8))
    >>> print(scan.understood[1])
    `sino`: 1 slices, 3 views, 8 bins
    """
    path = pathlib.Path(path)
    with guarded(path):
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_folder:
        refuse(path, None, "is a folder, expected a raw-data file")
    if not is_file and not any(file.is_file() for file in pair(path)):
        refuse(path, None, "no such file")
    start = _start(path) if is_file else b""
    if start.startswith(b"PK"):
        return _read_npz(path, slices, maps)
    if start.startswith(b"\x89HDF\r\n\x1a\n") or start[512:520] == b"\x89HDF\r\n\x1a\n":
        return _read_hdf5(path, slices, maps)
    if not is_file or path.suffix == ".cfl" or start.startswith(b"# Dimensions"):
        return read_bart(path, slices, maps)
    _refuse_foreign(path, start)


def _start(path: pathlib.Path) -> bytes:
    with guarded(path), path.open("rb") as file:
        start = file.read(1024)
    if not start:
        refuse(path, None, "is empty (0 bytes)")
    return start


def _read_npz(path: pathlib.Path, slices: Slices, maps: Pathlike | None) -> Scan:
    with contextlib.closing(Npz(path)) as fields:
        _refuse_npz(fields, _FUTURE_NPZ, _NOT_YET)
        if "coord" in fields:
            return read_npz_trajectory(fields, slices, maps)
        if "ksp" in fields:
            return read_npz_kspace(fields, slices, maps)
        for layout in NPZ:
            if layout.data in fields:
                _refuse_maps(path, maps)
                return read_ct(fields, layout, slices)
        _refuse_npz(fields, _NOT_RAW_NPZ, "is not raw data")
        known = ", ".join(
            f"`{name}`" for name in ("coord", "ksp", *(layout.data for layout in NPZ))
        )
        refuse(
            path, None, f"has the arrays {', '.join(fields.names()) or '(none)'}; none is {known}"
        )


def _refuse_npz(fields: Fields, kinds: tuple[tuple[set[str], str], ...], why: str) -> None:
    for keys, name in kinds:
        if all(key in fields for key in keys):
            refuse(fields.path, min(keys), f"this file is {name}, which {why}")


def _read_hdf5(path: pathlib.Path, slices: Slices, maps: Pathlike | None) -> Scan:
    with contextlib.closing(Hdf5(path)) as fields:
        if DXCHANGE.data in fields:
            _refuse_maps(path, maps)
            return read_ct(fields, DXCHANGE, slices)
        if "kspace" in fields:
            return read_fastmri(fields, slices, maps)
        names = fields.names()
        for name in names:
            if name.endswith("/xml") and name.removesuffix("xml") + "data" in names:
                refuse(path, name, f"this is an ISMRMRD file, which {_NOT_YET}")
        refuse(
            path,
            f"/{DXCHANGE.data}",
            "is not in the file, and neither is `/kspace` (fastMRI); it has "
            + ", ".join(names[:12])
            + (" ..." if len(names) > 12 else ""),
        )


def _refuse_maps(path: pathlib.Path, maps: Pathlike | None) -> None:
    if maps is not None:
        refuse(path, "maps", f"{maps} was given, but this is a CT scan, which has no coils")


def _refuse_foreign(path: pathlib.Path, start: bytes) -> NoReturn:
    for magic, name in _FOREIGN:
        if start.startswith(magic):
            refuse(path, None, f"this is {name}, which {_NOT_YET} as raw data")
    if start[128:132] == b"DICM":
        refuse(path, None, f"this is a DICOM file, which {_NOT_YET} as raw data")
    if start[344:347] in (b"n+1", b"ni1"):
        refuse(path, None, f"this is a NIfTI volume, which {_NOT_YET} as raw data")
    if _is_twix(start):
        refuse(path, None, f"this is a Siemens raw file (twix), which {_NOT_YET}")
    refuse(
        path,
        None,
        "is no format jaxrecon knows; it reads DXchange and fastMRI HDF5, BART .cfl/.hdr and .npz",
    )


def _is_twix(start: bytes) -> bool:
    """VB files name their first header buffer; VD and VE ones start with 0 and a table of scans."""
    if len(start) < 32 or start[8:14] == b"Config":
        return len(start) >= 32
    zero, n_scans, _, _, offset = struct.unpack_from("<IIIIQ", start)
    return zero < 10000 and 0 < n_scans <= 64 and offset > 0 and offset % 512 == 0
