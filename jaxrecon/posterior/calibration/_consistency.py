"""Whether an image explains its data: normalised residuals and their chi-square statistic.

    Gaussian:  r = (y − A x) / σ               complex: σ of each part, so E|r|² = 2          (1)
    Poisson:   r = (N − λ) / √(λ + σ_e²)       λ the expected counts, σ_e electronic noise    (2)
    T = Σ|r|²,   E T = m, the number of real measurements                                    (3)

Shown as an image, r tells where a reconstruction leaves its data. T has mean m for the truth, and
for every sample of the exact posterior: (sample, data) have the distribution of (truth, data). Less
than m says that noise was fitted, more that data were not; a posterior mean, which is nearer to the
data than the truth is, has less. Counts are no Gaussians: a bin's r² has the variance

    2 + λ / (λ + σ_e²)²                                                                      (4)

and T is judged as a scaled chi-square variable of that mean and variance (Satterthwaite).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact

from jaxrecon.posterior.calibration._chi_square import chi_square_tail


class Consistency(NamedTuple):
    """How well an image explains its data."""

    residuals: Inexact[Array, "*shape"]
    """r of equation (1) or (2), zero outside the mask."""
    statistic: Float[Array, ""]
    """T of equation (3)."""
    reduced: Float[Array, ""]
    """T/m: 1 for the truth; below, noise was fitted."""
    p_value: Float[Array, ""]
    """Two-sided: small if T is far from m on either side."""


def gaussian_consistency(
    predicted: Inexact[Array, "*shape"],
    measured: Inexact[Array, "*shape"],
    sigma: int | float | Float[Array, "..."],
    *,
    mask: Bool[Array, "*shape"] | None = None,
) -> Consistency:
    """Residuals and their statistic under Gaussian noise, equations (1) and (3).

    Args:
        predicted: A x, noiseless.
        measured: y, in the same units.
        sigma: standard deviation of the noise, of each part of complex data; broadcasts.
        mask: the entries that were measured.

    Returns:
        Dimensionless residuals and the test of their size.

    Raises:
        ValueError: only one of predicted and measured is complex.

    Example:
        >>> found = gaussian_consistency(jnp.zeros(4), jnp.array([2.0, -2.0, 2.0, 2.0]), 2.0)
        >>> float(found.statistic), float(found.reduced)
        (4.0, 1.0)
    """
    if jnp.iscomplexobj(predicted) != jnp.iscomplexobj(measured):
        raise ValueError(
            f"`predicted` is {predicted.dtype} and `measured` {measured.dtype}, expected both "
            "real or both complex"
        )
    residuals = _inside((measured - predicted) / sigma, mask)
    degrees = 2.0 if jnp.iscomplexobj(residuals) else 1.0
    per_entry = _inside(jnp.full(residuals.shape, degrees, residuals.real.dtype), mask)
    return _judged(residuals, jnp.sum(per_entry), jnp.sum(2 * per_entry))


def poisson_consistency(
    expected: Float[Array, "*shape"],
    counts: Float[Array, "*shape"],
    *,
    electronic: int | float | Float[Array, "..."] = 0.0,
    mask: Bool[Array, "*shape"] | None = None,
) -> Consistency:
    """Pearson's residuals of counts and their statistic, equations (2) to (4).

    Args:
        expected: λ, the counts that the image predicts, background included.
        counts: N, photons.
        electronic: standard deviation σ_e of the read-out noise, in photons.
        mask: the bins that were measured; elsewhere λ may be zero.

    Returns:
        Dimensionless residuals and the test of their size. A bin with λ = 0 that counts nothing has
        residual 0 and no weight, one that counts something an infinite residual.

    Example:
        >>> found = poisson_consistency(jnp.full(2, 9.0), jnp.array([6.0, 15.0]))
        >>> found.residuals.tolist(), float(found.statistic)
        ([-1.0, 2.0], 5.0)
    """
    variance = expected + jnp.square(jnp.asarray(electronic, expected.dtype))
    certain = variance == 0
    divisor = jnp.where(certain, 1, variance)
    difference = counts - expected
    surprise = jnp.where(difference == 0, 0, jnp.inf * jnp.sign(difference))
    residuals = _inside(jnp.where(certain, surprise, difference / jnp.sqrt(divisor)), mask)
    mean = _inside(jnp.where(certain, 0, jnp.ones_like(variance)), mask)
    spread = _inside(jnp.where(certain, 0, 2 + expected / divisor**2), mask)
    return _judged(residuals, jnp.sum(mean), jnp.sum(spread))


def _inside(values: Array, mask: Array | None) -> Array:
    return values if mask is None else jnp.where(mask, values, 0)


def _judged(residuals: Array, mean: Array, variance: Array) -> Consistency:
    """T against a scaled chi-square variable of the given mean and variance."""
    statistic = jnp.sum(residuals.real**2 + residuals.imag**2)
    scale = variance / (2 * mean)
    above = chi_square_tail(statistic / scale, mean / scale)
    p_value = 2 * jnp.minimum(above, 1 - above)
    return Consistency(residuals, statistic, statistic / mean, p_value)
