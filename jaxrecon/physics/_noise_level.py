"""How noisy are data that nobody calibrated? Robust estimates from the data themselves.

Both take a median of absolute values, 1.4826 of which are the standard deviation of normal noise
(Rousseeuw and Croux, JASA 88, 1993), of something that is nearly all noise:

- second differences, −1, 2, −1, from view to view and bin to bin: line integrals are smooth but for
  few edges, which a median does not see;
- the outermost samples of k-space, where an image has the least.

What is left of the signal there makes the estimate too large, never too small.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

_TO_DEVIATION = 1.4826


def noise_from_differences(
    data: Float[Array, "*axes"],
    weights: Float[Array, "*axes"] | None = None,
    *,
    axes: tuple[int, ...] = (-2, -1),
) -> Float[Array, ""]:
    """The noise of data that are smooth along some axes.

    Args:
        data: line integrals, or an image.
        weights: inverse variances up to one factor, zero where data are missing.
        axes: along which second differences are taken, one after the other: view and bin by
            default. Of a head in 60 views they overrate noise by 17 %, in 180 by 5 %; differences
            along bins alone do so by 25 and 30 %.

    Returns:
        Standard deviation where the weight is one (everywhere without weights); with weights that
        are exact inverse variances it is one. Zero where nothing has all its neighbours.

    Raises:
        ValueError: fewer than three values along one of the axes.

    Example:
        >>> ramp = jnp.linspace(0.0, 9.0, 200) + jnp.zeros((50, 1))
        >>> noisy = ramp + 0.1 * jax.random.normal(jax.random.key(0), ramp.shape)
        >>> abs(float(noise_from_differences(noisy)) - 0.1) < 0.005
        True
    """
    short = [axis for axis in axes if data.shape[axis] < 3]
    if short:
        raise ValueError(
            f"`data` has shape {data.shape}, expected at least 3 along axis {short[0]}; leave "
            "short ones out of `axes`"
        )
    bend, spread = data, jnp.ones_like(data) if weights is None else 1 / weights
    for axis in axes:
        bend = _stencil(bend, (-1, 2, -1), axis)
        spread = _stencil(spread, (1, 4, 1), axis)
    return _deviation(jnp.where(jnp.isfinite(spread), bend / jnp.sqrt(spread), jnp.nan))


def _stencil(values: Array, coefficients: tuple[int, int, int], axis: int) -> Array:
    """Weighted sums of three neighbours, where there are three."""
    n = values.shape[axis] - 2
    parts = [jax.lax.slice_in_dim(values, i, i + n, axis=axis) for i in range(3)]
    return sum(c * part for c, part in zip(coefficients, parts, strict=True))  # pyright: ignore[reportReturnType]


def noise_from_periphery(
    kspace: Complex[Array, "*coils sample"], radius: Float[Array, " sample"], *, share: float = 0.05
) -> Float[Array, ""]:
    """The noise of k-space, from the samples farthest from its centre.

    Args:
        kspace: prewhitened samples, coils first.
        radius: of each sample, in any unit; NaN where nothing was sampled.
        share: of the samples that count.

    Returns:
        Standard deviation of the real and of the imaginary part.

    Raises:
        ValueError: a share that is none.

    Example:
        >>> noise = 0.1 * jax.random.normal(jax.random.key(0), (4, 4000, 2))
        >>> level = noise_from_periphery(noise[..., 0] + 1j * noise[..., 1], jnp.arange(4000.0))
        >>> abs(float(level) - 0.1) < 0.01
        True
    """
    if not 0 < share <= 1:
        raise ValueError(f"`share` is {share}, expected more than 0 and at most 1")
    outside = radius >= jnp.nanquantile(radius, 1 - share)
    parts = jnp.stack([kspace.real, kspace.imag])
    return _deviation(jnp.where(outside, parts, jnp.nan))


def _deviation(values: Array) -> Array:
    """Of normal values about zero, NaN left out."""
    level = _TO_DEVIATION * jnp.nanmedian(jnp.abs(values))
    return jnp.where(jnp.isnan(level), 0, level)
