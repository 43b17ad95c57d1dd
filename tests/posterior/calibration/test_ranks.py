"""Simulation-based calibration on a Gaussian with a known posterior; both tests against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrecon.posterior import calibration as C

N, REPLICATES, NOISE = 19, 1000, 0.5
RNG = np.random.default_rng(11)
KEY = jax.random.key(4)


def found_ranks(scale=1.0, shift=0.0):
    """Prior N(0, 1), data with noise of variance ½²; the posterior's width and mean may be off."""
    truth = RNG.standard_normal(REPLICATES)
    data = truth + NOISE * RNG.standard_normal(REPLICATES)
    gain = 1 / (1 + NOISE**2)
    std = scale * np.sqrt(1 - gain)
    draws = gain * data + shift * std + std * RNG.standard_normal((N, REPLICATES))
    return jax.jit(C.ranks)(jnp.asarray(draws), jnp.asarray(truth), KEY)


def test_ranks_count_and_break_ties_at_random():
    samples = jnp.array([0.0, 1.0, 1.0, 1.0, 2.0])
    found = C.ranks(jnp.repeat(samples[:, None], 4000, axis=1), jnp.ones(4000), KEY)
    shares = np.bincount(found, minlength=6) / 4000
    np.testing.assert_allclose(shares, [0, 0.25, 0.25, 0.25, 0.25, 0], atol=0.03)


TESTS = {
    "chi_square": jax.jit(lambda found: C.chi_square_uniformity(found, N)),
    "ecdf": jax.jit(lambda found: C.ecdf_uniformity(found, N, KEY, n_simulations=999)),
}


@pytest.mark.parametrize("test", TESTS.values(), ids=TESTS.keys())
def test_wrong_samplers_are_seen(test):
    assert test(found_ranks()).p_value > 0.02
    for wrong in ({"shift": 0.3}, {"scale": 1.3}, {"scale": 0.8}):
        assert test(found_ranks(**wrong)).p_value < 0.005


def test_chi_square_is_pearsons_also_of_bins_that_do_not_divide():
    found = np.array(found_ranks())
    bins = np.arange(N + 1) * 7 // (N + 1)
    counts = np.bincount(bins[found], minlength=7)
    expected = stats.chisquare(counts, len(found) * np.bincount(bins) / (N + 1))
    ours = C.chi_square_uniformity(jnp.asarray(found), N, n_bins=7)
    np.testing.assert_allclose(ours, (expected.statistic, expected.pvalue), rtol=1e-3)


@pytest.mark.parametrize("test", TESTS.values(), ids=TESTS.keys())
def test_p_values_of_uniform_ranks_are_uniform(test):
    uniform = jnp.asarray(RNG.integers(0, N + 1, (1000, 150)))
    p = np.array(jax.jit(jax.vmap(lambda found: test(found).p_value))(uniform))
    levels = np.array([0.02, 0.05, 0.1, 0.25])
    # Large p-values come in steps: γ takes few values there.
    np.testing.assert_allclose(np.mean(p <= levels[:, None], 1), levels, atol=0.04)


def test_the_band_holds_whole_functions():
    band = jax.jit(lambda key: C.ecdf_band(150, N, key, level=0.9))(KEY)
    uniform = RNG.integers(0, N + 1, (2000, 1, 150))
    ecdf = np.mean(uniform < np.array(band.rank)[:, None], -1)
    inside = (band.lower - 1e-6 <= ecdf) & (ecdf <= band.upper + 1e-6)
    assert np.mean(inside.all(1)) == pytest.approx(0.9, abs=0.03)
    pointwise = stats.binom.interval(0.9, 150, np.array(band.rank) / (N + 1))
    assert np.mean(np.all((ecdf * 150 >= pointwise[0]) & (ecdf * 150 <= pointwise[1]), 1)) < 0.7


def test_gamma_by_scipy():
    found = np.array(found_ranks())[:100]
    below = np.array([np.sum(found < i) for i in range(1, N + 1)])
    z = np.arange(1, N + 1) / (N + 1)
    at_most, more = stats.binom.cdf(below, 100, z), stats.binom.sf(below - 1, 100, z)
    ours = C.ecdf_uniformity(jnp.asarray(found), N, KEY, n_simulations=10)
    assert float(ours.statistic) == pytest.approx(2 * np.minimum(at_most, more).min(), rel=1e-4)


@pytest.mark.parametrize("dof", [1, 4.5, 900, 1000000])
def test_tail_of_chi_square(dof):
    statistic = dof + np.sqrt(2 * dof) * np.array([-0.6, 0.0, 1.0, 3.0])
    found = C.chi_square_tail(jnp.asarray(statistic, jnp.float32), dof)
    np.testing.assert_allclose(found, stats.chi2.sf(statistic, dof), atol=2e-4)


def test_too_many_bins():
    with pytest.raises(ValueError, match=r"`n_bins` is 30 .* 2 to 20 bins"):
        C.chi_square_uniformity(jnp.zeros(1000, int), N, n_bins=30)
    with pytest.raises(ValueError, match="with 5 ranks in each"):
        C.chi_square_uniformity(jnp.zeros(40, int), N)
