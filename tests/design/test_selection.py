"""Greedy choice, exchange and adaptive acquisition, against brute force and dense algebra."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.design.criteria import (
    expected_error,
    expected_information,
    linear_gaussian,
    posterior_covariance,
)
from jaxrecon.design.selection import (
    acquire,
    at_random,
    ensemble_belief,
    exchange,
    gaussian_belief,
    greedy,
    in_order,
    sampled_belief,
)

pytestmark = pytest.mark.usefixtures("x64")
N, K, NOISE = 7, 3, 0.4
OBJECTIVES = {"error": expected_error, "information": expected_information}


@functools.cache
def random_model(seed, dtype: type = float, n_data=2):
    rng = np.random.default_rng(seed)
    draw = lambda *s: rng.normal(size=s) + (1j * rng.normal(size=s) if dtype is complex else 0)  # noqa: E731
    rows, factor, interest = draw(N, n_data, 6), draw(6, 5), draw(3, 6)
    rows, factor, interest = (jnp.asarray(a) for a in (rows, factor, interest))
    return linear_gaussian(rows, factor, NOISE, interest=interest)


@pytest.fixture(scope="module")
def values():
    """The objective of every set of K candidates, by dense algebra; the smaller, the better."""
    cache = {}

    def of(model, objective, size=K):
        key = id(model), objective, size
        if key not in cache:
            sets = list(itertools.combinations(range(N), size))
            weights = np.zeros((len(sets), N))
            for row, chosen in zip(weights, sets, strict=True):
                row[list(chosen)] = 1
            sign = 1 if objective == "error" else -1
            found = jax.vmap(OBJECTIVES[objective], (None, 0))(model, jnp.asarray(weights))
            cache[key] = model, dict(zip(sets, sign * np.asarray(found), strict=True))
        return cache[key][1]

    return of


MODELS = ((0, float), (1, complex))  # made in the tests, which are in double precision


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("which", MODELS)
def test_greedy_takes_the_best_next_candidate(which, objective, values):
    """As the naive algorithm does, which inverts anew for every candidate of every step."""
    model = random_model(*which)
    found = greedy(model, K, objective=objective)
    chosen = ()
    for step in range(K):
        options = values(model, objective, step + 1)
        grown = {i: options[tuple(sorted((*chosen, i)))] for i in set(range(N)) - set(chosen)}
        best = min(grown, key=lambda i: grown[i])
        assert int(found.indices[step]) == best
        assert abs(float(found.values[step])) == pytest.approx(abs(grown[best]), rel=1e-9)
        chosen = (*chosen, best)
    assert np.flatnonzero(found.weights).tolist() == sorted(chosen)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_exchange_ends_where_no_exchange_helps(objective, values):
    """From the worst set: no single exchange improves the end by more than its tolerance."""
    model = random_model(1, complex)
    table = values(model, objective)
    worst, best = max(table, key=lambda s: table[s]), min(table, key=lambda s: table[s])
    found = exchange(model, worst, objective=objective)
    end = tuple(sorted(found.indices.tolist()))
    assert bool(found.converged)
    assert int(found.n_swaps) > 0
    for place, new in itertools.product(range(K), set(range(N)) - set(end)):
        other = tuple(sorted(new if i == place else old for i, old in enumerate(end)))
        assert table[end] <= table[other] + 2e-3 * abs(table[other])
    assert table[end] == pytest.approx(table[best])  # here it is the best of all 35 sets
    kept = exchange(model, worst, objective=objective, n_fixed=2)
    assert kept.indices[:2].tolist() == list(worst[:2])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_greedy_is_optimal_for_independent_coefficients(objective):
    variances = jnp.array([0.3, 2.0, 1.0, 0.1, 3.0, 0.5, 1.5])
    model = linear_gaussian(jnp.eye(N), jnp.diag(jnp.sqrt(variances)), NOISE)
    assert greedy(model, K, objective=objective).indices.tolist() == [4, 1, 6]


def test_given_candidates_come_first_and_repeats_are_allowed_on_request():
    model = random_model(0)
    free = greedy(model, N).indices
    assert sorted(free.tolist()) == list(range(N))
    last = int(free[-1])
    assert greedy(model, K, given=[last]).indices[0] == last
    strong = linear_gaussian(jnp.eye(3), jnp.diag(jnp.array([9.0, 0.1, 0.1])), 3.0)
    again = greedy(strong, 3, repeats=True)
    assert again.indices.tolist() == [0, 0, 0]
    dense = expected_error(strong, again.weights)
    assert float(again.values[-1]) == pytest.approx(float(dense))


def test_single_precision_chooses_alike_at_high_contrast():
    rng = np.random.default_rng(3)
    rows, factor = rng.normal(size=(30, 12)), rng.normal(size=(12, 12))
    wide, narrow = (
        greedy(linear_gaussian(jnp.asarray(rows, t), jnp.asarray(factor, t), 0.05), 10)
        for t in (jnp.float64, jnp.float32)
    )
    assert narrow.values.dtype == jnp.float32
    np.testing.assert_allclose(narrow.values, wide.values, rtol=0.02)
    assert narrow.indices.tolist()[:5] == wide.indices.tolist()[:5]


# --------------------------------------------------------------------------------------- adaptive


def scanner(rows, x):
    """Noisy data of an object."""

    def measure(i, key):
        return rows[i] @ x + NOISE * jax.random.normal(key, rows.shape[1:2])

    return measure


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_for_gaussian_objects_adaptive_is_not_adaptive(objective):
    """Whatever the object and the noise, the scan is the one greedy found beforehand; its mean is
    the dense posterior mean of the data that came in."""
    rng = np.random.default_rng(4)
    rows, factor = jnp.asarray(rng.normal(size=(N, 2, 6))), jnp.asarray(rng.normal(size=(6, 5)))
    model = linear_gaussian(rows, factor, NOISE)
    before = greedy(model, K, objective=objective)
    belief = gaussian_belief(model, NOISE, objective=objective)

    def scan(x, key):
        return acquire(belief, scanner(rows, x), n_candidates=N, n_steps=K, key=key)

    objects = jnp.asarray(rng.normal(size=(4, 6)))
    scans = jax.jit(jax.vmap(scan))(objects, jax.random.split(jax.random.key(0), 4))
    np.testing.assert_array_equal(scans.indices, np.tile(before.indices, (4, 1)))
    C, A = factor @ factor.T, rows[before.indices].reshape(-1, 6)
    spread = A @ C @ A.T + NOISE**2 * jnp.eye(len(A))
    means = jax.vmap(lambda belief: belief.estimate())(scans.belief)
    by_hand = C @ A.T @ jnp.linalg.solve(spread, scans.data.reshape(4, -1).T)
    np.testing.assert_allclose(means, by_hand.T, atol=1e-10)
    end = factor @ scans.belief.known.inverse[0] @ factor.T
    np.testing.assert_allclose(end, posterior_covariance(model, before.weights), atol=1e-10)


def two_families():
    """Objects in two families, told apart by pixel 0: which of the others varies depends on it."""
    rng = np.random.default_rng(5)
    left, right = np.zeros((2, 60, 9))
    left[:, 0], right[:, 0] = 5.0, -5.0
    left[:, 1:5], right[:, 5:9] = rng.normal(size=(2, 60, 4)) * 1.5
    return jnp.asarray(np.concatenate([left, right]))


def test_where_objects_come_in_families_adaptive_scans_are_better():
    """It asks for the family first, then for what varies in it; no fixed order can."""
    images, n_steps = two_families(), 5
    belief = ensemble_belief(images, images[:, :, None], NOISE)
    centred = (images - images.mean(0)) / np.sqrt(len(images))
    model = linear_gaussian(jnp.eye(9), centred.T, NOISE)
    fixed = in_order(greedy(model, n_steps).indices)

    def error(x, key, policy):
        options = {"n_candidates": 9, "n_steps": n_steps, "key": key, "policy": policy}
        scan = acquire(belief, scanner(jnp.eye(9)[:, None], x), **options)
        return jnp.sum((scan.belief.estimate() - x) ** 2), scan.indices

    keys = jax.random.split(jax.random.key(1), len(images))
    run = lambda policy: jax.jit(jax.vmap(lambda x, k: error(x, k, policy)))(images, keys)  # noqa: E731
    (adaptive, order), (beforehand, _), (drawn, _) = run(None), run(fixed), run(at_random)
    assert (order[:, 0] == 0).all()
    assert set(np.unique(order[:60, 1:])) == {1, 2, 3, 4}
    assert set(np.unique(order[60:, 1:])) == {5, 6, 7, 8}
    assert adaptive.mean() < 0.7 * beforehand.mean()
    assert adaptive.mean() < 0.7 * drawn.mean()


def test_an_ensemble_is_weighed_by_bayes_rule():
    images = two_families()[:4]
    belief = ensemble_belief(images, images[:, :, None], NOISE)
    y = images[2, 3] + 0.1
    weights = belief.update(jnp.asarray(3), y[None]).weights()
    by_hand = np.exp(-((y - images[:, 3]) ** 2) / (2 * NOISE**2))
    np.testing.assert_allclose(weights, by_hand / by_hand.sum(), atol=1e-12)


def test_posterior_samples_lead_as_the_exact_posterior_does():
    """Samples of a Gaussian posterior: their scores tend to those of the Gaussian belief."""
    rng = np.random.default_rng(6)
    rows, factor = jnp.asarray(rng.normal(size=(N, 1, 6))), jnp.asarray(rng.normal(size=(6, 5)))
    model = linear_gaussian(rows, factor, NOISE)
    exact = gaussian_belief(model, NOISE, objective="information")

    def draw(data, measured, key):
        precision = model.precision(measured.astype(float))
        rhs = jnp.einsum("cdm,cd->m", model.rows, data / NOISE)
        root = jnp.linalg.cholesky(jnp.linalg.inv(precision))
        noise = jax.random.normal(key, (4000, 5)) @ root.T
        return (jnp.linalg.solve(precision, rhs) + noise) @ factor.T

    shape = jax.ShapeDtypeStruct((N, 1), float)
    sampled = sampled_belief(draw, lambda x: rows @ x, shape, NOISE)
    for i, datum in ((2, 1.0), (5, -0.3)):
        pair = [b.update(jnp.asarray(i), jnp.array([datum])) for b in (exact, sampled)]
        exact, sampled = pair
        scores = [b.scores(jax.random.key(7)) for b in pair]
        np.testing.assert_allclose(*scores, rtol=0.1, atol=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: greedy(m, N + 1), "`k` is 8"),
        (lambda m: greedy(m, 0), "`k` is 0"),
        (lambda m: greedy(m, 1, given=[0, 1]), "`k` is 1"),
        (lambda m: greedy(m, 2, given=[N]), "`given` is"),
        (lambda m: greedy(m, 2, objective="x"), "`objective` is 'x'"),
        (lambda m: exchange(m, [0, 0]), "`indices` is"),
        (lambda m: exchange(m, [0, 1], n_fixed=3), "`n_fixed` is 3"),
        (lambda m: gaussian_belief(m, 1.0, objective="x"), "`objective` is 'x'"),
        (
            lambda m: acquire(
                gaussian_belief(m, 1.0),
                lambda i, k: jnp.zeros(2),
                n_candidates=N,
                n_steps=N + 1,
                key=jax.random.key(0),
            ),
            "`n_steps` is 8",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_model(0))
