"""Training on many devices: where the state and the batches live.

One mesh with one axis, "data". Batches are split over it; the state is copied to every device or,
with ``shard_params=True``, each large array of it is split too (fully sharded data parallel: XLA
gathers weights where they are used). The step is the same function under `jax.jit`, on one device
or on many hosts.

Several hosts: call `jax.distributed.initialize()` first, in every process, and let each read the
rows of a batch that its devices hold: `process_rows`.
"""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

AXIS = "data"


def data_mesh(n_devices: int | None = None) -> Mesh:
    """The first `n_devices` devices, of all hosts, in one row; all of them if None.

    Raises:
        ValueError: there are fewer devices.

    Example:
        >>> dict(data_mesh(1).shape)
        {'data': 1}
    """
    devices = jax.devices()
    n = len(devices) if n_devices is None else n_devices
    if not 1 <= n <= len(devices):
        raise ValueError(f"`n_devices` is {n}, there are {len(devices)} devices")
    # Automatic axes: XLA propagates the sharding, where explicit ones ask for it in every type.
    return jax.make_mesh((n,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices[:n])


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The examples of a batch over the devices."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))


def state_sharding(
    state: PyTree, mesh: Mesh, *, shard_params: bool = False, min_size: int = 2**14
) -> PyTree:
    """The sharding of every array of a state (or of any pytree of arrays or their structs).

    Args:
        state: of training.
        mesh: see `data_mesh`.
        shard_params: splits each array of `min_size` elements or more along its largest axis that
            the devices divide; an array without such an axis is copied. The rule looks at shapes
            alone, so that a parameter's moments and average lie where it lies.
        min_size: below, splitting costs more than it saves.
    """
    n = math.prod(mesh.devices.shape)

    def place(x):
        axis = _largest_divisible(x.shape, n) if shard_params else None
        if axis is None or math.prod(x.shape) < min_size:
            return NamedSharding(mesh, PartitionSpec())
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, mesh.axis_names[0]))

    return jax.tree.map(place, state)


def _largest_divisible(shape: tuple[int, ...], n: int) -> int | None:
    sizes = [(size, -axis) for axis, size in enumerate(shape) if size % n == 0]
    return -max(sizes)[1] if sizes else None


def process_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """The rows of a batch that this process has to supply, in increasing order.

    Raises:
        ValueError: the devices do not divide the batch.

    Example:
        >>> process_rows(data_mesh(1), 3)
        array([0, 1, 2])
    """
    n = math.prod(mesh.devices.shape)
    if batch_size % n:
        raise ValueError(f"`batch_size` is {batch_size}, which {n} devices do not divide")
    parts = batch_sharding(mesh).addressable_devices_indices_map((batch_size,)).values()
    rows: set[int] = set()
    for (part,) in (p for p in parts if p is not None):
        rows.update(range(batch_size)[part])
    return np.array(sorted(rows))


def place_state(state: PyTree, shardings: PyTree) -> PyTree:
    """Moves a state to its devices; every process holds the same, whole state to begin with."""
    if jax.process_count() == 1:
        return jax.device_put(state, shardings)
    # Placed by a compiled identity: a process cannot put arrays on devices that are not its own.
    return jax.jit(lambda s: s, out_shardings=shardings)(_on_host(state))


def place_batch(batch: PyTree, mesh: Mesh | None) -> PyTree:
    """Puts the rows of a batch that this process read onto its devices; see `process_rows`."""
    if mesh is None:
        return jax.device_put(batch)
    sharding = batch_sharding(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
    )


def _on_host(tree: Any) -> Any:
    keys = jax.dtypes.prng_key

    def fetch(x):
        return x if jax.numpy.issubdtype(x.dtype, keys) else np.asarray(x)

    return jax.tree.map(fetch, tree)
