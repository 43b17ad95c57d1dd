"""What all metrics share: the pair that is compared, its data range, means over a mask."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Inexact, Num

Values = Num[Array | np.ndarray, "..."]
"""An image or volume as a caller may hold it."""

Region = Bool[Array | np.ndarray, "..."]
"""The pixels that count, of the shape of the image."""


def pair(image: Values, reference: Values, mask: Region | None) -> tuple[Array, Array]:
    """Both arrays in their common precision, at least single.

    Raises:
        ValueError: shapes differ, or the mask is not boolean.
    """
    if image.shape != reference.shape:
        raise ValueError(
            f"`image` has shape {image.shape}, expected {reference.shape} as `reference` has: "
            "crop or resample one of them"
        )
    check_mask("mask", mask, reference)
    dtype = jnp.promote_types(jnp.result_type(image, reference), jnp.float32)
    return jnp.asarray(image, dtype), jnp.asarray(reference, dtype)


def check_mask(name: str, mask: Region | None, image: Values) -> None:
    """Refuses what is not a boolean array of the image's shape."""
    if mask is None:
        return
    if mask.shape != image.shape:
        raise ValueError(
            f"`{name}` has shape {mask.shape}, expected {image.shape} as the image has: "
            "broadcast it with jnp.broadcast_to"
        )
    if mask.dtype != bool:
        raise ValueError(f"`{name}` has dtype {mask.dtype}, expected bool: pass `{name} > 0`")


def magnitude(x: Array) -> Array:
    """|x| of complex values; real ones as they are, with their sign. The gradient at 0 is 0."""
    if not jnp.iscomplexobj(x):
        return x
    return safe_sqrt(squares(x))


def squares(x: Array) -> Array:
    """|x|², real."""
    return x.real**2 + x.imag**2 if jnp.iscomplexobj(x) else x**2


def data_range(reference: Inexact[Array, "..."], mask: Region | None) -> Array:
    """max|reference| of the unit evaluated: over the whole array, inside the mask."""
    return jnp.max(jnp.abs(magnitude(reference)), initial=0, where=_where(mask))


def positive(data_range: Array) -> Array:
    """The range, or 1 for a blank image, which has none."""
    return jnp.where(data_range > 0, data_range, 1)


def total(x: Array, mask: Region | None) -> Array:
    """Σ x inside the mask; what lies outside, NaN included, reaches neither value nor gradient."""
    return jnp.sum(x if mask is None else jnp.where(mask, x, 0))


def mean(x: Array, mask: Region | None) -> Array:
    """The mean of x inside the mask; NaN if the mask is empty."""
    return jnp.mean(x) if mask is None else total(x, mask) / jnp.sum(mask)


def inside(x: Array, mask: Region | None) -> Array:
    """X with zeros outside the mask."""
    return x if mask is None else jnp.where(mask, x, 0)


def safe_sqrt(x: Array) -> Array:
    """√x with gradient zero, not NaN, at zero."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def decibels(signal: Array, noise: Array) -> Array:
    """10 log₁₀(signal / noise) of two powers; +inf, with gradient zero, where there is no noise."""
    zero = noise == 0
    return jnp.where(zero, jnp.inf, 10 * jnp.log10(signal / jnp.where(zero, 1, noise)))


def _where(mask: Region | None) -> Array | None:
    return None if mask is None else jnp.asarray(mask)
