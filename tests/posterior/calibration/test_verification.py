"""Samples against truth: calibrated ones pass, overconfident and timid ones do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrecon.posterior import calibration as C

N, REPLICATES = 39, 20000
RNG = np.random.default_rng(8)
CENTRE = RNG.standard_normal(REPLICATES)
TRUTH = jnp.asarray(CENTRE + RNG.standard_normal(REPLICATES), jnp.float32)


def samples(scale=1.0, shift=0.0, n=N):
    draws = RNG.standard_normal((n, REPLICATES))
    return jnp.asarray(CENTRE + shift + scale * draws, jnp.float32)


coverage = jax.jit(C.coverage, static_argnums=2)


def test_coverage_of_calibrated_samples():
    found = coverage(samples(), TRUTH)
    np.testing.assert_allclose(found, [0.5, 0.9], atol=0.01)


@pytest.mark.parametrize(("wrong", "sign"), [({"scale": 0.8}, -1), ({"scale": 1.25}, 1)])
def test_coverage_of_samples_that_are_too_sure_or_not_enough(wrong, sign):
    found = coverage(samples(**wrong), TRUTH)
    assert np.all(sign * (np.array(found) - [0.5, 0.9]) > 0.03)


def test_biased_samples_do_not_cover():
    assert np.all(coverage(samples(shift=1.0), TRUTH) < np.array([0.36, 0.78]))


def test_coverage_of_a_functional_of_correlated_pixels():
    """Pixels that are right one by one can be wrong together: only a functional shows it."""
    common = RNG.standard_normal((N + 1, 4000, 1)) + 0.5 * RNG.standard_normal((N + 1, 4000, 8))
    truth, right = jnp.asarray(common[0]), jnp.asarray(common[1:])
    apart = jnp.asarray(RNG.permuted(common[1:], axis=0))  # of each pixel the right distribution
    np.testing.assert_allclose(coverage(apart, truth), [0.5, 0.9], atol=0.02)
    mean = lambda x: x.mean(-1)  # noqa: E731
    np.testing.assert_allclose(coverage(mean(right), mean(truth)), [0.5, 0.9], atol=0.02)
    assert coverage(mean(apart), mean(truth))[1] < 0.7


def test_masked_coverage_and_vmap():
    draws, truth = samples().reshape(N, 2, -1), TRUTH.reshape(2, -1)
    each = jax.jit(jax.vmap(C.coverage, (1, 0)))(draws, truth)
    mask = jnp.zeros(truth.shape, bool).at[1].set(True)
    np.testing.assert_allclose(C.coverage(draws, truth, mask=mask), each[1], rtol=1e-5)


def test_levels_that_samples_cannot_give():
    with pytest.raises(ValueError, match="draw at least 199"):
        C.coverage(samples(), TRUTH, (0.99,))
    with pytest.raises(ValueError, match=r"`levels` is \(1.2,\)"):
        C.covered(samples(), TRUTH, (1.2,))


# ------------------------------------------------------------------------------ scores and spread


def test_crps_by_all_pairs():
    draws, truth = np.array(samples(n=7))[:, :5], np.array(TRUTH)[:5]
    pairs = np.abs(draws[:, None] - draws).sum((0, 1)) / (2 * 7 * 6)
    expected = np.abs(draws - truth).mean(0) - pairs
    np.testing.assert_allclose(C.crps(jnp.asarray(draws), jnp.asarray(truth)), expected, atol=1e-5)


def test_crps_of_few_samples_is_that_of_the_distribution():
    """The closed form for a standard normal; the mean over all pairs, i = j too, is biased."""
    truth = 0.7
    exact = truth * (2 * stats.norm.cdf(truth) - 1) + 2 * stats.norm.pdf(truth) - 1 / np.sqrt(np.pi)
    draws = samples(n=3) - CENTRE
    fair = np.mean(jax.jit(C.crps)(draws, jnp.full(REPLICATES, truth)))
    assert fair == pytest.approx(exact, abs=0.01)
    biased = np.abs(draws - truth).mean() - np.abs(draws[:, None] - draws).mean() / 2
    assert abs(biased - exact) > 0.1


def test_crps_is_best_for_the_true_distribution():
    score = jax.jit(lambda draws: jnp.mean(C.crps(draws, TRUTH)))
    found = [float(score(x)) for x in (samples(), samples(scale=0.5), samples(shift=0.5))]
    assert found[0] < 0.97 * min(found[1:])


spread_skill = jax.jit(C.spread_skill)


def test_spread_is_skill_if_calibrated():
    assert float(spread_skill(samples(n=4), TRUTH)) == pytest.approx(1, abs=0.02)
    assert float(spread_skill(samples(n=4, scale=0.5), TRUTH)) < 0.6
    assert float(spread_skill(samples(n=4, scale=2.0), TRUTH)) > 1.3


def test_masked_spread_of_complex_samples():
    draws = samples(n=4) + 1j * samples(n=4)
    truth = (TRUTH + 1j * TRUTH[::-1]).at[0].set(1e6)
    mask = jnp.ones(REPLICATES, bool).at[0].set(False)
    unmasked = spread_skill(draws[:, 1:], truth[1:])
    assert float(spread_skill(draws, truth, mask=mask)) == pytest.approx(float(unmasked), rel=1e-4)


@pytest.mark.parametrize("score", [C.crps, C.spread_skill])
def test_one_sample_has_no_spread(score):
    with pytest.raises(ValueError, match="`samples` has 1"):
        score(samples(n=1), TRUTH)
