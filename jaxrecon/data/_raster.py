"""Images of ellipses: sampled at points, or averaged over the area of every pixel.

Pixel i of n along an axis has its centre at (i − (n − 1)/2)·pixel in CT (`origin="centre"`), and at
(i − n//2)·pixel in Fourier imaging (`origin="fourier"`).

The average over a pixel's area is exact along x, where a row cuts an ellipse in an interval whose
overlap with a pixel is known, and a sum over `rows` lines inside the pixel along y. Hence it is
differentiable in the parameters almost everywhere, which a sampled image is only in the values.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.data._ellipses import Ellipses, safe_sqrt, sum_over, to_unit_disc

Origin = Literal["centre", "fourier"]


def rasterise(
    phantom: Ellipses,
    shape: tuple[int, int],
    *,
    pixel: float | Float[Array, ""] = 1.0,
    origin: Origin = "centre",
) -> Float[Array, "y x"]:
    """The phantom at the pixels' centres. Its derivatives are those in `value` only.

    Args:
        phantom: the ellipses.
        shape: rows and columns.
        pixel: side of a pixel in the phantom's unit of length.
        origin: which index is the origin of lengths, see the module.

    Raises:
        ValueError: an unknown `origin`.

    Example:
        >>> from jaxrecon.data import modified_shepp_logan
        >>> image = rasterise(modified_shepp_logan(half_width=32.0), (64, 64))
        >>> round(float(image[32, 32]), 3), float(image[0, 0])
        (0.2, 0.0)
    """
    y, x = (_coordinates(n, origin) * pixel for n in shape)

    def term(ellipse):
        u, v = to_unit_disc(ellipse, x - ellipse.centre[0], y[:, None] - ellipse.centre[1])
        return jnp.where(u**2 + v**2 <= 1, ellipse.value, 0)

    return sum_over(phantom, term, shape)


def area_average(
    phantom: Ellipses,
    shape: tuple[int, int],
    *,
    pixel: float | Float[Array, ""] = 1.0,
    origin: Origin = "centre",
    rows: int = 8,
) -> Float[Array, "y x"]:
    """The phantom averaged over every pixel: what a scan of finite resolution can hope for.

    Args:
        phantom: the ellipses.
        shape: rows and columns.
        pixel: side of a pixel in the phantom's unit of length.
        origin: which index is the origin of lengths, see the module.
        rows: lines inside a pixel on which it is integrated exactly.

    Raises:
        ValueError: an unknown `origin`, or `rows` is not positive.

    Example:
        >>> from jaxrecon.data import ellipses
        >>> disc = ellipses([2.0], [(0.3, -0.4)], [(5.0, 5.0)])
        >>> abs(float(area_average(disc, (16, 16)).sum()) / (2 * jnp.pi * 25) - 1) < 1e-3
        True
    """
    if rows < 1:
        raise ValueError(f"`rows` is {rows}; expected at least 1 line a pixel")
    y, x = (_coordinates(n, origin) * pixel for n in shape)
    lines = (jnp.arange(rows, dtype=y.dtype) + 0.5) / rows - 0.5
    y = (y[:, None] + lines * pixel).ravel()

    def term(ellipse):
        middle, half = _interval(ellipse, y - ellipse.centre[1])
        first = jnp.maximum((ellipse.centre[0] + middle - half)[:, None], x - pixel / 2)
        last = jnp.minimum((ellipse.centre[0] + middle + half)[:, None], x + pixel / 2)
        covered = jnp.maximum(last - first, 0) / pixel
        return ellipse.value * covered.reshape(shape[0], rows, shape[1]).mean(1)

    return sum_over(phantom, term, shape)


def _interval(
    ellipse: Ellipses, y: Float[Array, " line"]
) -> tuple[Float[Array, " line"], Float[Array, " line"]]:
    """Middle and half length of the interval in x that a horizontal line cuts, from the centre.

    |M(x, y)|² = 1 is x² |p|² + 2 x y p·q + y² |q|² = 1 with p = M(1, 0) and q = M(0, 1), whose
    discriminant is |p|² − y² (p × q)² and p × q = 1/(ab).
    """
    one = jnp.ones_like(ellipse.angle)
    p, q = to_unit_disc(ellipse, one, 0 * one), to_unit_disc(ellipse, 0 * one, one)
    squared = p[0] ** 2 + p[1] ** 2
    middle = -y * (p[0] * q[0] + p[1] * q[1]) / squared
    return middle, safe_sqrt(squared - (y / jnp.prod(ellipse.semi_axes)) ** 2) / squared


def _coordinates(n: int, origin: Origin) -> Float[Array, " n"]:
    if origin not in ("centre", "fourier"):
        raise ValueError(f"`origin` is {origin!r}; expected 'centre' or 'fourier'")
    return jnp.arange(n, dtype=float) - ((n - 1) / 2 if origin == "centre" else n // 2)
