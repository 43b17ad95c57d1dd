"""Collaborative filtering of groups of patches, and the weighted average that puts them back.

The two-dimensional transform is linear, so it is applied once to every patch of the band before
groups are gathered, and inverted once after the filtered groups are summed: a group of patches is
a gather of rows of n² coefficients, its return a scatter of rows.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from jaxrecon.functionals.denoisers.bm3d._match import Grid, Matches
from jaxrecon.functionals.denoisers.bm3d._transforms import group_transforms, separable


class Sums(NamedTuple):
    """The weighted sum of patch estimates at every pixel, and the sum of the weights."""

    estimate: Float[Array, "h w"]
    weight: Float[Array, "h w"]


class Group(NamedTuple):
    """Similar patches: where they start, how many of them count, how they are transformed."""

    position: Int[Array, "ref k"]
    taken: Float[Array, "ref k"]  # 1 for the first 2^m of them, else 0
    transform: Float[Array, "ref k k"]  # Haar over those


def group(matches: Matches, limit: Any, dtype: Any) -> Group:
    """The largest power of two of the matches at distances up to `limit`, the reference first."""
    k = 1 << (matches.position.shape[1].bit_length() - 1)
    position, distance = matches.position[:, :k], matches.distance[:, :k]
    count = jnp.sum(jnp.isfinite(distance) & (distance <= limit), 1)
    sizes = 2 ** jnp.arange(k.bit_length())
    # The reference itself is a match whatever the limit.
    level = jnp.maximum(jnp.sum(count[:, None] >= sizes, 1) - 1, 0)
    taken = (jnp.arange(k) < sizes[level][:, None]).astype(dtype)
    return Group(position, taken, jnp.asarray(group_transforms(k), dtype)[level])


def hard_threshold(
    band: Float[Array, "h w"],
    found: Group,
    threshold: Float[Array, ""],
    basis: np.ndarray,
    window: np.ndarray,
    grid: Grid,
) -> Sums:
    """Sets group coefficients up to `threshold` to zero; weights 1 / number of the others."""
    coefficients = _coefficients(band, basis, grid)[found.position]
    spectrum = _product("rij,rjc->ric", found.transform, coefficients)
    kept = jnp.abs(spectrum) > threshold
    number = jnp.sum(kept, (1, 2))
    weight = 1 / jnp.maximum(number, 1).astype(band.dtype)
    return _aggregate(jnp.where(kept, spectrum, 0), weight, found, basis, window, grid)


def wiener(
    band: Float[Array, "h w"],
    basic: Float[Array, "h w"],
    found: Group,
    sigma: Float[Array, ""],
    basis: np.ndarray,
    window: np.ndarray,
    grid: Grid,
) -> Sums:
    """Multiplies group coefficients by S²/(S² + σ²), S those of the basic estimate."""
    both = jnp.stack([_coefficients(image, basis, grid) for image in (band, basic)], 1)
    both = both[found.position]
    noisy, clean = (_product("rij,rjc->ric", found.transform, both[:, :, i]) for i in (0, 1))
    power = (clean / sigma) ** 2
    gain = power / (power + 1)
    energy = jnp.sum(gain**2, (1, 2))
    # Gains that are all but zero say that there is nothing here, not that it is exact.
    weight = 1 / jnp.maximum(energy, 1e-3)
    return _aggregate(gain * noisy, weight, found, basis, window, grid)


def _coefficients(band: Array, basis: np.ndarray, grid: Grid) -> Float[Array, "start c"]:
    """The transform of every patch of the band."""
    rows, columns = grid.starts
    n = grid.patch
    shifts = [band[i : i + rows, j : j + columns] for i in range(n) for j in range(n)]
    matrix = jnp.asarray(separable(basis).T, band.dtype)
    return _product("pu,uc->pc", jnp.stack(shifts, -1).reshape(-1, n * n), matrix)


def _aggregate(
    spectrum: Float[Array, "ref k c"],
    weight: Float[Array, "ref"],
    found: Group,
    basis: np.ndarray,
    window: np.ndarray,
    grid: Grid,
) -> Sums:
    rows, columns = grid.starts
    n, dtype = grid.patch, spectrum.dtype
    patches = _product("rji,rjc->ric", found.transform, weight[:, None, None] * spectrum)
    position = found.position.ravel()
    sums = jnp.zeros((rows * columns, n * n), dtype).at[position].add(patches.reshape(-1, n * n))
    weights = jnp.zeros(rows * columns, dtype)
    weights = weights.at[position].add((weight[:, None] * found.taken).ravel())
    pixel_window = np.outer(window, window).ravel()
    back = jnp.asarray(separable(np.linalg.inv(basis)).T * pixel_window, dtype)
    numerator = _product("pc,cu->pu", sums, back).reshape(rows, columns, n, n)
    along = jnp.asarray(window, dtype)
    denominator = weights.reshape(rows, columns, 1, 1) * along[:, None] * along
    return Sums(_fold(numerator), _fold(denominator))


def _fold(patches: Float[Array, "r c n n"]) -> Float[Array, "h w"]:
    """The sum of overlapping patches, the adjoint of cutting them out."""
    n = patches.shape[-1]
    pads = lambda i: (i, n - 1 - i)  # noqa: E731
    tall = sum(jnp.pad(patches[:, :, i], (pads(i), (0, 0), (0, 0))) for i in range(n))
    return sum(jnp.pad(tall[:, :, j], ((0, 0), pads(j))) for j in range(n))  # pyright: ignore


def _product(formula: str, a: Array, b: Array) -> Array:
    return jnp.einsum(formula, a, b, precision=Precision.HIGHEST)
