"""A network with its operator as one file of StableHLO, which runs without jaxrecon.

The file is what `jax.export` serialises: ``jax.export.deserialize(bytes).call(y)`` runs it with
JAX alone, and its `mlir_module()` is StableHLO for other runtimes. Weights and operator are inside;
what differs from scan to scan, such as coil maps and the mask, can be left open as inputs.
"""

import os
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx
from jaxtyping import PyTree

from jaxrecon.core._store import whole_file
from jaxrecon.training._state import leaf_names


def export(
    net: nnx.Module,
    A: Any,
    *,
    path: str | os.PathLike[str] | None = None,
    inputs: Sequence[str] = (),
    like: PyTree = None,
    batch: bool = False,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> jax.export.Exported:
    """Compiles ``y -> net(A, y)`` to StableHLO.

    Args:
        net: a reconstruction network, ``net(A, y)`` of one example; exported in evaluation mode.
        A: the operator.
        path: of the file to write; None writes none.
        inputs: arrays of the operator by the names of its leaves (see `leaf_names`), such as
            "maps": the exported function takes them as a dict after y.
        like: struct or array of y; the operator's range by default.
        batch: whether the function takes any number of examples along a first axis; the operator's
            open arrays are then of every example too. Operators that plan by the size of a batch,
            such as Joseph projectors, take them one after the other.
        platforms: on which it will run.

    Returns:
        The exported function: ``exported.call(y)`` or ``exported.call(y, {"maps": maps})``.

    Raises:
        ValueError: an unknown name in `inputs`, or a part of the computation that has no
            StableHLO.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrecon.core import identity
        >>> class Half(nnx.Module):
        ...     def __call__(self, A, y):
        ...         return A.H(y) / 2
        >>> exported = export(Half(), identity(jnp.zeros(3)), batch=True, platforms=("cpu",))
        >>> exported.call(jnp.ones((2, 3)))
        Array([[0.5, 0.5, 0.5],
               [0.5, 0.5, 0.5]], dtype=float32)
    """
    function, opened = _function(net, A, inputs)
    example = (A.range if like is None else like, *([opened] if opened else []))
    structs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), example)
    if batch:
        (size,) = jax.export.symbolic_shape("batch")
        structs = jax.tree.map(lambda s: jax.ShapeDtypeStruct((size, *s.shape), s.dtype), structs)
    try:
        exported = _exported(function, structs, batch, platforms)
    except (ValueError, NotImplementedError) as error:
        raise ValueError(
            f"`net` and `A` cannot be exported for {tuple(platforms)}: "
            f"{str(error).splitlines()[0]} (an operator with a back end of its own, such as "
            "finufft, is to be built with backend='xla')"
        ) from error
    if path is not None:
        with whole_file(path) as file:
            file.write(_serialised(exported))
    return exported


def _exported(
    function: Any, structs: PyTree, batch: bool, platforms: Sequence[str]
) -> jax.export.Exported:
    compile_for = lambda f: jax.export.export(jax.jit(f), platforms=platforms)(*structs)  # noqa: E731
    if not batch:
        return compile_for(function)
    try:
        return compile_for(jax.vmap(function))
    except jax.errors.InconclusiveDimensionOperation:
        return compile_for(lambda *args: jax.lax.map(lambda each: function(*each), args))


def _function(net: nnx.Module, A: Any, inputs: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The function to export, and the arrays of the operator that are its inputs, by name."""
    graphdef, state = nnx.split(net)
    leaves, structure = jax.tree.flatten(A)
    names = leaf_names(A)
    unknown = [name for name in inputs if name not in names]
    if unknown:
        raise ValueError(f"`inputs` names {unknown}, the operator has {names}")

    def function(y, opened=None):
        opened = opened or {}
        merged = [opened.get(n, leaf) for n, leaf in zip(names, leaves, strict=True)]
        network = nnx.merge(graphdef, state)
        network.eval()
        return network(jax.tree.unflatten(structure, merged), y)

    return function, {n: x for n, x in zip(names, leaves, strict=True) if n in inputs}


def _serialised(exported: jax.export.Exported) -> bytes | bytearray:
    try:
        return exported.serialize()
    except ImportError:
        raise ImportError(
            "`path`: JAX needs flatbuffers to write programs: pip install 'jaxrecon[train]'"
        ) from None
