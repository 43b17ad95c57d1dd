"""Saving and loading operators (any jaxrecon pytree): one ``.npz`` with arrays and a description.

The description names classes and static fields in JSON; nothing in a file is executed. A class
defined outside jaxrecon must be imported before its operator is loaded.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.core._pytree import REGISTERED, class_key

_FORMAT = "jaxrecon-pytree-1"
_DESCRIPTION = "__description__"


def save(path: str | os.PathLike, tree: Any) -> None:
    """Writes an operator (problem, functional, geometry ...) to `path`, atomically.

    Raises:
        ValueError: something in it has no plain description, such as a function; names the field.

    Example:
        >>> import tempfile, jax.numpy as jnp
        >>> from jaxrecon.core import diagonal
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/A.npz", diagonal(jnp.arange(3.0), jnp.zeros(3)))
        ...     load(f"{folder}/A.npz").weights
        Array([0., 1., 2.], dtype=float32)
    """
    arrays: dict[str, np.ndarray] = {}
    description = {"format": _FORMAT, "root": _describe(tree, "root", arrays)}
    with whole_file(path) as file:
        np.savez(file, **{_DESCRIPTION: np.array(json.dumps(description))}, **arrays)  # pyright: ignore


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name when the block has ended well, and not before."""
    target = Path(path)
    # A folder of its own, so that the file has the permissions that any other would get.
    with tempfile.TemporaryDirectory(dir=target.parent) as draft:
        place = Path(draft) / target.name
        with place.open("wb") as file:
            yield file
        os.replace(place, target)


def load(path: str | os.PathLike) -> Any:
    """Reads what `save` wrote.

    Raises:
        ValueError: the file is missing, broken, or names a class that is not registered.
    """
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        description = json.loads(str(arrays.pop(_DESCRIPTION)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"`path` {str(path)!r} is not a saved operator: {error}") from None
    if description.get("format") != _FORMAT:
        raise ValueError(f"`path` {str(path)!r}: format is {description.get('format')!r}")
    return _restore(description["root"], arrays, str(path))


def _describe(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    if class_key(type(value)) in REGISTERED:
        fields = dataclasses.fields(value)
        parts = {f.name: _describe_field(value, f, name, arrays) for f in fields}
        return {"class": class_key(type(value)), "fields": parts}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        parts = [_describe(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
        return {type(value).__name__: parts}
    if isinstance(value, jax.ShapeDtypeStruct):
        return {"struct": [list(value.shape), jnp.dtype(value.dtype).name]}
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _describe_array(value, name, arrays)
    raise ValueError(f"`{name}` is a {type(value).__name__}, which cannot be saved")


def _describe_field(value, field, name, arrays) -> Any:
    return _describe(getattr(value, field.name), f"{name}.{field.name}", arrays)


def _describe_array(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise ValueError(f"`{name}` is a random key, which cannot be saved")
    # npz knows numpy's own dtypes only; bfloat16 travels as float32, which holds it exactly.
    plain = np.asarray(value)
    arrays[name] = plain if plain.dtype.kind in "biufc" else plain.astype(np.float32)
    return {"array": name, "dtype": jnp.dtype(value.dtype).name}


def _restore(node: Any, arrays: dict[str, np.ndarray], path: str) -> Any:
    if not isinstance(node, dict):
        return node
    match node:
        case {"class": key, "fields": fields}:
            cls = _registered(key, path)
            declared = {f.name: f for f in dataclasses.fields(cls)}
            if set(fields) != set(declared):
                raise ValueError(
                    f"{path!r}: fields of {key} are {sorted(fields)}, not {sorted(declared)}"
                )
            values = {n: _restore(v, arrays, path) for n, v in fields.items()}
            return cls(**values)
        case {"complex": [real, imag]}:
            return complex(real, imag)
        case {"tuple": parts}:
            return tuple(_restore(v, arrays, path) for v in parts)
        case {"list": parts}:
            return [_restore(v, arrays, path) for v in parts]
        case {"struct": [shape, dtype]}:
            return jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
        case {"array": name, "dtype": dtype}:
            return jnp.asarray(arrays[name], dtype)
    raise ValueError(f"`path` {path!r}: unknown entry {node!r}")


def _registered(key: str, path: str) -> type:
    if key not in REGISTERED and key.startswith("jaxrecon."):
        importlib.import_module(key.split(":")[0])
    if key not in REGISTERED:
        raise ValueError(
            f"`path` {path!r} holds a {key}, which is not registered: import its module first"
        )
    return REGISTERED[key]
