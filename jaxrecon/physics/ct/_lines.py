"""Rays as lines of the plane: what the projectors need to know about a scan.

Coordinates are pixels with the origin at the centre of the grid: x grows with the column, y with
the row. A line is a homogeneous triple ℓ = (ℓx, ℓy, ℓw) of the points with ℓx x + ℓy y + ℓw = 0;
its scale has no meaning. The rays of one view, parallel or from a point to a flat detector, are a
*pencil* of lines, linear in the bin number b counted from the detector's centre:

    ℓ(b) = ℓ⁰ + b ℓ¹,    b = i − (n_bins − 1)/2                                          (1)

    parallel:  ℓ⁰ = (cos θ, sin θ, −offset),   ℓ¹ = (0, 0, −pitch)                       (2)
    fan:       ℓ⁰ = source × detector,         ℓ¹ = source × axis    (homogeneous)       (3)

so a scan is one array `lines` of shape (view, 2, 3), whatever its geometry. A pixel p = (x, y, 1)
is hit by the bin u where ℓ(u)·p = 0: u = −(ℓ⁰·p) / (ℓ¹·p).

Joseph's method (IEEE Trans. Med. Imaging 1, 1982) steps along the axis to which the line is closer
to parallel, the dominant one, and interpolates linearly along the other. For a y-dominant line
(|ℓx| ≥ |ℓy|) row y is crossed at x = a + m y,

    a = −ℓw/ℓx,    m = −ℓy/ℓx,    step length √(1 + m²)                                  (4)

and pixel p has the weight max(0, 1 − |ℓ·p| / max(|ℓx|, |ℓy|)) · √(1 + m²), which is the same
expression for both dominant axes.                                                      (5)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Rays(NamedTuple):
    """Rays as Joseph's method walks along them, equation (4); each field has one value a ray."""

    along_x: Bool[Array, "view bin"]
    """Whether the ray steps from column to column rather than from row to row."""
    intercept: Float[Array, "view bin"]
    slope: Float[Array, "view bin"]


def bin_numbers(n_bins: int, dtype) -> Float[Array, " bin"]:
    """Bin numbers counted from the detector's centre."""
    return jnp.arange(n_bins, dtype=dtype) - (n_bins - 1) / 2


def pixel_centres(n: int, dtype) -> Float[Array, " n"]:
    """Coordinates of a grid of n pixels along one axis, in pixels from the centre."""
    return jnp.arange(n, dtype=dtype) - (n - 1) / 2


def parallel_lines(
    angles: Float[Array, " view"],
    offset: Float[Array, " view"],
    pitch: Float[Array, " view"],
) -> Float[Array, "view 2 3"]:
    """Pencils of parallel rays, equation (2); offset and pitch in pixels."""
    zero = jnp.zeros_like(angles)
    first = jnp.stack([jnp.cos(angles), jnp.sin(angles), -offset], -1)
    return jnp.stack([first, jnp.stack([zero, zero, zero - pitch], -1)], 1)


def fan_lines(
    source: Float[Array, "view 2"],
    detector: Float[Array, "view 2"],
    axis: Float[Array, "view 2"],
) -> Float[Array, "view 2 3"]:
    """Pencils of rays from a point to a flat detector, equation (3).

    Args:
        source: positions (x, y) of the focal spot, in pixels.
        detector: positions of the detector's centre.
        axis: vectors from one bin to the next.
    """
    (sx, sy), (cx, cy), (ux, uy) = source.T, detector.T, axis.T
    first = jnp.stack([sy - cy, cx - sx, sx * cy - sy * cx], -1)
    return jnp.stack([first, jnp.stack([-uy, ux, sx * uy - sy * ux], -1)], 1)


def line_components(
    lines: Float[Array, "view 2 3"], n_bins: int
) -> tuple[Float[Array, "view bin"], ...]:
    """The lines of every bin, equation (1), as their three components."""
    b = bin_numbers(n_bins, lines.dtype)
    return tuple(lines[:, :1, k] + b * lines[:, 1:, k] for k in range(3))


def rays(lines: Float[Array, "view 2 3"], n_bins: int) -> Rays:
    """Every ray's dominant axis, intercept and slope, equation (4)."""
    lx, ly, lw = line_components(lines, n_bins)
    along_x = jnp.abs(lx) < jnp.abs(ly)
    inverse = -1 / jnp.where(along_x, ly, lx)
    return Rays(along_x, lw * inverse, jnp.where(along_x, lx, ly) * inverse)


def step_lengths(lines: Float[Array, "view 2 3"], n_bins: int) -> Float[Array, "view bin"]:
    """Length of a ray between two rows (or columns), in pixels."""
    lx, ly, _ = line_components(lines, n_bins)
    return jnp.sqrt(lx**2 + ly**2) / jnp.maximum(jnp.abs(lx), jnp.abs(ly))


def widest_support(
    lines: Float[Array, "view 2 3"], image_shape: tuple[int, int]
) -> Float[Array, " view"]:
    """Half of the largest number of bins that can see one pixel, for each view.

    Bin b sees pixel p when |b − u| < |ℓ(b)|∞ / |ℓ¹·p|, from (5). Since |ℓ(b)|∞ is at most
    |ℓ(u)|∞ + |b − u| |ℓ¹|∞, a bound is |ℓ(u)|∞ / (|ℓ¹·p| − |ℓ¹|∞): exact for parallel rays, and
    0.3 % too large for a fan. It falls along every ray, so the pixels on the border suffice; of
    those 33 on each side are looked at. Infinite where the source is on or in the grid.
    """
    first, second = lines[:, None, 0], lines[:, None, 1]
    points = _border(image_shape, lines.dtype)
    at_first, at_second = (jnp.sum(line * points, -1) for line in (first, second))
    bin_hit = -at_first / at_second
    directions = first[..., :2] + bin_hit[..., None] * second[..., :2]
    gap = jnp.abs(at_second) - jnp.max(jnp.abs(second[..., :2]), -1)
    reach = jnp.max(jnp.abs(directions), -1) / gap
    one_side = (jnp.all(at_second > 0, 1) | jnp.all(at_second < 0, 1)) & jnp.all(gap > 0, 1)
    return jnp.where(one_side, jnp.max(reach, 1), jnp.inf)


def _border(image_shape: tuple[int, int], dtype) -> Float[Array, "point 3"]:
    n_y, n_x = image_shape
    t = jnp.linspace(-0.5, 0.5, 33, dtype=dtype)
    edge = jnp.full_like(t, 0.5)
    xy = [(t, edge), (t, -edge), (edge, t), (-edge, t)]
    x, y = (jnp.concatenate([pair[k] for pair in xy]) for k in range(2))
    return jnp.stack([x * (n_x - 1), y * (n_y - 1), jnp.ones_like(x)], -1)


def poison(
    lines: Float[Array, "view 2 3"], image_shape: tuple[int, int], taps: int
) -> Float[Array, "view 2 3"]:
    """`lines`, with NaN for the views whose pixels are seen by more than `taps` bins."""
    rounding = 1 + 16 * jnp.finfo(lines.dtype).eps
    good = 2 * widest_support(jax.lax.stop_gradient(lines), image_shape) <= taps * rounding
    return jnp.where(good[:, None, None], lines, jnp.nan)
