"""Samples against the truth: coverage of intervals, CRPS, the ratio of spread to skill.

For a truth x and n samples x₁ ... xₙ of each pixel (or of a functional; any shape):

    CRPS = mean_i |xᵢ − x| − Σ_{i<j} |xᵢ − xⱼ| / (n (n − 1))                                 (1)
    spread / skill = √(mean (n + 1)/n s²) / √(mean |x̄ − x|²),   s² the unbiased variance     (2)

(1) is the fair form (Ferro, Q. J. R. Meteorol. Soc. 140, 2014): its expectation is that of
infinitely many samples, so that samplers with different n compare. (2) is 1 for calibrated samples
of any n (Fortin et al., J. Hydrometeorol. 15, 2014), below 1 for overconfident ones. A batch of
truths may stand on any axes after the samples': ``(sample, object, y, x)``. Pixels of one image
depend on each other: judge coverage by many objects.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact

from jaxrecon.posterior.calibration._summary import sample_quantiles


def covered(
    samples: Float[Array, "sample *shape"],
    truth: Float[Array, "*shape"],
    levels: tuple[float, ...] = (0.5, 0.9),
) -> Bool[Array, "level *shape"]:
    """Whether each pixel's truth lies in its central interval.

    The intervals are those of `sample_quantiles`, so that n calibrated samples cover at the nominal
    level for any n.

    Args:
        samples: real samples; of complex ones the magnitude or a part.
        truth: the true image, of the samples' units.
        levels: nominal coverages, ascending: 0.9 is the interval between 5 % and 95 %.

    Raises:
        ValueError: levels outside (0, 1), or too few samples for them.

    Example:
        >>> covered(jnp.arange(1.0, 20.0), jnp.array(2.5)).tolist()
        [False, True]
    """
    if not levels or not all(0 < level < 1 for level in levels):
        raise ValueError(f"`levels` is {levels}, expected numbers between 0 and 1")
    bounds = [sample_quantiles(samples, ((1 - p) / 2, (1 + p) / 2)) for p in levels]
    return jnp.stack([(lower <= truth) & (truth <= upper) for lower, upper in bounds])


def coverage(
    samples: Float[Array, "sample *shape"],
    truth: Float[Array, "*shape"],
    levels: tuple[float, ...] = (0.5, 0.9),
    *,
    mask: Bool[Array, "*shape"] | None = None,
) -> Float[Array, " level"]:
    """The fraction of pixels (and objects) whose truth lies in the central interval.

    Args:
        samples: real samples; of complex ones the magnitude or a part.
        truth: the true image, or a batch of them.
        levels: nominal coverages.
        mask: the pixels that count.

    Raises:
        ValueError: levels outside (0, 1), or too few samples for them.

    Example:
        >>> samples = jnp.arange(1.0, 20.0)[:, None].repeat(2, 1)  # two pixels, both alike
        >>> coverage(samples, jnp.array([2.5, 11.0])).tolist()
        [0.5, 1.0]
    """
    inside = covered(samples, truth, levels).astype(samples.dtype)
    axes = tuple(range(1, inside.ndim))
    return jnp.mean(inside, axes, where=None if mask is None else mask[None])


def crps(
    samples: Float[Array, "sample *shape"], truth: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The fair continuous ranked probability score of each pixel, equation (1).

    In the units of the image; smaller is better, in expectation best for the true distribution. It
    may be negative for few samples. Differentiable in both arguments.

    Raises:
        ValueError: fewer than two samples.

    Example:
        >>> float(crps(jnp.array([0.0, 2.0]), jnp.array(1.0)))
        0.0
    """
    n = _several(samples)
    ranks = 2 * jnp.arange(1, n + 1, dtype=samples.dtype) - n - 1
    # Σ_{i<j} |xᵢ − xⱼ| = Σ (2k − n − 1) x₍ₖ₎: a sort instead of all pairs.
    ordered = jnp.sort(samples, axis=0) - samples.mean(0)
    spread = jnp.mean(ordered * ranks.reshape(-1, *(1,) * truth.ndim), axis=0) / (n - 1)
    return jnp.mean(jnp.abs(samples - truth), axis=0) - spread


def spread_skill(
    samples: Inexact[Array, "sample *shape"],
    truth: Inexact[Array, "*shape"],
    *,
    mask: Bool[Array, "*shape"] | None = None,
) -> Float[Array, ""]:
    """The samples' spread over the error of their mean, equation (2).

    Args:
        samples: real or complex samples.
        truth: the true image, or a batch of them.
        mask: the pixels that count.

    Returns:
        A ratio: 1 if calibrated, below 1 if overconfident.

    Raises:
        ValueError: fewer than two samples.

    Example:
        >>> float(spread_skill(jnp.array([[-1.0], [1.0]]), jnp.array([3**0.5])))
        1.0
    """
    n = _several(samples)
    mean = samples.mean(0)
    variance = jnp.sum(jnp.abs(samples - mean) ** 2, axis=0) / (n - 1)
    spread = jnp.mean((1 + 1 / n) * variance, where=mask)
    return jnp.sqrt(spread / jnp.mean(jnp.abs(mean - truth) ** 2, where=mask))


def _several(samples: Array) -> int:
    if len(samples) < 2:
        raise ValueError(f"`samples` has {len(samples)} on its leading axis, expected at least 2")
    return len(samples)
