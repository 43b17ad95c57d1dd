"""What a set of posterior samples says of each pixel: mean, standard deviation, quantiles.

Quantiles are those that calibrate: with the n samples in order, x₍₁₎ ≤ ... ≤ x₍ₙ₎,

    q_p = x at position (n + 1) p, between two samples by linear interpolation               (1)

(type 6 of Hyndman and Fan, Am. Stat. 50, 1996). If truth and samples come from one distribution,
the truth is below x₍ₖ₎ with probability k/(n + 1), so that q_p has level p at any n, where NumPy's
(n − 1) p makes intervals too narrow: at n = 100 the one between 5 % and 95 % holds 88 %. Levels
beyond 1/(n + 1) and n/(n + 1) cannot be had from n samples and are refused.

Of complex images the mean is complex and the standard deviation is √E|x − mean|², both parts
together (circular noise of σ in each part has √2 σ). Their quantiles are of the magnitude, or of
the real and imaginary parts apart, as complex numbers that hold both.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from jaxrecon.core import pytree, static


@pytree
class Summary:
    """Mean, standard deviation and quantiles of samples; see the module's text.

    Attributes:
        mean: real or complex as the samples.
        std: the standard deviation, with n − 1, in the samples' units.
        quantiles: one map for each level.
        levels: their probabilities, ascending; static.
    """

    mean: Inexact[Array, "*shape"]
    std: Float[Array, "*shape"]
    quantiles: tuple[Inexact[Array, "*shape"], ...]
    levels: tuple[float, ...] = static()

    @property
    def lower(self) -> Array:
        """The lowest quantile: where the interval begins."""
        return self.quantiles[0]

    @property
    def upper(self) -> Array:
        """The highest quantile: where the interval ends."""
        return self.quantiles[-1]


def summarise(
    samples: Inexact[Array, "sample *shape"],
    *,
    levels: tuple[float, ...] = (0.05, 0.5, 0.95),
    of: str = "magnitude",
) -> Summary:
    """Mean, standard deviation and quantiles over the leading axis.

    For more samples than memory holds `Moments` gives mean and standard deviation. The summary of
    a functional f of the image is ``summarise(jax.vmap(f)(samples))``.

    Args:
        samples: real or complex, at least two.
        levels: probabilities of the quantiles, ascending; the first and last bound an interval of
            coverage ``levels[-1] - levels[0]``.
        of: "magnitude" or "parts": what the quantiles of complex samples are of; real ones keep
            their sign either way.

    Returns:
        The summary, in the samples' units.

    Raises:
        ValueError: fewer than two samples, or too few for the levels; an unknown `of`.

    Example:
        >>> summary = summarise(jnp.arange(1.0, 20.0))
        >>> float(summary.mean), float(summary.lower), float(summary.upper)
        (10.0, 1.0, 19.0)
    """
    if len(samples) < 2:
        raise ValueError(f"`samples` has {len(samples)} on its leading axis, expected at least 2")
    if of not in ("magnitude", "parts"):
        raise ValueError(f"`of` is {of!r}, expected 'magnitude' or 'parts'")
    mean = samples.mean(0)
    variance = jnp.sum(jnp.abs(samples - mean) ** 2, axis=0) / (len(samples) - 1)
    if not jnp.iscomplexobj(samples):
        quantiles = sample_quantiles(samples, levels)
    elif of == "magnitude":
        quantiles = sample_quantiles(jnp.abs(samples), levels)
    else:
        parts = (sample_quantiles(part, levels) for part in (samples.real, samples.imag))
        quantiles = jnp.asarray(next(parts) + 1j * next(parts), samples.dtype)
    return Summary(mean, jnp.sqrt(variance), tuple(quantiles), levels)


def sample_quantiles(
    samples: Float[Array, "sample *shape"], levels: tuple[float, ...]
) -> Float[Array, "level *shape"]:
    """Quantiles over the leading axis at the positions of equation (1); NaN where a sample is.

    Args:
        samples: real samples, in any order.
        levels: probabilities, ascending.

    Raises:
        ValueError: levels out of order or outside (0, 1), or beyond what so many samples give.

    Example:
        >>> sample_quantiles(jnp.array([3.0, 1.0, 2.0]), (0.25, 0.5)).tolist()
        [1.0, 2.0]
    """
    n = len(samples)
    check_levels(levels, n)
    positions = [min(max((n + 1) * p - 1, 0.0), n - 1.0) for p in levels]
    below = jnp.asarray([min(math.floor(p), max(n - 2, 0)) for p in positions])
    above = jnp.minimum(below + 1, n - 1)
    fraction = jnp.asarray(positions, samples.dtype) - below
    fraction = fraction.reshape(-1, *(1,) * (samples.ndim - 1))
    ordered = jnp.sort(samples, axis=0)
    quantiles = (1 - fraction) * ordered[below] + fraction * ordered[above]
    # Sorting puts NaN last, where low quantiles would never meet it.
    return jnp.where(jnp.isnan(ordered[-1]), jnp.nan, quantiles)


def check_levels(levels: tuple[float, ...], n: int) -> None:
    """Refuses probabilities that are no levels, or that n samples cannot give."""
    if not levels or list(levels) != sorted(levels) or not 0 < levels[0] <= levels[-1] < 1:
        raise ValueError(f"`levels` is {levels}, expected ascending numbers between 0 and 1")
    tail = min(levels[0], 1 - levels[-1])
    if (n + 1) * tail < 1 - 1e-6:
        raise ValueError(
            f"`levels` reach to {tail:.4g} from the end, which {n} samples do not: draw at least "
            f"{math.ceil(1 / tail - 1 - 1e-6)}, or stay between 1/{n + 1} and {n}/{n + 1}"
        )
