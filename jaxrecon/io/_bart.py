"""BART's pair of files.

`NAME.hdr` holds the dimensions as text, `NAME.cfl` complex64, first dimension fastest. Dimensions
0, 1, 2 are the readout and two phase encodings, 3 coils, 4 sets of maps, 13 slices (BART's
src/misc/mri.h). Here the readout runs along y and the phase encoding along x, the order in which
BART's own Python reader indexes: image[y, x].
"""

import pathlib
from typing import Any

import numpy as np
from jaxtyping import Complex64

from jaxrecon.io._fields import guarded
from jaxrecon.io._scan import Pathlike, refuse

N_DIMENSIONS = 16
COIL, MAPS, SLICE = 3, 4, 13
_NAMES = (
    *("readout", "phase encoding 1", "phase encoding 2", "coil", "maps", "echo time"),
    *("coefficient", "second coefficient", "iteration", "cycle shift", "time", "second time"),
    *("level", "slice", "average", "batch"),
)


def pair(path: Pathlike) -> tuple[pathlib.Path, pathlib.Path]:
    """The .hdr and the .cfl of a path that is one of them, or their common stem as in BART."""
    path = pathlib.Path(path)
    stem = path.with_suffix("") if path.suffix in (".cfl", ".hdr") else path
    return stem.with_name(stem.name + ".hdr"), stem.with_name(stem.name + ".cfl")


def read_cfl(path: Pathlike) -> Complex64[np.ndarray, "..."]:
    """Maps the file into memory with BART's 16 dimensions, Fortran order; values load when touched.

    Raises:
      ScanError: one of the two files is missing, or they contradict each other.
    """
    header, data = pair(path)
    for file in (header, data):
        if not file.is_file():
            refuse(
                path, file.name, "is missing: BART data are a .cfl and a .hdr with the same name"
            )
    shape = _dimensions(header)
    n_bytes = 8 * int(np.prod(shape, dtype=object))
    if data.stat().st_size != n_bytes:
        refuse(
            data,
            None,
            f"has {data.stat().st_size} bytes, but `Dimensions` in {header.name} asks for "
            f"{n_bytes}: truncated, or the header of another file",
        )
    with guarded(data):
        return np.memmap(data, np.complex64, "r", shape=shape, order="F")


def _dimensions(header: pathlib.Path) -> tuple[int, ...]:
    with guarded(header):
        lines = header.read_bytes()[:65536].decode("ascii", errors="replace").splitlines()
    place = [i for i, line in enumerate(lines) if line.strip() == "# Dimensions"]
    words = lines[place[0] + 1].split() if place and place[0] + 1 < len(lines) else []
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        refuse(header, "Dimensions", "is missing or not a line of whole numbers")
    shape = tuple(int(word) for word in words)
    if len(shape) > N_DIMENSIONS or min(shape) < 1:
        refuse(header, "Dimensions", f"is {shape}, expected up to {N_DIMENSIONS} positive sizes")
    return shape + (1,) * (N_DIMENSIONS - len(shape))


def slices_first(
    path: Pathlike, data: Complex64[np.ndarray, "..."]
) -> Complex64[np.ndarray, "slice coil y x"]:
    """A view with axes (slice, coil, y, x) of k-space or maps; anything else is refused by name."""
    supported = (0, 1, 2, COIL, SLICE)
    for dimension, n in enumerate(data.shape):
        if n > 1 and dimension == MAPS:
            refuse(
                path,
                "Dimensions",
                f"holds {n} sets of maps; only one is supported yet (`bart ecalib -m1`, or "
                "`bart slice 4 0` to take the first)",
            )
        if n > 1 and dimension not in supported:
            refuse(
                path,
                "Dimensions",
                f"dimension {dimension} ({_NAMES[dimension]}) is {n}: only one is supported yet",
            )
    if data.shape[0] == 1:
        refuse(
            path,
            "Dimensions",
            "dimension 0 (readout) is 1, as in non-Cartesian data, which is recognised but not "
            "supported yet; reshape Cartesian data so that dimensions 0 and 1 are the encodings",
        )
    if data.shape[1] > 1 and data.shape[2] > 1:
        refuse(
            path,
            "Dimensions",
            f"{data.shape[:3]} is a three-dimensional encoding, recognised but not supported yet; "
            "transform along the readout and pass slices",
        )
    phase = 2 if data.shape[1] == 1 else 1
    order: Any = (SLICE, COIL, 0, phase)
    rest = tuple(d for d in range(N_DIMENSIONS) if d not in order)
    return data.transpose(*order, *rest)[(...,) + (0,) * len(rest)]


def header_text(shape: tuple[int, ...]) -> str:
    """What a .hdr says."""
    sizes = shape + (1,) * (N_DIMENSIONS - len(shape))
    return "# Dimensions\n" + " ".join(map(str, sizes)) + "\n# Creator\njaxrecon\n"
