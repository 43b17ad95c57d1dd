"""Reading a periodic grid at arbitrary points with the spreading kernel, and the exact adjoint.

`interpolate` is y_j = Σ_l G_l Π_d φ(u_{jd} − l_d) and `spread` its adjoint, both from the same
places and weights (`_places`). Nothing of size points × width^d exists: weights are kept for each
axis, points × width numbers, and for a chunk of points at a time.

How it is made fast on XLA (2 cores, 256², 8 coils, 205 824 points, σ = 2, w = 4 and 7):

- Reading: every tap is one gather of contiguous rows that hold all coils, fused with its weight;
  up to `UNROLLED` taps make one fusion. 6 and 17 ms. (Windows gathered whole: 22 and 114 ms.)
- Spreading on CPU: a loop that goes from point to point and adds a window, whose rows along the
  last axis, weighted, are contiguous and computed before. XLA compiles it into one tight kernel of
  one thread: 15 and 25 ms. (A scatter for each tap, as elsewhere: 96 and 245 ms.)
- Elsewhere a scatter-add for each tap.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Float, Int

from jaxrecon.core import match_varying
from jaxrecon.physics import _gather
from jaxrecon.physics.nufft import _kernel
from jaxrecon.physics.nufft._grid import padded_shape
from jaxrecon.physics.nufft._plan import Plan

# Points whose weights exist at a time.
POINTS = 1 << 18
# Taps that are unrolled into one fusion. XLA:CPU of jax 0.10 evaluates weights and rows again and
# again in large ones (a trajectory's gradient took 0.9 s instead of 0.13); later ones do not.
UNROLLED = 64 if jax.__version_info__ >= (0, 11) else 15
# Cells an axis within which the order of points does not matter to caches.
TILE = 4
# Numbers that the weighted rows of a chunk of points may take while it is spread.
ROWS = 1 << 19


class Places(NamedTuple):
    """Where points touch the padded grid, axes in the grid's order."""

    first: Int[Array, "point axis"]
    weights: tuple[Float[Array, "point tap"], ...]


def interpolate(
    plan: Plan, points: Float[Array, "point axis"], grids: Complex[Array, "batch *padded"]
) -> Complex[Array, "batch point"]:
    """The grids' values at points, in cycles per field of view."""
    table = jnp.moveaxis(grids, 0, -1).reshape(-1, grids.shape[0])
    table = lax.optimization_barrier(table)
    values = _gather.map_chunks(lambda p: _read(plan, p[0], table), (points,), POINTS)
    # The barriers keep XLA from fusing a transpose with the gathers, whose order is what counts.
    return lax.optimization_barrier(values).T


def spread(
    plan: Plan, points: Float[Array, "point axis"], values: Complex[Array, "batch point"]
) -> Complex[Array, "batch *padded"]:
    """The adjoint of `interpolate`."""
    on_cpu, elsewhere = (functools.partial(f, plan) for f in (_add_points, _add_taps))
    return lax.platform_dependent(points, values, cpu=on_cpu, default=elsewhere)


def tiles(plan: Plan, points: Float[Array, "point axis"]) -> Int[Array, " point"]:
    """A number for each point, the same within a tile of `TILE` cells an axis."""
    first = _places(plan, points).first // TILE
    return first @ jnp.asarray(_strides([n // TILE + 1 for n in padded_shape(plan)]), jnp.int32)


def _places(plan: Plan, points: Float[Array, "point axis"]) -> Places:
    """First cells and weights of points; a point that is not finite has NaN weights."""
    n_cells = jnp.asarray(plan.grid_shape, points.dtype)
    scale = jnp.asarray([m / n for m, n in zip(plan.grid_shape, plan.image_shape)], points.dtype)
    cells = jnp.mod(points * scale, n_cells)
    lowest = jnp.ceil(cells - plan.width / 2)
    place = 2 * (lowest - cells + plan.width / 2) - 1  # in [-1, 1)
    pieces = _kernel.pieces(plan.width, plan.oversampling, plan.eps)
    weights = jnp.zeros((*place.shape, plan.width), place.dtype)
    for power in pieces[::-1]:
        weights = weights * place[..., None] + jnp.asarray(power, place.dtype)
    first = jnp.clip(lowest.astype(jnp.int32) + plan.width // 2, 0, n_cells.astype(jnp.int32))
    places = Places(first[:, ::-1], tuple(jnp.moveaxis(weights, 1, 0)[::-1]))
    # Otherwise XLA evaluates the polynomials again for every tap and coil that wants them.
    return lax.optimization_barrier(places)


def _read(
    plan: Plan,
    points: Float[Array, "point axis"],
    table: Complex[Array, "cell batch"],
) -> Complex[Array, "point batch"]:
    places = _places(plan, points)
    shape = padded_shape(plan)
    strides = _strides(shape)
    start = places.first @ jnp.asarray(strides, jnp.int32)
    inner = max(1, min(len(shape), int(math.log(UNROLLED, plan.width) + 1e-9)))
    outer = len(shape) - inner

    def read(start, weight, total):
        for taps in itertools.product(range(plan.width), repeat=inner):
            factor = weight
            for tap, axis in zip(taps, places.weights[outer:], strict=True):
                factor = factor * axis[:, tap]
            row = start + sum(t * s for t, s in zip(taps, strides[outer:], strict=True))
            total = total + factor[:, None] * _gather.take(table, row)
        return total

    zero = jnp.zeros((points.shape[0], table.shape[-1]), table.dtype)
    zero = match_varying(zero, points, table)
    if not outer:
        return read(start, 1.0, zero)

    def step(total, i):
        weight, offset = _outer_tap(places, strides, outer, _gather.keep_parallel(i))
        return read(start + offset, weight, total), None

    return lax.scan(step, zero, jnp.arange(plan.width**outer, dtype=jnp.int32))[0]


def _add_points(
    plan: Plan, points: Float[Array, "point axis"], values: Complex[Array, "batch point"]
) -> Complex[Array, "batch *padded"]:
    """Spreading as a loop over points, each adding its window."""
    rows = jnp.concatenate([values.real, values.imag]).T
    n_columns = rows.shape[1]
    *shape, last = padded_shape(plan)
    grid = jnp.zeros((*shape, last * n_columns), rows.dtype)

    def add_chunk(grid, chunk):
        points, rows = chunk
        first, (*outer, inner) = _places(plan, points)
        rows = (inner[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
        start = first.at[:, -1].multiply(n_columns)
        return _add_windows(grid, start, _products(outer, points), rows)

    chunk = max(1, ROWS // (plan.width * n_columns))
    grid = match_varying(grid, points, values)
    grid = _gather.fold_chunks(add_chunk, grid, (points, rows), chunk)
    grid = jnp.moveaxis(grid.reshape(*shape, last, n_columns), -1, 0)
    return lax.complex(*jnp.split(grid, 2))


def _products(
    weights: Sequence[Float[Array, "point tap"]], like: Float[Array, "point axis"]
) -> Float[Array, "point ..."]:
    """The products of the weights of all but the last axis, (point, tap, ..., tap, 1)."""
    product = jnp.ones((len(like), 1), like.dtype)
    for axis in reversed(weights):
        product = axis.reshape(*axis.shape, *(1,) * (product.ndim - 1)) * product[:, None]
    return product


def _add_windows(
    grid: Float[Array, "*padded"],
    start: Int[Array, "point axis"],
    outer: Float[Array, "point *tap"],
    rows: Float[Array, "point column"],
) -> Float[Array, "*padded"]:
    """Every point's window, the products of `outer` and its row, added where it starts."""

    def add(grid, point):
        start, outer, row = point
        window = outer * row
        old = lax.dynamic_slice(grid, tuple(start), window.shape)
        return lax.dynamic_update_slice(grid, old + window, tuple(start)), None

    return lax.scan(add, grid, (start, outer, rows))[0]


def _add_taps(
    plan: Plan, points: Float[Array, "point axis"], values: Complex[Array, "batch point"]
) -> Complex[Array, "batch *padded"]:
    """Spreading as one scatter-add of rows for each tap of the window."""
    shape = padded_shape(plan)
    strides = _strides(shape)
    table = jnp.zeros((math.prod(shape), values.shape[0]), values.dtype)
    table = match_varying(table, points, values)

    def add_chunk(table, chunk):
        points, rows = chunk
        places = _places(plan, points)
        start = places.first @ jnp.asarray(strides, jnp.int32)

        def add(table, i):
            weight, offset = _outer_tap(places, strides, len(shape), i)
            cells = table.at[start + offset]
            return cells.add(weight[:, None] * rows, mode="promise_in_bounds"), None

        return lax.scan(add, table, jnp.arange(plan.width ** len(shape), dtype=jnp.int32))[0]

    table = _gather.fold_chunks(add_chunk, table, (points, values.T), POINTS)
    return jnp.moveaxis(table, -1, 0).reshape(-1, *shape)


def _outer_tap(
    places: Places, strides: list[int], n_axes: int, i: Int[Array, ""]
) -> tuple[Float[Array, " point"], Int[Array, ""]]:
    """Weight and cell offset of the i-th combination of taps on the first axes."""
    weight = jnp.ones_like(places.weights[0][:, 0])
    offset = jnp.zeros_like(i)
    for axis in reversed(range(n_axes)):
        width = places.weights[axis].shape[1]
        i, tap = i // width, i % width
        weight = weight * lax.dynamic_index_in_dim(places.weights[axis], tap, 1, False)
        offset = offset + tap * strides[axis]
    return weight, offset


def _strides(shape: Sequence[int]) -> list[int]:
    """Cells from one index to the next along every axis of a table."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
