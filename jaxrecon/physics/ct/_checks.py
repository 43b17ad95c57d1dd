"""What the factories of scans check and convert, and how many taps a scan needs."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from jaxrecon.physics.ct import _lines

# What factories take for an array.
Numbers = ArrayLike | Sequence[Any]


def floats(name: str, value: Numbers, shape: tuple[int | None, ...]) -> Float[Array, "..."]:
    """`value` as a floating point array of the given shape; `None` stands for any length.

    Raises:
        ValueError: another shape, complex numbers, or, where values are known, not finite.
    """
    array = jnp.asarray(value)
    if jnp.iscomplexobj(array):
        raise ValueError(f"`{name}` is complex, expected real numbers")
    wanted = tuple("n" if n is None else n for n in shape)
    if array.ndim != len(shape) or any(
        n not in (None, m) for n, m in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(f"`{name}` has shape {array.shape}, expected {wanted}")
    if not isinstance(array, Tracer) and not np.isfinite(np.asarray(array)).all():
        raise ValueError(f"`{name}` holds values that are not finite: remove those views")
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def each_view(name: str, value: Numbers, like: Array) -> Float[Array, " view"]:
    """One number, or one for each view, as an array with one for each view."""
    array = floats(name, value, np.shape(value) and (like.shape[0],))
    return jnp.broadcast_to(array.astype(like.dtype), like.shape[:1])


def sizes(image_shape: Any, n_bins: Any) -> tuple[tuple[int, int], int]:
    """The static sizes as plain integers.

    Raises:
        ValueError: not two positive integers, or not a positive integer.
    """
    shape = tuple(image_shape)
    if len(shape) != 2 or any(int(n) != n or n < 1 for n in shape):
        raise ValueError(f"`image_shape` is {shape}, expected two positive integers (y, x)")
    if int(n_bins) != n_bins or n_bins < 1:
        raise ValueError(f"`n_bins` is {n_bins}, expected a positive integer")
    return (int(shape[0]), int(shape[1])), int(n_bins)


def positive(name: str, value: Any) -> float:
    """A static positive number.

    Raises:
        ValueError: the value is traced, or not a positive finite number.
    """
    if isinstance(value, Tracer):
        raise ValueError(
            f"`{name}` is traced, but it decides the program's size: pass a plain number, "
            "or pass `taps`"
        )
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` is {value}, expected a positive number")
    return float(value)


def smallest(name: str, value: Any) -> float:
    """The smallest of known positive numbers.

    Raises:
        ValueError: the values are traced, or not all positive and finite.
    """
    return positive(name, value if isinstance(value, Tracer) else np.min(value))


def taps_for(lines: Float[Array, "view 2 3"], image_shape: tuple[int, int]) -> int:
    """The smallest number of taps that covers every view of known `lines`.

    Raises:
        ValueError: a source lies on or in the image.
    """
    reach = float(jnp.max(_lines.widest_support(lines, image_shape)))
    if not math.isfinite(reach):
        raise ValueError(
            "a source lies in the image or beside it within its extent along the rays: "
            "check `source_origin`, `pixel` and `image_shape`, which share one unit of length"
        )
    return max(1, math.ceil(2 * reach * (1 - 1e-6)))


def part_of_views(i: Any, n: int, n_views: int) -> Array:
    """Indices of the views i, i + n, i + 2n, ...; i may be traced.

    Raises:
        ValueError: n does not divide the number of views, so parts would have unequal sizes.
    """
    if n < 1 or n_views % n:
        raise ValueError(f"`n` is {n}, which does not divide the {n_views} views in equal parts")
    return jnp.asarray(i) + n * jnp.arange(n_views // n)
