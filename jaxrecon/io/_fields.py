"""Named arrays in a container file (.npz or HDF5), read lazily, selectively and without surprises.

A layout asks a `Fields` for arrays by name and never sees the container. Whatever the container
library raises becomes a `ScanError` (`guarded`, the only place that catches everything: a broken
file can raise nearly anything inside zipfile, zlib, numpy's header parser or libhdf5). Pickled
objects are never loaded.
"""

import abc
import contextlib
import importlib
import math
import operator
import os
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxrecon.io._scan import Pathlike, ScanError, refuse

Slices = int | slice | Sequence[int] | None


@contextlib.contextmanager
def guarded(path: Pathlike, field: str | None = None) -> Iterator[None]:
    """Turns every error of a format library into a `ScanError` naming the file and the field."""
    try:
        yield
    except ScanError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ScanError(
            f"{os.fspath(path)}: "
            + (f"`{field}`: " if field else "")
            + f"cannot be read, the file is broken or truncated ({reason})"
        ) from error


def library(path: Pathlike, name: str) -> Any:
    """Imports the library of a format, at the moment it is needed.

    Raises:
      ScanError: it is not installed; the message names the extra that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ScanError(
            f"{os.fspath(path)}: this format needs {package}, which is not installed: "
            'pip install "jaxrecon[io]"'
        ) from error


def pick(path: Pathlike, slices: Slices, n: int) -> list[int]:
    """The wanted slices as indices in [0, n), in the order asked for.

    >>> pick("scan.h5", slice(0, 4, 2), 3), pick("scan.h5", -1, 3)
    ([0, 2], [2])
    """
    if slices is None:
        return list(range(n))
    if isinstance(slices, slice):
        wanted = list(range(n))[slices]
    else:
        try:
            wanted = [operator.index(i) for i in ([slices] if isinstance(slices, int) else slices)]
        except TypeError:
            refuse(path, "slices", f"{slices!r} are not whole numbers; pass an int, slice or list")
    if not wanted or not all(-n <= i < n for i in wanted):
        refuse(path, "slices", f"{slices!r} asked for, the file has slices 0 to {n - 1}")
    return [i % n for i in wanted]


class Fields(abc.ABC):
    """Named arrays of one open file (`contextlib.closing` closes it)."""

    path: Pathlike

    @abc.abstractmethod
    def __contains__(self, name: str) -> bool:
        """Whether the file has an array of this name."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """The names on the top level, for messages."""

    @abc.abstractmethod
    def attribute(self, name: str, attribute: str) -> str:
        """A text attribute of an array in lower case; "" where there is none."""

    @abc.abstractmethod
    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype]: ...

    @abc.abstractmethod
    def _load(self, name: str, axis: int, keep: list[int] | None) -> np.ndarray: ...

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the file."""

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype, from the header alone; a `ScanError` if there is no such array."""
        if name not in self:
            refuse(self.path, name, f"is not in the file, which has {', '.join(self.names())}")
        with guarded(self.path, name):
            return self._header(name)

    def read(
        self, name: str, *, kinds: str = "iuf", axis: int = 0, keep: list[int] | None = None
    ) -> np.ndarray:
        """The array `name`, or only the indices `keep` along `axis`.

        Args:
          name: which array.
          kinds: the dtype kinds that make sense: "iuf" numbers, "c" complex, "b" booleans.
          axis: the axis of `keep`.
          keep: indices in the order wanted; only these are held in memory.

        Raises:
          ScanError: absent, empty, of another dtype, or unreadable.
        """
        shape, dtype = self.header(name)
        if dtype.kind not in kinds:
            refuse(self.path, name, f"has dtype {dtype}, expected {_expected(kinds)}")
        if math.prod(shape) == 0:
            refuse(self.path, name, f"is empty (shape {shape})")
        with guarded(self.path, name):
            return self._load(name, axis, keep)

    def scalar(self, name: str) -> float:
        """A single finite number."""
        value = self.read(name)
        if value.size != 1 or not np.isfinite(value).all():
            refuse(self.path, name, f"expected one finite number, got shape {value.shape}")
        return float(value.reshape(()))


def _expected(kinds: str) -> str:
    words = {"c": "complex numbers", "f": "real numbers", "b": "booleans"}
    return " or ".join(word for kind, word in words.items() if kind in kinds)


class Npz(Fields):
    """Arrays of an .npz file. Members are streamed: a selection never holds the whole member."""

    def __init__(self, path: Pathlike):
        self.path = path
        with guarded(path):
            self._zip = zipfile.ZipFile(path)
        self._infos = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def names(self) -> list[str]:
        return list(self._infos)

    def close(self) -> None:
        self._zip.close()

    def attribute(self, name: str, attribute: str) -> str:
        return ""

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        with self._zip.open(self._infos[name]) as member:
            shape, _, dtype = _npy_header(member)
        return shape, dtype

    def _load(self, name: str, axis: int, keep: list[int] | None) -> np.ndarray:
        info = self._infos[name]
        with self._zip.open(info) as member:
            shape, fortran, dtype = _npy_header(member)
            if info.file_size != member.tell() + math.prod(shape) * dtype.itemsize:
                raise ValueError(f"its header claims shape {shape}, which is not its size")
            if keep is None or fortran or len(shape) < 2:
                raw = np.frombuffer(_exactly(member, math.prod(shape) * dtype.itemsize), dtype)
                whole = raw.reshape(shape, order="F" if fortran else "C")
                return whole if keep is None else whole.take(keep, axis)
            rows = _rows(member, shape, dtype)
            if axis == 0:
                kept = {i: row.copy() for i, row in enumerate(rows) if i in keep}
                return np.stack([kept[i] for i in keep])
            return np.stack([row.take(keep, axis - 1) for row in rows])


def _npy_header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(member)
    else:
        raise ValueError(f"numpy format {version} is for structured arrays")
    if any(n < 0 for n in shape):
        raise ValueError(f"its header claims shape {shape}")
    return shape, fortran, dtype


def _rows(member: Any, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """The entries of the leading axis in turn, to the end: zipfile then checks the CRC."""
    n_bytes = math.prod(shape[1:]) * dtype.itemsize
    for _ in range(shape[0]):
        yield np.frombuffer(_exactly(member, n_bytes), dtype).reshape(shape[1:])
    member.read(1)


def _exactly(member: Any, n_bytes: int) -> bytes:
    data = member.read(n_bytes)
    if len(data) != n_bytes:
        raise ValueError(f"{n_bytes} bytes expected, {len(data)} found")
    return data


class Hdf5(Fields):
    """Datasets of an HDF5 file, named by their full path without the leading slash."""

    def __init__(self, path: Pathlike):
        self.path = path
        self._h5py = library(path, "h5py")
        with guarded(path):
            self._file = self._h5py.File(path, "r")

    def __contains__(self, name: str) -> bool:
        with guarded(self.path, name):
            return isinstance(self._file.get(name), self._h5py.Dataset)

    def names(self) -> list[str]:
        with guarded(self.path):
            tops = ((name, self._file.get(name)) for name in self._file)
            return [
                f"{top}/{name}"
                for top, item in tops
                for name in (item if isinstance(item, self._h5py.Group) else [""])
            ] or ["nothing"]

    def close(self) -> None:
        self._file.close()

    def attribute(self, name: str, attribute: str) -> str:
        with guarded(self.path, f"{name}@{attribute}"):
            return _words(self._file[name].attrs.get(attribute, "")).strip().lower()

    def text(self, name: str) -> str:
        """A scalar string."""
        with guarded(self.path, name):
            return _words(self._file[name][()])

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        data = self._file[name]
        self._refuse_fill_values(name, data)
        return data.shape, data.dtype

    def _refuse_fill_values(self, name: str, data: Any) -> None:
        """libhdf5 reads what was never written, or is in a lost file, as zeros, without a word."""
        if data.shape is None:
            refuse(self.path, name, "is empty")
        others = [source.file_name for source in data.virtual_sources()] if data.is_virtual else []
        for other in {*others, *(entry[0] for entry in data.external or ())} - {"."}:
            if "%" not in other and not (pathlib.Path(self.path).parent / other).is_file():
                refuse(
                    self.path, name, f"its values are in another file, {other}, which is missing"
                )
        if data.size and not others and not data.external and not data.id.get_storage_size():
            refuse(self.path, name, "was created but never written")

    def _load(self, name: str, axis: int, keep: list[int] | None) -> np.ndarray:
        data = self._file[name]
        if keep is None:
            return np.asarray(data[()])
        before = (slice(None),) * axis
        steps = set(np.diff(keep))
        if len(keep) == 1 or (len(steps) == 1 and min(steps) > 0):
            step = keep[1] - keep[0] if len(keep) > 1 else 1
            return np.asarray(data[(*before, slice(keep[0], keep[-1] + 1, step))])
        return np.stack([data[(*before, i)] for i in keep], axis)


def _words(value: Any) -> str:
    """Text however HDF5 wrote it: str, bytes or an array of one of them."""
    value = np.asarray(value).reshape(-1)
    first = value[0] if value.size else ""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)
