"""Sources that read files: one slice of a raw-data file, or one image, as an example."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from jaxrecon.io import CTScan, MRIScan, NonCartesianScan, Scan, ScanError, read

Pathlike = str | os.PathLike[str]


class ScanSlices:
    """The slices of raw-data files (fastMRI, DXchange, BART, npz: see `jaxrecon.io.read`).

    Args:
        paths: of the files.
        prepare: from a scan of one slice to an example; `scan_arrays` by default.
        n_slices: of each file; counted, by reading every file once, if None.

    Raises:
        ScanError: a file that cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[Pathlike],
        prepare: Callable[[Scan], dict[str, Any]] | None = None,
        *,
        n_slices: Sequence[int] | None = None,
    ):
        self._prepare = scan_arrays if prepare is None else prepare
        counts = [len(read(path).slices) for path in paths] if n_slices is None else n_slices
        if len(counts) != len(paths):
            raise ValueError(f"`n_slices` has {len(counts)} numbers, expected {len(paths)}")
        self._index = [(Path(p), i) for p, n in zip(paths, counts, strict=True) for i in range(n)]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        path, number = self._index[index]
        return self._prepare(read(path, slices=number))


def scan_arrays(scan: Scan) -> dict[str, Any]:
    """The arrays of a scan of one slice, by name and without the slice axis."""
    match scan:
        case CTScan():
            return {
                "sinogram": scan.line_integrals[0],
                "weights": scan.weights[0],
                "angles": scan.angles.astype(np.float32),
            }
        case MRIScan():
            arrays = {"kspace": scan.kspace[0], "mask": scan.mask}
        case NonCartesianScan():
            arrays = {"kspace": scan.kspace[0], "trajectory": scan.trajectory}
    return arrays if scan.maps is None else {**arrays, "maps": scan.maps}


class ImageFiles:
    """Images from files, one an example: ``{"image": (y, x)}`` as float32 or complex64.

    `.npy`, `.npz` (its array `image`), DICOM (in its own units: the rescale slope and intercept are
    applied) and what Pillow opens (grey values, 0 to 1).

    Args:
        paths: of the files.
        prepare: from an image to what takes its place, such as a crop.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npy"
        >>> np.save(path, np.eye(3))
        >>> ImageFiles([path])[0]["image"].dtype
        dtype('float32')
    """

    def __init__(
        self,
        paths: Sequence[Pathlike],
        prepare: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        self._paths, self._prepare = [Path(path) for path in paths], prepare

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        image = read_image(self._paths[index])
        return {"image": image if self._prepare is None else self._prepare(image)}


def read_image(path: Pathlike) -> np.ndarray:
    """One image, (y, x); see `ImageFiles`.

    Raises:
        ScanError: it cannot be read, or is not one grey image.
    """
    try:
        image = _image(Path(path))
    except ImportError as error:
        raise ScanError(f"{path}: needs {error.name}: pip install 'jaxrecon[io]'") from None
    except Exception as error:  # whatever the format's library raises for a broken file
        raise ScanError(f"{path}: cannot be read as an image: {error}") from error
    if image.ndim != 2:
        raise ScanError(f"{path}: `image` has shape {image.shape}, expected one grey image (y, x)")
    return image.astype(np.complex64 if np.iscomplexobj(image) else np.float32)


def _image(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        start = file.read(132)
    if start.startswith(b"\x93NUMPY"):
        return np.load(path)
    if start.startswith(b"PK"):
        with np.load(path) as fields:
            return fields["image"]
    if start[128:132] == b"DICM":
        return _dicom(path)
    return _picture(path)


def _dicom(path: Path) -> np.ndarray:
    import pydicom

    data = pydicom.dcmread(path)
    slope, intercept = data.get("RescaleSlope", 1), data.get("RescaleIntercept", 0)
    return data.pixel_array * np.float32(slope) + np.float32(intercept)


def _picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        depth = 65535 if picture.mode.startswith("I") else 255
        grey = picture if picture.mode.startswith(("I", "F", "L")) else picture.convert("L")
        return np.asarray(grey) / (1 if picture.mode == "F" else depth)
