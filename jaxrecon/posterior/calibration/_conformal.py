"""Split conformal intervals: coverage guaranteed by held-out truths, whatever the sampler is worth.

A score s says how far a truth lies outside what was predicted for it. If calibration objects and
the new one are exchangeable, the k-th smallest of n scores,

    k = ⌈(n + 1)(1 − α)⌉,                                                                    (1)

bounds the new one's with probability at least 1 − α (and at most 1 − α + 1/(n + 1) without ties).
The n-quantile without the + 1 undercovers. Scores and the intervals that belong to them:

    scaled:     s = |x − c| / w                        c ± q w   (c ± q w of complex x: a disc)  (2)
    shifted:    s = max(l − x, x − u)                  [l − q, u + q]   (CQR)                    (3)
    stretched:  s = max((c − x)/(c − l), (x − c)/(u − c))   [c − q (c − l), c + q (u − c)]       (4)

with posterior mean c, standard deviation w (1 for plain residuals), and interval [l, u]. They are
functions of arrays of any shape: per pixel, every pixel having its own q; or of a scalar functional
f of the image, scores of f(truth) against the summary of f(samples), which is how a task is served
(Wen, Ahmad, Schniter, ECCV 2024). One q for a whole image: `_risk.py`, or the scores' maximum over
the pixels for intervals that hold everywhere at once.

Slices of one patient are not exchangeable with those of another: `patient_threshold`. Where
coverage is wanted within each group (a scanner, an organ): `group_thresholds`.

Source: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World" (2005); Romano, Patterson,
Candès, "Conformalized quantile regression", NeurIPS 2019; Lee, Barber, Willett, "Distribution-free
inference with hierarchical data", J. R. Stat. Soc. B (2025).
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, Int


class Interval(NamedTuple):
    """Lower and upper bounds, in the units of what they bound."""

    lower: Float[Array, "..."]
    upper: Float[Array, "..."]

    def covers(self, truth: Float[Array, "..."]) -> Array:
        """Whether the truth lies inside, the bounds included."""
        return (self.lower <= truth) & (truth <= self.upper)

    @property
    def width(self) -> Array:
        """Upper − lower."""
        return self.upper - self.lower


# ------------------------------------------------------------------------------------- thresholds


def conformal_threshold(
    scores: Float[Array, "object *shape"], alpha: float
) -> Float[Array, "*shape"]:
    """The threshold q of equation (1), over the leading axis.

    Args:
        scores: of n calibration objects, exchangeable with those to come.
        alpha: miscoverage that is allowed, between 0 and 1; static.

    Raises:
        ValueError: `alpha` is not between 0 and 1, or there are fewer than 1/α − 1 objects.

    Example:
        >>> float(conformal_threshold(jnp.arange(1.0, 20.0), 0.1))
        18.0
    """
    check_alpha(alpha)
    n = len(scores)
    k = _order(n, alpha)
    if k > n:
        raise too_few("scores", n, "calibration objects", math.ceil(1 / alpha - 1 - 1e-9), alpha)
    # Sorting puts NaN last: it counts as infinite, which is on the safe side.
    return jnp.sort(scores, axis=0)[k - 1]


def group_thresholds(
    scores: Float[Array, "object *shape"],
    groups: Int[Array, " object"],
    n_groups: int,
    alpha: float,
) -> Float[Array, "group *shape"]:
    """A threshold of equation (1) for each group, which then covers within the group (Mondrian).

    Args:
        scores: of the calibration objects.
        groups: the group of each, from 0 to n_groups − 1; known before the truth is.
        n_groups: static.
        alpha: miscoverage that is allowed in every group.

    Returns:
        One threshold for each group; +inf, all there is to say, where a group has fewer than
        1/α − 1 objects.

    Raises:
        ValueError: `alpha` is not between 0 and 1, or no group can have enough objects.

    Example:
        >>> group_thresholds(jnp.arange(6.0), jnp.array([0, 0, 0, 1, 1, 1]), 2, 0.25).tolist()
        [2.0, 5.0]
    """
    check_alpha(alpha)
    n = len(scores)
    if _order(n, alpha) > n:
        raise too_few("scores", n, "calibration objects", math.ceil(1 / alpha - 1 - 1e-9), alpha)
    # (1) for every count there may be: in the precision of Python, since counts are traced.
    orders = jnp.asarray([_order(count, alpha) for count in range(n + 1)])

    def one(group: int) -> Array:
        inside = groups == group
        column = inside.reshape(-1, *(1,) * (scores.ndim - 1))
        ordered = jnp.sort(jnp.where(column, scores, jnp.inf), axis=0)
        count = jnp.sum(inside)
        k = orders[count]
        return jnp.where(k > count, jnp.inf, ordered[jnp.minimum(k, n) - 1])

    return jnp.stack([one(group) for group in range(n_groups)])


def patient_threshold(
    scores: Float[Array, "object *shape"],
    patients: Int[Array, " object"],
    n_patients: int,
    alpha: float,
) -> Float[Array, "*shape"]:
    """A threshold that covers a random slice of a new patient.

    With K patients, one of m slices gives each of its scores the mass 1/((K + 1) m); infinity gets
    the rest. The threshold is the (1 − α)-quantile of that: patients are exchangeable, slices of
    one patient may be alike as they please.

    Args:
        scores: of all calibration slices.
        patients: the patient of each, from 0 to n_patients − 1.
        n_patients: static; patients without slices do not count.
        alpha: miscoverage that is allowed.

    Returns:
        The threshold; +inf where too few of the patients have slices.

    Raises:
        ValueError: `alpha` is not between 0 and 1, or there are fewer than 1/α − 1 patients.

    Example:
        >>> scores, patients = jnp.array([1.0, 9.0, 2.0, 3.0]), jnp.array([0, 0, 1, 2])
        >>> float(patient_threshold(scores, patients, 3, 0.4))
        3.0
    """
    check_alpha(alpha)
    if _order(n_patients, alpha) > n_patients:
        least = math.ceil(1 / alpha - 1 - 1e-9)
        raise too_few("n_patients", n_patients, "patients", least, alpha)
    slices = jnp.bincount(patients, length=n_patients)
    present = jnp.sum(slices > 0)
    mass = 1 / ((present + 1) * slices[patients].astype(scores.dtype))
    return upper_threshold(scores, mass, alpha - 1 / (present + 1))


def upper_threshold(
    scores: Float[Array, "score *shape"],
    mass: Float[Array, " score"],
    allowed: Float[Array, ""] | float,
) -> Float[Array, "*shape"]:
    """The smallest score with mass at most `allowed` above it; +inf if `allowed` is negative.

    Summed from the top, where the mass is small and single precision therefore exact enough.
    """
    scores = jnp.where(jnp.isnan(scores), jnp.inf, scores)
    order = jnp.argsort(scores, axis=0, descending=True)
    ordered = jnp.take_along_axis(scores, order, axis=0)
    taken = mass[order]
    above = jnp.cumsum(taken, axis=0) - taken
    slack = 1e-6  # rounding must not cost a score where the masses add up to `allowed` exactly
    n_allowed = jnp.sum(above <= allowed + slack, axis=0)
    found = jnp.take_along_axis(ordered, jnp.maximum(n_allowed - 1, 0)[None], axis=0)[0]
    return jnp.where(allowed < -slack, jnp.inf, found)


# --------------------------------------------------------------------------- scores and intervals


def scaled_score(
    truth: Inexact[Array, "*shape"],
    centre: Inexact[Array, "*shape"],
    width: Float[Array, "*shape"] | float | int = 1.0,
) -> Float[Array, "*shape"]:
    """|truth − centre| / width, equation (2): a standard deviation as width, or 1.

    Example:
        >>> float(scaled_score(jnp.array(5.0), jnp.array(1.0), jnp.array(2.0)))
        2.0
    """
    return _ratio(jnp.abs(truth - centre), jnp.asarray(width))


def scaled_interval(
    centre: Float[Array, "*shape"],
    width: Float[Array, "*shape"] | float | int,
    threshold: Float[Array, "..."],
) -> Interval:
    """Centre ± threshold · width, of equation (2); the threshold broadcasts.

    For complex images threshold · width is the radius of a disc around the centre.

    Example:
        >>> scaled_interval(jnp.array(1.0), 2.0, jnp.array(1.5)).upper.tolist()
        4.0
    """
    reach = _times(threshold, jnp.asarray(width))
    return Interval(centre - reach, centre + reach)


def shifted_score(
    truth: Float[Array, "*shape"], lower: Float[Array, "*shape"], upper: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """How far outside [lower, upper] the truth lies, negative inside, equation (3).

    Example:
        >>> float(shifted_score(jnp.array(5.0), jnp.array(1.0), jnp.array(4.0)))
        1.0
    """
    return jnp.maximum(lower - truth, truth - upper)


def shifted_interval(
    lower: Float[Array, "*shape"], upper: Float[Array, "*shape"], threshold: Float[Array, "..."]
) -> Interval:
    """[lower − threshold, upper + threshold], of equation (3).

    A negative threshold narrows; where it would cross, nothing is left but the empty interval, with
    lower > upper, which covers nothing.

    Example:
        >>> shifted_interval(jnp.array(1.0), jnp.array(4.0), jnp.array(0.5)).width.tolist()
        4.0
    """
    return Interval(lower - threshold, upper + threshold)


def stretched_score(
    truth: Float[Array, "*shape"],
    centre: Float[Array, "*shape"],
    lower: Float[Array, "*shape"],
    upper: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """By what factor [lower, upper] must be stretched about the centre, equation (4).

    Never negative where lower ≤ centre ≤ upper, as it must be.

    Example:
        >>> values = (5.0, 1.0, 0.0, 3.0)
        >>> float(stretched_score(*map(jnp.asarray, values)))
        2.0
    """
    below = _ratio(jnp.maximum(centre - truth, 0), centre - lower)
    return jnp.maximum(below, _ratio(jnp.maximum(truth - centre, 0), upper - centre))


def stretched_interval(
    centre: Float[Array, "*shape"],
    lower: Float[Array, "*shape"],
    upper: Float[Array, "*shape"],
    threshold: Float[Array, "..."],
) -> Interval:
    """[lower, upper] stretched about the centre by the threshold, of equation (4).

    Example:
        >>> values = (1.0, 0.0, 3.0, 2.0)
        >>> stretched_interval(*map(jnp.asarray, values)).upper.tolist()
        5.0
    """
    below, above = _times(threshold, centre - lower), _times(threshold, upper - centre)
    return Interval(centre - below, centre + above)


# ------------------------------------------------------------------------------------------- parts


def check_alpha(alpha: float, name: str = "alpha") -> None:
    """Refuses what is no probability."""
    if not 0 < alpha < 1:
        raise ValueError(f"`{name}` is {alpha}, expected a number between 0 and 1")


def too_few(name: str, n: int, what: str, least: int, alpha: float) -> ValueError:
    """The error for a guarantee that n cannot give."""
    return ValueError(
        f"`{name}` stands for {n} {what}, expected at least {least} for `alpha` {alpha}: "
        "hold out more, or allow more miscoverage"
    )


def _order(n: int, alpha: float) -> int:
    """⌈(n + 1)(1 − α)⌉ without the rounding of 1 − α."""
    return n + 1 - math.floor((n + 1) * alpha + 1e-9)


def _ratio(distance: Array, width: Array) -> Array:
    """Distance/width; of a distance of zero 0, of another over no width infinity."""
    none = width <= 0
    finite = distance / jnp.where(none, 1, width)
    return jnp.where(none, jnp.where(distance > 0, jnp.inf, distance * 0), finite)


def _times(threshold: Array, width: Array) -> Array:
    """The inverse of `_ratio`: an infinite threshold covers all where there is no width, too."""
    return jnp.where(jnp.isinf(threshold), threshold, jnp.where(width > 0, threshold * width, 0))
