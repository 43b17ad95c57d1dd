"""Block matching: the K patches most like each reference patch, in a square search window.

Reference patches of n×n pixels start at every `step`-th row and column. For each of the (2S+1)²
offsets the distances of all reference patches at once are a box filter of a squared difference,

    d_o(r) = (1/n²) Σ_u (y(r + u) − y(r + o + u))²,                                        (1)

evaluated only where reference patches start. Columns are kept split in `step` phases (column
step·i + q is entry i of phase q), so that this strided sum is one of contiguous slices.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Grid(NamedTuple):
    """Sizes that fix the program: see the fields' comments."""

    patch: int  # n, pixels along a side
    step: int  # pixels between reference patches
    search: int  # S, pixels on each side
    rows: int  # reference rows in the band
    columns: int  # reference columns

    @property
    def height(self) -> int:
        """Pixel rows of the band, S above and below the reference patches."""
        return self.step * (self.rows - 1) + self.patch + 2 * self.search

    @property
    def width(self) -> int:
        """Pixel columns, from the first to the last reference patch."""
        return self.step * (self.columns - 1) + self.patch

    @property
    def starts(self) -> tuple[int, int]:
        """How many patches fit into the band: rows and columns of patch positions."""
        return self.height - self.patch + 1, self.width - self.patch + 1


class Matches(NamedTuple):
    """The best patches of each reference patch, best first (itself)."""

    position: Int[Array, "ref k"]  # of the patch's first pixel, flat over `Grid.starts`
    distance: Float[Array, "ref k"]  # mean squared difference; inf where there is no such patch


def match(band: Float[Array, "h w"], inside: Bool[Array, "r"], grid: Grid, n_best: int) -> Matches:
    """The `n_best` nearest patches within the search window of each reference patch.

    Args:
        band: image rows, `grid.height` × `grid.width`; a constant to derivatives.
        inside: for every row of patch positions, whether such a patch lies in the image.
        grid: the band's geometry.
        n_best: K.
    """
    side, stride = 2 * grid.search + 1, grid.starts[1]
    offset = jnp.arange(side) - grid.search
    row = grid.step * jnp.arange(grid.rows) + grid.search
    column = grid.step * jnp.arange(grid.columns)
    valid_row = inside[offset[:, None] + row][:, None, :, None]
    moved = offset[:, None] + column
    valid_column = ((moved >= 0) & (moved < stride))[None, :, None, :]
    distances = _distances(jax.lax.stop_gradient(band), grid)
    distances = jnp.where(valid_row & valid_column, distances, jnp.inf)
    table = distances.reshape(side**2, -1).T
    negative, chosen = jax.lax.top_k(-table, min(n_best, side**2))
    start = (row[:, None] * stride + column).reshape(-1, 1)
    y, x = jnp.divmod(chosen, side)
    position = start + (y - grid.search) * stride + (x - grid.search)
    return Matches(jnp.where(jnp.isfinite(negative), position, start), -negative)


def _distances(band: Float[Array, "h w"], grid: Grid) -> Float[Array, "dy dx row column"]:
    """Equation (1) for all offsets, meaningless where the other patch leaves the band."""
    step, margin = grid.step, -(-grid.search // grid.step)
    phases, reference = _phases(band, grid, margin)
    n_columns = reference.shape[2]
    height = grid.height - 2 * grid.search

    def one(dy, m, s):
        other = jax.lax.dynamic_slice(phases, (s, dy, m), (step, height, n_columns))
        squares = (reference - other) ** 2
        rows = step * (grid.rows - 1) + 1
        tall = _total([squares[:, u : u + rows : step] for u in range(grid.patch)])
        entries = lambda v: slice(v // step, v // step + grid.columns)  # noqa: E731
        wide = _total([tall[v % step, :, entries(v)] for v in range(grid.patch)])
        return wide / grid.patch**2

    def line(dy):
        several = lambda m: jnp.stack([one(dy, m, s) for s in range(step)])  # noqa: E731
        shifts = jax.lax.map(several, jnp.arange(2 * margin + 1))
        skip = step * margin - grid.search
        return shifts.reshape(-1, grid.rows, grid.columns)[skip : skip + 2 * grid.search + 1]

    return jax.lax.map(line, jnp.arange(2 * grid.search + 1))


def _phases(band: Array, grid: Grid, margin: int) -> tuple[Array, Array]:
    """Column phases of the band with `margin` entries on each side, and of its inner rows."""
    step = grid.step
    entries = grid.columns + (grid.patch - 1) // step
    total = entries + 2 * margin
    right = step * (total + 1) - step * margin - band.shape[1]
    padded = jnp.pad(band, ((0, 0), (step * margin, right)))
    split = [padded[:, q : q + step * total : step] for q in range(2 * step - 1)]
    phases = jnp.stack(split)
    inner = slice(grid.search, grid.height - grid.search)
    return phases, phases[:step, inner, margin : margin + entries]


def _total(parts: list[Array]) -> Array:
    return functools.reduce(jnp.add, parts)
