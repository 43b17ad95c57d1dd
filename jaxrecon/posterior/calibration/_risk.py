"""One threshold for whole images, from the fraction of pixels that intervals miss.

Of n calibration objects with pixel scores s (`_conformal.py`), the loss of a threshold λ is the
fraction of an object's pixels with s > λ, and R̂(λ) its mean over the objects. λ is the smallest
with R̂(λ) ≤ b, where the budget b is below α by what n objects leave uncertain:

    risk-controlling:  P(R(λ) ≤ α) ≥ 1 − δ:   b = max{r : p(r) ≤ δ},                          (1)
        p(r) = min{ exp(−n h(r, α)),  e P(Binomial(n, α) ≤ ⌈n r⌉) }   (Hoeffding, Bentkus),
        h(r, α) = r log(r/α) + (1 − r) log((1 − r)/(1 − α))
    in expectation:    E R(λ) ≤ α:            b = α − (1 − α)/n                                (2)

with R(λ) the expected loss of a new object and P over the calibration set. p is monotone, so b is
one number and λ an order statistic of all the scores: no grid, no search.

Source: Angelopoulos, Kohli, Bates, Jordan, Malik, Alshaabi, Upadhyayula, Romano, "Image-to-image
regression with distribution-free uncertainty quantification and applications in imaging", ICML
2022; Bates et al., "Distribution-free, risk-controlling prediction sets", J. ACM 68 (2021);
Angelopoulos, Bates, Fisch, Lei, Schuster, "Conformal risk control", ICLR 2024.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.posterior.calibration._conformal import check_alpha, too_few, upper_threshold

Scores = Float[Array, "object *pixels"]
Pixels = Bool[Array, "object *pixels"]


def risk_controlling_threshold(
    scores: Scores, alpha: float, *, delta: float = 0.1, mask: Pixels | None = None
) -> Float[Array, ""]:
    """λ with P(expected fraction of missed pixels ≤ α) ≥ 1 − δ, equation (1).

    Args:
        scores: pixel scores of independent calibration objects; objects may depend on nothing
            else than their own truth and data.
        alpha: the fraction of pixels that may be missed; static.
        delta: the probability that the calibration set misleads; static.
        mask: the pixels that count; each object's fraction is of its own.

    Raises:
        ValueError: `alpha` or `delta` not between 0 and 1, or fewer than log δ / log(1 − α)
            objects.

    Example:
        >>> import jax
        >>> scores = jax.random.uniform(jax.random.key(0), (200, 8, 8))
        >>> bool(0.9 < risk_controlling_threshold(scores, 0.1) < 0.99)
        True
    """
    check_alpha(delta, "delta")
    return _threshold(scores, mask, risk_budget(len(scores), alpha, delta))


def expected_risk_threshold(
    scores: Scores, alpha: float, *, mask: Pixels | None = None
) -> Float[Array, ""]:
    """λ with an expected fraction of missed pixels of at most α, equation (2).

    The expectation is over calibration sets too: on average intervals cover 1 − α of the pixels,
    and hardly more.

    Args:
        scores: pixel scores of calibration objects, exchangeable with those to come.
        alpha: the fraction of pixels that may be missed; static.
        mask: the pixels that count; each object's fraction is of its own.

    Raises:
        ValueError: `alpha` is not between 0 and 1, or there are fewer than 1/α − 1 objects.

    Example:
        >>> float(expected_risk_threshold(jnp.arange(1.0, 20.0)[:, None], 0.1))
        18.0
    """
    check_alpha(alpha)
    n = len(scores)
    if (n + 1) * alpha < 1 - 1e-9:
        raise too_few("scores", n, "calibration objects", math.ceil(1 / alpha - 1 - 1e-9), alpha)
    return _threshold(scores, mask, ((n + 1) * alpha - 1) / n)


def risk_budget(n: int, alpha: float, delta: float) -> float:
    """The largest mean loss of n objects that still proves a risk of at most α, equation (1).

    Raises:
        ValueError: `alpha` is not between 0 and 1, or n objects prove nothing.

    Example:
        >>> round(risk_budget(1000, 0.1, 0.1), 3)
        0.082
    """
    check_alpha(alpha)
    least = math.ceil(math.log(delta) / math.log1p(-alpha) - 1e-9)
    if n < least:
        raise too_few("scores", n, "calibration objects", least, alpha)
    return max(_hoeffding(n, alpha, delta), _bentkus(n, alpha, delta))


def _hoeffding(n: int, alpha: float, delta: float) -> float:
    """The largest r below α with n h(r, α) ≥ −log δ, by bisection of a decreasing function."""
    low, high = 0.0, alpha
    for _ in range(60):
        r = (low + high) / 2
        h = r * math.log(r / alpha) + (1 - r) * math.log((1 - r) / (1 - alpha))
        low, high = (r, high) if n * h >= -math.log(delta) else (low, r)
    return low


def _bentkus(n: int, alpha: float, delta: float) -> float:
    """The largest k/n with e P(Binomial(n, α) ≤ k) ≤ δ; 0 if there is none."""
    total, k = 0.0, -1
    while k < n:
        logs = math.lgamma(n + 1) - math.lgamma(k + 2) - math.lgamma(n - k)
        total += math.exp(logs + (k + 1) * math.log(alpha) + (n - k - 1) * math.log1p(-alpha))
        if math.e * total > delta:
            break
        k += 1
    return max(k, 0) / n


def _threshold(scores: Scores, mask: Pixels | None, budget: float) -> Array:
    """The smallest λ with a mean loss of at most the budget."""
    n = len(scores)
    if mask is None:
        # The number of scores above λ may be counted exactly.
        n_above = math.floor(scores.size * budget + 1e-9)
        return jnp.sort(scores.ravel())[scores.size - 1 - min(n_above, scores.size - 1)]
    inside = mask.reshape(n, -1)
    sizes = jnp.maximum(jnp.sum(inside, axis=1, keepdims=True), 1)
    mass = (inside / (n * sizes)).astype(scores.dtype)
    masked = jnp.where(inside, scores.reshape(n, -1), -jnp.inf)
    return upper_threshold(masked.ravel(), mass.ravel(), budget)
