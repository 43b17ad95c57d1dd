"""Contrast-to-noise ratio of two regions of one image; no reference needed."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.metrics import _unit
from jaxrecon.metrics._unit import Region, Values


def cnr(image: Values, *, region: Region, background: Region) -> Float[Array, ""]:
    """|mean(region) − mean(background)| / std(background), of magnitudes if the image is complex.

    The noise is the population standard deviation of the background, which is to be a region of
    constant truth.

    Args:
        image: any shape, real or complex.
        region: the pixels of the feature, a boolean array of the image's shape.
        background: the pixels it should stand out from.

    Returns:
        A scalar without unit; +inf, with gradient zero, over a background without noise.

    Raises:
        ValueError: a mask that is not boolean or not of the image's shape.

    Example:
        >>> image = jnp.array([5.0, 5.0, 1.0, -1.0])
        >>> feature = jnp.array([True, True, False, False])
        >>> float(cnr(image, region=feature, background=~feature))
        5.0
    """
    _unit.check_mask("region", region, image)
    _unit.check_mask("background", background, image)
    image, _ = _unit.pair(image, image, None)
    image = _unit.magnitude(image)
    level = _unit.mean(image, background)
    variance = _unit.mean(jnp.square(_unit.inside(image - level, background)), background)
    contrast = jnp.abs(_unit.mean(image, region) - level)
    zero = variance == 0
    return jnp.where(zero, jnp.inf, contrast / jnp.sqrt(jnp.where(zero, 1, variance)))
