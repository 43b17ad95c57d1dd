"""The guarantees, over hundreds of resplits of synthetic objects; naive thresholds break them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrecon.posterior import calibration as C

RNG = np.random.default_rng(5)
ALPHA, SPLITS = 0.1, 200
N = 40  # where ⌈n (1 − α)⌉ and ⌈(n + 1)(1 − α)⌉ differ, and (n + 1)(1 − α) is no integer
OBJECTS, PIXELS = 300, 6

# A predictor with half the right width, everywhere wrong by a bias, and noise that varies.
NOISE = np.exp(RNG.standard_normal((OBJECTS, PIXELS)))
TRUTH = jnp.asarray(NOISE * RNG.standard_normal((OBJECTS, PIXELS)))
CENTRE, WIDTH = jnp.full((OBJECTS, PIXELS), 0.3), jnp.asarray(0.5 * NOISE)
LOWER, UPPER = CENTRE - WIDTH, CENTRE + 0.7 * WIDTH


def splits(n_objects=OBJECTS):
    return jnp.asarray(np.stack([RNG.permutation(n_objects) for _ in range(SPLITS)]))


def resplit(threshold, interval):
    """Mean coverage and width of intervals calibrated on n objects and judged on the rest."""

    def one(order):
        held_out, rest = order[:N], order[N:]
        found = interval(threshold(held_out), rest)
        return jnp.mean(found.covers(TRUTH[rest])), jnp.mean(found.width)

    return tuple(float(jnp.mean(x)) for x in jax.jit(jax.vmap(one))(splits()))


SCORES = {
    "scaled": (
        C.scaled_score(TRUTH, CENTRE, WIDTH),
        lambda q, i: C.scaled_interval(CENTRE[i], WIDTH[i], q),
    ),
    "residual": (C.scaled_score(TRUTH, CENTRE), lambda q, i: C.scaled_interval(CENTRE[i], 1.0, q)),
    "shifted": (
        C.shifted_score(TRUTH, LOWER, UPPER),
        lambda q, i: C.shifted_interval(LOWER[i], UPPER[i], q),
    ),
    "stretched": (
        C.stretched_score(TRUTH, CENTRE, LOWER, UPPER),
        lambda q, i: C.stretched_interval(CENTRE[i], LOWER[i], UPPER[i], q),
    ),
}


@pytest.mark.parametrize("name", SCORES)
def test_pixelwise_intervals_cover_over_resplits(name):
    scores, interval = SCORES[name]
    found, _ = resplit(lambda held_out: C.conformal_threshold(scores[held_out], ALPHA), interval)
    assert found == pytest.approx(37 / 41, abs=0.01)


def test_the_naive_quantile_undercovers():
    scores, interval = SCORES["scaled"]
    naive = lambda held_out: jnp.sort(scores[held_out], axis=0)[math.ceil(0.9 * N) - 1]  # noqa: E731
    assert resplit(naive, interval)[0] < 0.89
    assert resplit(lambda _: jnp.full(PIXELS, 1.645), interval)[0] < 0.65  # not calibrated at all


def test_a_predicted_width_covers_where_the_noise_is():
    """Both cover on average; only the one that knows the noise where there is much of it."""
    noisy = jnp.asarray(np.quantile(NOISE, 0.75) < NOISE)
    found = {}
    for name in ("scaled", "residual"):
        scores = SCORES[name][0]
        inside = scores <= C.conformal_threshold(scores, ALPHA)
        found[name] = float(jnp.mean(inside, where=noisy))
    assert found["residual"] < 0.75 < 0.87 < found["scaled"]


def test_a_functional_of_the_image_is_covered():
    """Samples that are too narrow and biased; the functional is nonlinear."""
    draws = RNG.standard_normal((OBJECTS, 30, PIXELS)) * np.array(WIDTH)[:, None] + 0.3
    peak = lambda x: jnp.max(jnp.abs(x))  # noqa: E731
    posterior = lambda samples: C.summarise(jax.vmap(peak)(samples))  # noqa: E731
    summary = jax.jit(jax.vmap(posterior))(jnp.asarray(draws))
    truth = jax.vmap(peak)(TRUTH)
    assert jnp.mean(C.Interval(summary.lower, summary.upper).covers(truth)) < 0.75
    scores = C.shifted_score(truth, summary.lower, summary.upper)

    def one(order):
        q = C.conformal_threshold(scores[order[:N]], ALPHA)
        rest = order[N:]
        found = C.shifted_interval(summary.lower[rest], summary.upper[rest], q)
        return jnp.mean(found.covers(truth[rest]))

    assert float(jnp.mean(jax.jit(jax.vmap(one))(splits()))) == pytest.approx(37 / 41, abs=0.012)


def test_degenerate_widths():
    scores = C.scaled_score(jnp.array([1.0, 1.0]), jnp.array([1.0, 2.0]), jnp.zeros(2))
    assert scores.tolist() == [0, np.inf]
    assert C.scaled_interval(jnp.ones(2), jnp.zeros(2), scores).upper.tolist() == [1, np.inf]
    assert float(C.conformal_threshold(jnp.full(20, jnp.nan).at[0].set(1.0), 0.1)) != 1.0


@pytest.mark.parametrize(
    ("n", "alpha", "expected"), [(99, 0.43, 57), (99, 0.07, 93), (19, 0.05, 19), (20, 0.1, 19)]
)
def test_the_order_is_not_off_by_rounding(n, alpha, expected):
    assert float(C.conformal_threshold(jnp.arange(1.0, n + 1), alpha)) == expected


def test_groups_are_covered_each():
    groups = jnp.arange(OBJECTS) % 2
    scores = jnp.abs(TRUTH[:, 0]) / jnp.asarray(NOISE[:, 0]) * jnp.where(groups, 4.0, 1.0)

    def one(order):
        held_out, rest = order[: 2 * N], order[2 * N :]
        q = C.group_thresholds(scores[held_out], groups[held_out], 2, ALPHA)
        pooled = C.conformal_threshold(scores[held_out], ALPHA)
        own, all_alike = scores[rest] <= q[groups[rest]], scores[rest] <= pooled
        return [jnp.mean(x, where=groups[rest] == 1) for x in (own, all_alike)]

    own, pooled = (float(jnp.mean(x)) for x in jax.jit(jax.vmap(one))(splits()))
    assert 0.89 < own < 0.93
    assert pooled < 0.84


def test_a_group_without_enough_objects_promises_nothing():
    found = C.group_thresholds(jnp.arange(20.0), jnp.arange(20) // 15, 2, 0.1)
    assert found.tolist() == [14, np.inf]


def test_new_patients_are_covered_and_not_by_pooled_slices():
    """Patients with one slice are as likely as those with twenty, and far harder."""
    n_patients, held_out = 60, 30

    def one(key):
        hard = jax.random.bernoulli(key, 0.3, (n_patients,))
        own = jax.random.exponential(jax.random.fold_in(key, 1), (n_patients,))
        score = jnp.where(hard, 5 + own, own)  # of all slices of the patient
        slices = jnp.where(hard, 1, 20)[:held_out]
        patients = jnp.repeat(jnp.arange(held_out), slices, total_repeat_length=held_out * 20)
        # The surplus repeats the last patient, whose slices are equal anyhow.
        q = C.patient_threshold(score[patients], patients, held_out, ALPHA)
        pooled = C.conformal_threshold(score[patients], ALPHA)
        return jnp.mean(score[held_out:] <= q), jnp.mean(score[held_out:] <= pooled)

    ours, pooled = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(2), SPLITS))
    assert 0.89 < float(ours.mean()) < 0.95
    assert float(pooled.mean()) < 0.8


def test_thresholds_of_pixels_are_those_of_each_pixel():
    scores, patients = jnp.abs(TRUTH), jnp.arange(OBJECTS) // 10
    threshold = jax.jit(lambda s: C.patient_threshold(s, patients, 30, 0.2))
    both, one = threshold(scores), threshold(scores[:, 2])
    assert float(both[2]) == float(one)


@pytest.mark.parametrize(
    ("call", "least"),
    [
        (lambda s: C.conformal_threshold(s, 0.1), 9),
        (lambda s: C.group_thresholds(s, jnp.zeros(8, int), 1, 0.1), 9),
        (lambda s: C.patient_threshold(s, jnp.arange(8), 8, 0.1), 9),
        (lambda s: C.expected_risk_threshold(s, 0.1), 9),
        (lambda s: C.risk_controlling_threshold(s, 0.1, delta=0.1), 22),
    ],
)
def test_too_few_objects(call, least):
    with pytest.raises(ValueError, match=f"for 8 .* at least {least} for `alpha` 0.1"):
        call(jnp.arange(8.0))


def test_levels_that_are_none():
    with pytest.raises(ValueError, match=r"`alpha` is 1\.5"):
        C.conformal_threshold(jnp.arange(8.0), 1.5)
    with pytest.raises(ValueError, match="`delta` is 0"):
        C.risk_controlling_threshold(jnp.arange(8.0), 0.5, delta=0.0)


# --------------------------------------------------------------------------------- risk of an image


def risks(threshold, n=60):
    """The exact risk of thresholds from many calibration sets, pixels of an object depending.

    Scores |a z|, one a = 1 or 3 for each object: R(λ) is a mean of two Gaussian tails.
    """
    scale = RNG.choice([1.0, 3.0], (400, n, 1))
    scores = jnp.asarray(np.abs(scale * RNG.standard_normal((400, n, 12))))
    found = np.array(jax.jit(jax.vmap(threshold))(scores))
    return stats.norm.sf(found) + stats.norm.sf(found / 3)


def test_risk_is_controlled_with_the_promised_probability():
    found = risks(lambda s: C.risk_controlling_threshold(s, ALPHA, delta=0.2))
    assert np.mean(found > ALPHA) <= 0.2
    assert np.mean(found) > 0.3 * ALPHA  # and not by covering everything


def test_risk_is_controlled_on_average():
    found = risks(lambda s: C.expected_risk_threshold(s, ALPHA))
    assert ALPHA - 0.02 < np.mean(found) < ALPHA + 0.002
    assert np.mean(found > ALPHA) > 0.12  # no promise for the calibration set at hand


def test_the_naive_threshold_controls_nothing():
    found = risks(lambda s: jnp.quantile(s, 1 - ALPHA))
    assert np.mean(found > ALPHA) > 0.4
    found = risks(lambda s: jnp.quantile(s, 1 - ALPHA), n=10)
    assert np.mean(found) > ALPHA + 0.005


@pytest.mark.parametrize(
    ("n", "alpha", "delta"), [(40, 0.1, 0.1), (500, 0.05, 0.1), (60, 0.5, 0.01)]
)
def test_the_budget_is_the_largest_that_the_bounds_allow(n, alpha, delta):
    def p_value(r):
        h = stats.entropy([r, 1 - r], [alpha, 1 - alpha])
        return min(np.exp(-n * h), np.e * stats.binom.cdf(math.ceil(n * r - 1e-9), n, alpha))

    budget = C.risk_budget(n, alpha, delta)
    assert p_value(budget) <= delta * (1 + 1e-6)
    assert p_value(budget + 1e-4) > delta


@pytest.mark.parametrize("rule", [C.risk_controlling_threshold, C.expected_risk_threshold])
def test_masked_pixels_do_not_count(rule):
    scores = jnp.abs(TRUTH)
    assert float(rule(scores, ALPHA, mask=jnp.ones(TRUTH.shape, bool))) == float(
        rule(scores, ALPHA)
    )
    mask = jnp.arange(PIXELS) < 4
    hidden = jnp.where(mask, scores, jnp.nan)
    found = rule(hidden, ALPHA, mask=jnp.broadcast_to(mask, TRUTH.shape))
    assert float(found) == float(rule(scores[:, :4], ALPHA))


def test_each_object_has_its_own_fraction():
    """One pixel of an object with one counts as much as ten of another with ten."""
    mask = jnp.zeros((20, 10), bool).at[:, 0].set(True).at[0].set(True)
    scores = jnp.zeros((20, 10)).at[0].set(jnp.arange(10.0))
    found = jax.jit(lambda s: C.expected_risk_threshold(s, 0.1, mask=mask))(scores)
    loss = lambda q: np.sum((scores > q) & mask, 1) / np.sum(mask, 1)  # noqa: E731
    budget = (21 * 0.1 - 1) / 20
    assert loss(float(found)).mean() <= budget < loss(-0.5).mean()
    assert float(found) == 0.0
