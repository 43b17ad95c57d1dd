"""Simulation-based calibration: the ranks of truths among posterior samples are uniform.

Draw a truth from the prior, data from the truth, n samples from the posterior: the number of
samples below the truth is uniform on {0, ..., n} if and only if (for that pixel or functional) the
sampler is right on average. Over many replicates ranks pile up at both ends for overconfident
samplers, in the middle for timid ones, at one end for biased ones. Two tests of N ranks:

- `chi_square_uniformity`, of the counts in bins;
- `ecdf_uniformity`, of the empirical distribution function: with R_i the number of ranks below i,

    γ = min_i 2 min{P(B_i ≤ R_i), P(B_i ≥ R_i)},   B_i ~ Binomial(N, i/(n + 1))               (1)

  whose p-value is found by simulating uniform ranks. It sees small trends that bins do not.

Samples of one chain depend on each other: thin them by their effective sample size first.

Source: Talts et al., "Validating Bayesian inference algorithms with simulation-based calibration"
(arXiv:1804.06788); Säilynoja, Bürkner, Vehtari, "Graphical test for discrete uniformity and its
applications in goodness-of-fit evaluation and multiple sample comparison", Stat. Comput. 32 (2022).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxrecon.posterior.calibration._chi_square import Significance, chi_square_tail

_LEAST_EXPECTED = 5


class EcdfBand(NamedTuple):
    """Where the distribution function of uniform ranks stays, for a picture."""

    rank: Int[Array, " point"]
    """i: the functions are of P(rank < i)."""
    lower: Float[Array, " point"]
    upper: Float[Array, " point"]


def ranks(
    samples: Float[Array, "sample *shape"], truth: Float[Array, "*shape"], key: Key[Array, ""]
) -> Int[Array, "*shape"]:
    """The number of samples below the truth, ties broken at random.

    Args:
        samples: n real samples; functionals, or pixels, of complex ones.
        truth: the truth from whose data they were drawn.
        key: for ties: a truth equal to k samples is put at any of k + 1 places alike.

    Returns:
        Ranks from 0 to n.

    Example:
        >>> int(ranks(jnp.array([1.0, 4.0, 2.0]), jnp.array(3.0), jax.random.key(0)))
        2
    """
    below = jnp.sum(samples < truth, axis=0)
    ties = jnp.sum(samples == truth, axis=0)
    return below + jax.random.randint(key, truth.shape, 0, ties + 1)


def chi_square_uniformity(
    found: Int[Array, " replicate"], n_samples: int, *, n_bins: int = 10
) -> Significance:
    """Pearson's test of uniform ranks.

    Args:
        found: ranks of independent replicates, from 0 to `n_samples`.
        n_samples: samples per replicate.
        n_bins: bins; they need not divide n_samples + 1, whose share is counted.

    Returns:
        Pearson's statistic of n_bins − 1 degrees of freedom and its p-value.

    Raises:
        ValueError: more bins than ranks, fewer than two, or fewer than five expected in one.

    Example:
        >>> float(chi_square_uniformity(jnp.arange(100) % 10, 9).statistic)
        0.0
    """
    bins = np.arange(n_samples + 1) * n_bins // (n_samples + 1)
    expected = len(found) * np.bincount(bins) / (n_samples + 1)
    if not 2 <= n_bins <= n_samples + 1 or expected.min() < _LEAST_EXPECTED:
        raise ValueError(
            f"`n_bins` is {n_bins} for {len(found)} ranks of {n_samples} samples, expected 2 to "
            f"{n_samples + 1} bins with {_LEAST_EXPECTED} ranks in each: take fewer bins"
        )
    counts = jnp.bincount(jnp.asarray(bins)[found], length=n_bins)
    statistic = jnp.sum((counts - expected) ** 2 / expected)
    return Significance(statistic, chi_square_tail(statistic, n_bins - 1))


def ecdf_uniformity(
    found: Int[Array, " replicate"],
    n_samples: int,
    key: Key[Array, ""],
    *,
    n_simulations: int = 1000,
) -> Significance:
    """The test of uniform ranks by their distribution function, equation (1).

    Args:
        found: ranks of independent replicates, from 0 to `n_samples`.
        n_samples: samples per replicate.
        key: for the simulation of uniform ranks.
        n_simulations: the p-value is a multiple of 1/(n_simulations + 1).

    Returns:
        γ, small where some part of the function is unlikely, and its p-value.

    Example:
        >>> low = jax.random.randint(jax.random.key(0), (200,), 0, 80)
        >>> bool(ecdf_uniformity(low, 99, jax.random.key(1)).p_value < 0.01)
        True
    """
    points, unlikely = _binomials(len(found), n_samples)
    simulated = _simulated_gammas(key, len(found), n_samples, n_simulations)
    gamma = _gamma(_below(found, n_samples)[points - 1], unlikely)
    return Significance(gamma, (1 + jnp.sum(simulated <= gamma)) / (n_simulations + 1))


def ecdf_band(
    n_replicates: int,
    n_samples: int,
    key: Key[Array, ""],
    *,
    level: float = 0.95,
    n_simulations: int = 1000,
) -> EcdfBand:
    """The band that holds the whole distribution function of uniform ranks at the given level.

    Args:
        n_replicates: N, the number of ranks.
        n_samples: samples per replicate.
        key: for the simulation of uniform ranks.
        level: the probability that no part of the function leaves the band.
        n_simulations: uniform sets of ranks that are drawn.

    Example:
        >>> band = ecdf_band(100, 9, jax.random.key(0))
        >>> bool(jnp.all((band.lower < band.rank / 10) & (band.rank / 10 < band.upper)))
        True
    """
    points, unlikely = _binomials(n_replicates, n_samples)
    gamma = jnp.quantile(
        _simulated_gammas(key, n_replicates, n_samples, n_simulations), 1 - level, method="lower"
    )
    inside = unlikely >= gamma  # at each point for one stretch of counts
    lower = jnp.argmax(inside, axis=0)
    upper = n_replicates - jnp.argmax(inside[::-1], axis=0)
    return EcdfBand(jnp.asarray(points), lower / n_replicates, upper / n_replicates)


def _binomials(
    n_replicates: int, n_samples: int
) -> tuple[Int[np.ndarray, " point"], Float[Array, "count point"]]:
    """The points i, at most 100 of them, and 2 min{P(B_i ≤ R), P(B_i ≥ R)} for R from 0 to N.

    Known before anything runs, so in double precision.
    """
    points = np.unique(np.linspace(1, n_samples, min(n_samples, 100)).round().astype(int))
    z = points / (n_samples + 1)
    factorials = np.cumsum(np.log(np.maximum(np.arange(n_replicates + 1), 1)))
    count = np.arange(n_replicates + 1)[:, None]
    choices = (factorials[-1] - factorials - factorials[::-1])[:, None]
    mass = np.exp(choices + count * np.log(z) + (n_replicates - count) * np.log1p(-z))
    at_most, at_least = np.cumsum(mass, 0), np.cumsum(mass[::-1], 0)[::-1]
    return points, jnp.asarray(2 * np.minimum(at_most, at_least), jnp.result_type(float))


def _gamma(below: Int[Array, " point"], unlikely: Float[Array, "count point"]) -> Array:
    return jnp.min(jnp.take_along_axis(unlikely, below[None], axis=0))


def _below(found: Int[Array, " replicate"], n_samples: int) -> Int[Array, " n_samples"]:
    """The number of ranks below 1, ..., n."""
    return jnp.cumsum(jnp.bincount(found, length=n_samples + 1))[:-1]


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _simulated_gammas(
    key: Key[Array, ""], n_replicates: int, n_samples: int, n_simulations: int
) -> Float[Array, " simulation"]:
    points, unlikely = _binomials(n_replicates, n_samples)

    def one(key):
        uniform = jax.random.randint(key, (n_replicates,), 0, n_samples + 1)
        return _gamma(_below(uniform, n_samples)[points - 1], unlikely)

    return jax.lax.map(one, jax.random.split(key, n_simulations), batch_size=100)
