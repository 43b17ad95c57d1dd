"""Trained weights as one small file: arrays by name, how to build the network, a checksum.

An `.npz` of the network's arrays (random streams left out) with a JSON description: the class and
its arguments, the names, shapes and dtypes, a checksum over all of it, and a free model card.
Nothing in a file is executed; a network is built only of classes of jaxrecon, or by the caller.
"""

import hashlib
import importlib
import io
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrecon.core._store import whole_file
from jaxrecon.nets.storage._files import Leaves, check_leaves

_FORMAT = "jaxrecon-weights-1"
_DESCRIPTION = "__description__"
_OWN = "jaxrecon."

Net = TypeVar("Net", bound=nnx.Module)
Pathlike = str | os.PathLike[str]


def save_weights(
    path: Pathlike,
    net: nnx.Module,
    *,
    arguments: dict[str, Any] | None = None,
    card: dict[str, Any] | None = None,
    dtype: Any = None,
) -> str:
    """Writes a network's weights to one file, atomically.

    Args:
        path: of the file, usually `.npz`.
        net: the network.
        arguments: what its class was called with, but for `rngs`: plain numbers, strings and lists.
            With them `load_network` can build it.
        card: what a person should know: data, settings, figures, licence; JSON.
        dtype: in which to store arrays of floats, such as `jnp.bfloat16` or `jnp.float16`; by
            default their own.

    Returns:
        The checksum, SHA-256 in hexadecimal.

    Example:
        >>> net = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checksum = save_weights(f"{folder}/net.npz", net, card={"data": "none"})
        ...     other = load_weights(f"{folder}/net.npz", nnx.Linear(2, 3, rngs=nnx.Rngs(1)))
        >>> bool(jnp.all(other.kernel[...] == net.kernel[...]))
        True
    """
    originals = arrays_of(net)
    arrays = {name: np.asarray(_stored(x, dtype)) for name, x in originals.items()}
    description = {
        "format": _FORMAT,
        "class": f"{type(net).__module__}:{type(net).__qualname__}",
        "arguments": arguments,
        "card": card or {},
        "leaves": describe(originals),
        "stored": {name: jnp.dtype(x.dtype).name for name, x in arrays.items()},
    }
    description["checksum"] = _checksum(arrays, description)
    # npz knows numpy's own dtypes only: the others travel as their bytes.
    raw = {n: x if x.dtype.kind in "biufc" else x.view(np.uint8) for n, x in arrays.items()}
    with whole_file(path) as file:
        text = np.array(json.dumps(description))
        np.savez_compressed(file, **{_DESCRIPTION: text}, **raw)  # pyright: ignore
    return description["checksum"]


def read_weights(
    path: Pathlike, *, checksum: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file of weights by name, and its description.

    Args:
        path: of the file.
        checksum: that it must have, besides its own being right.

    Raises:
        ValueError: the file is missing, broken, altered, or another one than `checksum` says.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"`path` {str(path)!r} is not a file of weights: {error}") from None
    return weights_of(raw, f"`path` {str(path)!r}", checksum=checksum)


def weights_of(
    raw: bytes, where: str, *, checksum: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """As `read_weights`, of what a file holds; `where` begins the messages."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        description = json.loads(str(arrays.pop(_DESCRIPTION)))
        stored, wanted = description["stored"], description.pop("checksum")
        arrays = {name: x.view(jnp.dtype(stored[name])) for name, x in arrays.items()}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as e:
        raise ValueError(f"{where} is not a file of weights: {e}") from None
    if description.get("format") != _FORMAT:
        raise ValueError(f"{where}: format is {description.get('format')!r}")
    if _checksum(arrays, description) != wanted:
        raise ValueError(f"{where} is damaged: its checksum is not that of its arrays")
    if checksum is not None and checksum != wanted:
        raise ValueError(f"{where} has checksum {wanted}, expected {checksum}")
    return arrays, {**description, "checksum": wanted}


def load_weights(path: Pathlike, net: Net, *, checksum: str | None = None) -> Net:
    """Fills a network with the weights of a file, in place, and returns it.

    Raises:
        ValueError: as `read_weights`.
        MismatchError: the weights are of another architecture; names the first leaf that differs.
    """
    arrays, description = read_weights(path, checksum=checksum)
    return fill(net, arrays, description, str(path))


def fill(net: Net, arrays: dict[str, np.ndarray], description: dict[str, Any], where: str) -> Net:
    """As `load_weights`, with what has been read; `where` begins the message."""
    here = arrays_of(net)
    check_leaves(description["leaves"], describe(here), where)
    state = nnx.state(net, nnx.Not(nnx.RngState))
    for names, variable in nnx.to_flat_state(state):
        name = ".".join(map(str, names))
        variable.set_value(jnp.asarray(arrays[name], here[name].dtype))
    nnx.update(net, state)
    return net


def load_network(path: Pathlike, *, checksum: str | None = None) -> Any:
    """Builds the network that a file describes, with its weights, in evaluation mode.

    Raises:
        ValueError: as `load_weights`; or the file names a class that is not jaxrecon's, or has no
            arguments: build the network, then `load_weights`.
    """
    _, description = read_weights(path, checksum=checksum)
    key, arguments = description["class"], description["arguments"]
    if not key.startswith(_OWN) or arguments is None:
        raise ValueError(
            f"`path` {str(path)!r} holds weights of {key}, which cannot be built from the file: "
            "build the network and pass it to `load_weights`"
        )
    cls: Any = _own_class(key, str(path))
    net = load_weights(path, cls(**arguments, rngs=nnx.Rngs(0)), checksum=checksum)
    net.eval()
    return net


def _own_class(key: str, path: str) -> type[nnx.Module]:
    module, _, name = key.partition(":")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        cls = None
    if not (isinstance(cls, type) and issubclass(cls, nnx.Module)):
        raise ValueError(f"`path` {path!r} holds weights of {key}, which is no network here")
    return cls


def arrays_of(net: nnx.Module) -> dict[str, Any]:
    """The arrays of a network, or their structs, by name; without its random streams."""
    state = nnx.to_flat_state(nnx.state(net, nnx.Not(nnx.RngState)))
    return {".".join(map(str, path)): variable.get_value() for path, variable in state}


def describe(arrays: dict[str, Any]) -> Leaves:
    """Name, shape and dtype of each array, by name."""
    return [(name, list(x.shape), x.dtype.name) for name, x in sorted(arrays.items())]


def _stored(x: jax.Array, dtype: Any) -> jax.Array:
    floats = jnp.issubdtype(x.dtype, jnp.floating)
    return x.astype(dtype) if floats and dtype is not None else x


def _checksum(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
