"""Images out: `write` with a provenance record, all or nothing.

Everything is first written into a hidden folder beside the target, then moved into place by
renames. Where several files belong together, what would make an old one lie about a new one is
removed first and put back last: the sidecar, and BART's header. A reader therefore sees the old
image, the new one or an incomplete one; never a header or a record that belongs to other data (the
record also holds the hashes of the files).
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import jaxrecon
from jaxrecon.io._bart import pair
from jaxrecon.io._fields import library
from jaxrecon.io._formats import FORMATS, Picture
from jaxrecon.io._scan import Pathlike, Scan, ScanError, refuse


class Map(NamedTuple):
    """An image that belongs to another: values, and what is black and white where that matters."""

    values: Any
    window: tuple[float, float] | None = None


def map_path(path: Pathlike, name: str) -> pathlib.Path:
    """Where `write` puts the map of a name.

    >>> str(map_path("slice.nii.gz", "std"))
    'slice-std.nii.gz'
    """
    path = pathlib.Path(path)
    suffix = path.name[len(path.name) - len(_suffix(path)) :]
    return path.with_name(f"{path.name.removesuffix(suffix)}-{name}{suffix}")


def check_output(
    path: Pathlike, *, inputs: Sequence[Pathlike] = (), maps: Sequence[str] = ()
) -> pathlib.Path:
    """Everything about an output that can be known before the image is computed.

    Args:
      path: where the image is to go.
      inputs: files that must not be overwritten.
      maps: names of the maps beside it.

    Returns:
      The path.

    Raises:
      ScanError: an unknown suffix (the known ones are listed), a missing library, a folder that is
        missing or not writable, or a file that is one of `inputs`.

    >>> try:
    ...     check_output("image.jpg")
    ... except ScanError as error:
    ...     print(error)
    image.jpg: unknown suffix; known are .npz, .cfl, .hdr, .png, .nii.gz, .nii, .tif, .tiff, .dcm
    """
    path = pathlib.Path(path)
    needs = FORMATS[_suffix(path)].needs
    if needs:
        library(path, needs)
    if path.is_dir():
        refuse(path, None, "is a folder, expected a file name")
    if not path.parent.is_dir():
        refuse(path, None, f"the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        refuse(path, None, f"the folder {path.parent} is not writable")
    raw = [file for given in inputs for file in _files(given)]
    written = [path, *(map_path(path, name) for name in maps)]
    written += [f for file in written if file.suffix in (".cfl", ".hdr") for f in pair(file)]
    for file in written:
        if file.exists() and any(other.samefile(file) for other in raw):
            refuse(path, None, "would overwrite the raw data it is made from")
    return path


def record(
    inputs: Sequence[Pathlike],
    scan: Scan | None = None,
    *,
    parameters: Mapping[str, Any],
    quality: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """The provenance of an image: where it comes from, and how to make it again.

    Args:
      inputs: the raw-data file, and others that went in (maps). Their SHA-256 is streamed.
      scan: what `read` returned; its lines are copied.
      parameters: method and settings, as used.
      quality: figures about the result.
      seconds: how long it took.
      command: the command line; default: that of this process.

    Returns:
      A dictionary of plain values, for `write`.

    Raises:
      ScanError: an input is gone or unreadable.
    """
    lines = ("understood", "assumed", "repaired") if scan is not None else ()
    return _plain(
        {
            "inputs": [_fingerprint(file) for given in inputs for file in _files(given)],
            "parameters": parameters,
            "quality": quality or {},
            **{name: list(getattr(scan, name)) for name in lines},
            "seconds": seconds,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": shlex.join(sys.argv) if command is None else command,
            "versions": _versions(),
        }
    )


def write(
    path: Pathlike,
    image: Any,
    *,
    provenance: Mapping[str, Any],
    spacing: float | Sequence[float] | None = None,
    window: tuple[float, float] | None = None,
    bits: int = 8,
    maps: Mapping[str, Map] | None = None,
) -> tuple[pathlib.Path, ...]:
    """Writes an image in the format of the suffix, and its provenance beside it in ``PATH.json``.

    .npz (array `image`) and .cfl hold complex images; .png, .nii, .nii.gz, .tif and .dcm get the
    magnitude of one, and the record says so. .npz keeps the dtype, the others hold float32, .png
    and .dcm integers. Several slices make pages or frames, in .png a grid.

    Args:
      path: the file; .cfl and .hdr are both written.
      image: (y, x) or (z, y, x), real or complex, numpy or JAX.
      provenance: a `record`, or any dictionary of plain values.
      spacing: pixel size in mm: one number, or one for each axis of `image`.
      window: values shown black and white in .png and proposed in .dcm; default: the 0.1 and 99.9
        percentiles.
      bits: 8 or 16, for .png.
      maps: more images by name, each in a file of its own, see `map_path`; one record for all.

    Returns:
      The files written, the record last.

    Raises:
      ScanError: what `check_output` raises; an image of a wrong shape or dtype, or not finite
        where the format has only integers; a full disk. Existing files are then as they were.

    >>> import numpy as np, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> [file.name for file in write(folder / "x.cfl", np.eye(3), provenance={"parameters": {}})]
    ['x.cfl', 'x.hdr', 'x.cfl.json']
    """
    if bits not in (8, 16):
        refuse(path, "bits", f"is {bits}, expected 8 or 16")
    path = check_output(path, maps=list(maps or {}))
    text = json.dumps(_plain(provenance), indent=2)
    known, named = FORMATS[_suffix(path)], {"": Map(image, window), **(maps or {})}
    with _writing(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".jaxrecon-") as name:
        folder, notes = pathlib.Path(name), {}
        for label, each in named.items():
            target = map_path(path, label) if label else path
            alike = np.ndim(each.values) == np.ndim(image)  # samples are no millimetres apart
            picture, notes[label] = _picture(target, each, spacing if alike else None, bits, text)
            notes[label] |= known.encode(folder / target.name, picture)
        made = sorted(folder.iterdir())  # .cfl before .hdr
        output = notes.pop("") | ({"maps": notes} if notes else {})
        output["files"] = [_fingerprint(file) for file in made]
        sidecar = folder / (path.name + ".json")
        full = {**json.loads(text), "output": _plain(output)}
        sidecar.write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
        return _publish([*made, sidecar], path.parent)


def _picture(
    path: pathlib.Path, given: Map, spacing: Any, bits: int, record: str
) -> tuple[Picture, dict[str, Any]]:
    """What the encoder is given, and what the record says of it."""
    values = _image(path, given.values)
    notes: dict[str, Any] = {"shape": list(values.shape), "values": str(values.dtype)}
    if np.iscomplexobj(values) and not FORMATS[_suffix(path)].is_complex:
        values, notes["values"] = np.abs(values), f"magnitude of {values.dtype}"
    sizes = _spacing(path, values.ndim, spacing)
    notes["spacing_mm"] = sizes
    picture = Picture(image=values, spacing=sizes, window=given.window, bits=bits, record=record)
    return picture, notes


def _publish(made: list[pathlib.Path], folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Renames the files into place: values first, then what speaks about them."""
    for file in made:
        with file.open("rb") as written:
            os.fsync(written.fileno())
    for file in made[1:]:
        (folder / file.name).unlink(missing_ok=True)
    for file in made:
        os.replace(file, folder / file.name)
    return tuple(folder / file.name for file in made)


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except ScanError:
        raise
    except Exception as error:
        raise ScanError(f"{path}: cannot be written ({error})") from error


def _suffix(path: pathlib.Path) -> str:
    name = path.name.lower()
    known = next((end for end in FORMATS if name.endswith(end) and name != end), None)
    if known is None:
        refuse(path, None, f"unknown suffix; known are {', '.join(FORMATS)}")
    return known


def _image(path: pathlib.Path, image: Any) -> np.ndarray:
    values = np.asarray(image)
    if values.dtype.name == "bfloat16":
        values = values.astype(np.float32)
    if values.dtype.kind not in "iufc" or values.ndim not in (2, 3) or not values.size:
        refuse(
            path,
            "image",
            f"has dtype {values.dtype} and shape {values.shape}, expected numbers with axes "
            "(y, x) or (z, y, x)",
        )
    return values


def _spacing(
    path: pathlib.Path, ndim: int, spacing: float | Sequence[float] | None
) -> tuple[float, ...] | None:
    if spacing is None:
        return None
    each = np.asarray(spacing, np.float64)
    sizes = np.broadcast_to(each, ndim) if each.ndim == 0 else each
    if sizes.shape != (ndim,) or not (np.isfinite(sizes) & (sizes > 0)).all():
        refuse(path, "spacing", f"is {spacing}, expected one or {ndim} positive lengths in mm")
    return tuple(float(size) for size in sizes)


def _files(path: Pathlike) -> list[pathlib.Path]:
    """The files behind an input: itself, or BART's two."""
    path = pathlib.Path(path)
    both = [file for file in pair(path) if file.is_file()]
    if path.suffix in (".cfl", ".hdr") or not path.is_file():
        return both or [path]
    return [path]


def _fingerprint(file: pathlib.Path) -> dict[str, Any]:
    try:
        with file.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256").hexdigest()
            return {"name": file.name, "sha256": digest, "bytes": data.tell()}
    except OSError as error:
        refuse(file, None, f"cannot be read ({error.strerror})")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("jaxrecon", "jax", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found | {"jaxrecon": jaxrecon.__version__}


def _plain(value: Any) -> Any:
    """Values that JSON knows: arrays become lists, numbers that are not finite become words."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)
