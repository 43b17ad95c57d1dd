"""Reading two neighbours of a table at computed places, and summing such reads over a loop.

The inner machinery of projectors and NUFFT: what XLA compiles well, kept apart from the geometry.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

# Terms of a sum that are unrolled into one fusion.
BLOCK = 8

Reader = Callable[[Array, Array, Array], Array]


def take(table: Array, index: Int[Array, "*place"]) -> Array:
    """`table[index]` for indices known to be in range: no wrapping of negative ones, no fill."""
    dimensions = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(index.ndim, index.ndim + table.ndim - 1)),
        collapsed_slice_dims=(0,),
        start_index_map=(0,),
    )
    return lax.gather(
        table,
        index[..., None],
        dimensions,
        (1, *table.shape[1:]),
        mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )


def pair_reader(table: Float[Array, "place *batch"]) -> Reader:
    """A function (index, w0, w1) ↦ w0 table[index] + w1 table[index + 1].

    A flat table is packed as complex numbers (table[i], table[i + 1]), and the sum is the real
    part of a product: one gather with one use, so that XLA fuses it. XLA:CPU turns gathers into
    scalar loads; one load of eight bytes instead of two of four makes the projector 1.6 times
    faster. A table with a batch axis is read in contiguous runs instead.
    """
    if table.ndim == 1:
        packed = lax.complex(table, jnp.roll(table, -1))
        return lambda index, w0, w1: lax.real(take(packed, index) * lax.complex(w0, -w1))

    def read(index, w0, w1):
        return w0[..., None] * take(table, index) + w1[..., None] * take(table, index + 1)

    return read


def split(position: Float[Array, "..."]) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """A non-negative position as a whole and a fraction."""
    whole = position.astype(jnp.int32)
    return whole, position - whole.astype(position.dtype)


def round_up(n: int, step: int = BLOCK) -> int:
    """The next multiple of `step`."""
    return -(-n // step) * step


def sum_blocks(term: Callable[[Int[Array, ""]], Array], n: int, zero: Array) -> Array:
    """Σ term(k) for k < round_up(n), `BLOCK` terms a step, added to `zero`."""

    def block(total, first):
        first = keep_parallel(first)
        return total + sum(term(first + j) for j in range(BLOCK)), None

    first = jnp.arange(0, n, BLOCK, dtype=jnp.int32)
    return lax.scan(jax.checkpoint(block), zero, first)[0]


def map_chunks(f: Callable[[PyTree], Array], arrays: tuple[Array, ...], cost: int) -> Array:
    """`f` of arrays with one leading axis, in chunks of about equal size and at most `cost` work.

    Args:
        f: maps chunks of the arrays to one chunk of the result.
        arrays: arrays that share their leading axis.
        cost: how many rows of the leading axis one chunk may have.
    """
    n = arrays[0].shape[0]
    count = max(1, math.ceil(n / max(1, cost)))
    if count == 1:
        return f(arrays)
    count = next((c for c in range(count, 2 * count) if n % c == 0), count)
    size = math.ceil(n / count)
    chunked = tuple(pad_rows(a, count * size).reshape(count, size, *a.shape[1:]) for a in arrays)

    def chunk(i):
        i = keep_parallel(i)
        return f(tuple(lax.dynamic_index_in_dim(a, i, keepdims=False) for a in chunked))

    result = lax.map(chunk, jnp.arange(count, dtype=jnp.int32))
    return result.reshape(count * size, *result.shape[2:])[:n]


def fold_chunks(
    f: Callable[[PyTree, PyTree], PyTree], total: PyTree, arrays: PyTree, size: int
) -> PyTree:
    """`total = f(total, chunk)` over chunks of at most `size` rows; zeros fill the last one."""
    n = jax.tree.leaves(arrays)[0].shape[0]
    count = -(-n // size)
    if count <= 1:
        return f(total, arrays)
    size = -(-n // count)

    def chunked(array):
        padded = jnp.pad(array, [(0, count * size - n)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(count, size, *array.shape[1:])

    chunks = jax.tree.map(chunked, arrays)
    return lax.scan(lambda total, chunk: (f(total, chunk), None), total, chunks)[0]


def pad_rows(array: Array, n: int) -> Array:
    """`array` with its last row repeated until there are n."""
    return jnp.pad(array, [(0, n - array.shape[0])] + [(0, 0)] * (array.ndim - 1), mode="edge")


def keep_parallel(k: Int[Array, ""]) -> Int[Array, ""]:
    """The index k of a loop, such that XLA:CPU keeps the loop's body multi-threaded."""
    # XLA:CPU 0.11 and later take any loop without a sort, an FFT or a library call for a small one
    # and compile all of it into one single-threaded kernel (SmallWhileLoopHoistingPass).
    # The sort of two numbers keeps the body's fusions multi-threaded: 2.1 times faster on 2 cores.
    return jnp.sort(jnp.stack([k, k + 1]))[0]
