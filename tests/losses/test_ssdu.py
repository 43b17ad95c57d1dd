"""Splitting a scan is supervised learning in expectation, by enumeration of all masks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.physics import ct, mri
from jaxrecon.training import losses
from jaxrecon.training.losses.self_supervised._ssdu import weighted_square
from tests.losses.toys import (
    KEY,
    WEIGHTS,
    Fixed,
    Linear,
    slopes_over_keys,
    truth,
)

P = np.array([1.0, 0.5, 0.8, 0.3])
Q = np.array([1.0, 0.6, 0.3, 0.7])
BITS = np.array(list(itertools.product([False, True], repeat=4)))


def chances(probability):
    return np.prod(np.where(BITS, probability, 1 - probability), 1)


def enumerated(loss, net, y0):
    """The exact mean of a loss over all scans and splits of four lines."""

    def one(mask, keep):
        A = mri.cartesian(mask[None], dtype=y0.dtype)
        batch = {"y": mask * y0, "A": A, "density": jnp.asarray(P)[None]}
        return loss(Fixed(keep[None], jnp.asarray(Q)))(net, batch, KEY)[0]

    table = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(BITS, BITS)
    return chances(P) @ table @ chances(Q)


def kspace():
    return jax.random.normal(jax.random.key(1), (1, 4), complex)


def supervised_on_unseen(matrix, y0):
    seen = BITS[:, None] & BITS[None]
    inputs = seen * np.asarray(y0[0])
    residual = np.where(seen, 0, inputs @ np.asarray(matrix).T - np.asarray(y0[0]))
    return chances(P) @ np.mean(np.abs(residual) ** 2, -1) @ chances(Q)


def test_weighted_ssdu_is_supervised_on_what_is_not_seen(x64):
    y0 = kspace()
    matrix = jax.random.normal(KEY, (4, 4), complex)
    got = enumerated(losses.WeightedSSDU, Linear(matrix), y0)
    np.testing.assert_allclose(got, supervised_on_unseen(matrix, y0), rtol=1e-12)


def test_without_weights_it_is_not(x64):
    y0 = kspace()
    matrix = jax.random.normal(KEY, (4, 4), complex)
    plain = lambda split: losses.WeightedSSDU(split, jnp.ones((1, 4)))  # noqa: E731
    wrong = enumerated(plain, Linear(matrix), y0)
    assert abs(wrong / supervised_on_unseen(matrix, y0) - 1) > 0.1


def test_ssdu_judges_unseen_rows_only_with_its_distance(x64):
    y0 = kspace()
    mask = jnp.array([[True, True, True, False]])
    keep = jnp.array([[True, False, True, True]])
    A = mri.cartesian(mask, dtype=y0.dtype)
    matrix = jax.random.normal(KEY, (4, 4), complex)
    batch = {"y": mask * y0, "A": A}
    value, _ = losses.SSDU(Fixed(keep, jnp.asarray(Q)))(Linear(matrix), batch, KEY)
    prediction = matrix[1] @ jnp.array([y0[0, 0], 0, y0[0, 2], 0])
    expected = 2 * abs(prediction - y0[0, 1]) / abs(y0[0, 1])
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_several_masks_are_the_mean_of_one(x64):
    y = kspace()
    A = mri.cartesian(jnp.ones((1, 4), bool), dtype=y.dtype)
    net, batch = Linear(jnp.eye(4, k=1, dtype=complex)), {"y": y, "A": A}
    split = losses.GaussianSplit(0.5, centre=0)
    several = losses.SSDU(split, n_masks=3)(net, batch, KEY)[0]
    rows = losses.units(A)
    keeps = [split(jax.random.split(k, 1)[0], rows) for k in jax.random.split(KEY, 3)]
    one = [losses.SSDU(Fixed(keep, jnp.zeros(4)))(net, batch, KEY)[0] for keep in keeps]
    np.testing.assert_allclose(several, np.mean(one), rtol=1e-12)


def test_ssdu_splits_views_and_shots(x64):
    A = ct.parallel_beam(jnp.linspace(0, 3, 6, dtype=float), (4, 5), 7)
    seen = []

    def net(A, y):
        seen.append(y)
        return A.H(y)

    y = A(jnp.ones((4, 5)))
    losses.SSDU(losses.SubsetSplit(3))(net, {"y": y, "A": A}, KEY)
    views = np.asarray(jnp.any(seen[0] != 0, 1))
    assert views.sum() == 4
    np.testing.assert_array_equal(seen[0][views], y[views])


def test_subset_ssdu_shows_some_views_and_judges_on_the_others(x64):
    A = ct.parallel_beam(jnp.linspace(0, 3, 6, dtype=float), (4, 5), 7)
    x, wrong = jnp.ones((4, 5)), jnp.eye(4, 5)
    batch = {"y": A(x), "A": A}
    for strategy, n_seen in (("X:1", 4), ("1:X", 2)):
        seen = []
        net = lambda A, y, seen=seen: seen.append((A, y)) or x  # noqa: E731
        loss = losses.SubsetSSDU(3, strategy, losses.l2)
        assert float(loss(net, batch, KEY)[0]) < 1e-24
        part, y = seen[0]
        np.testing.assert_allclose(part(x), y)
        assert part.angles.shape == (n_seen,)
        held = ~np.isin(np.asarray(A.angles), np.asarray(part.angles))
        expected = losses.l2(A(wrong)[held], A(x)[held])
        np.testing.assert_allclose(loss(lambda A, y: wrong, batch, KEY)[0], expected)


def test_robust_ssdu_learns_clean_rows(x64):
    # Both sums against closed forms, all rows measured: the unseen ones have no bias, the seen
    # ones the supervised slope for an input with the added noise.
    sigma, alpha = 0.5, 0.8
    keep = jnp.array([[True, False, True, True], [False, True, True, False]])
    x, a = np.asarray(truth()), 0.7
    loss = losses.RobustSSDU(sigma, alpha, Fixed(keep, jnp.full(8, 0.5)))
    draw = lambda k, x: x + sigma * jax.random.normal(k, x.shape)  # noqa: E731
    mean, error = slopes_over_keys(loss, draw, 20000)
    # f = a·(seen) + b·roll(seen), where what is seen is keep·(x + noise of variance v).
    k = np.asarray(keep, float)
    b, v = WEIGHTS[1], sigma**2 * (1 + alpha**2)
    rolled = np.roll(k * x, 1, (0, 1))
    residual = a * k * x + b * rolled - x
    expected = [
        2 * np.mean(residual * k * x + k * a * v),
        2 * np.mean(residual * rolled + np.roll(k, 1, (0, 1)) * b * v),
    ]
    assert np.all(np.abs(mean - expected) < 4.5 * error), (mean, expected, error)
    # The noisy data as target, as of plain training on what is seen, would be biased.
    biased = 2 * np.mean(k) * sigma**2
    assert biased > 10 * error[0]


def test_kspace_noisier2noise_is_stationary_at_the_truth(x64):
    y0 = kspace()

    class Constant:
        def __init__(self, error):
            self.error = error

        def __call__(self, A, y):
            return Linear(jnp.eye(4, dtype=complex))(A, y0 + self.error)

    def slope(density):
        def value(error):
            loss = lambda split: losses.KSpaceNoisier2Noise(density, split)  # noqa: E731
            return enumerated(loss, Constant(error), y0)

        return float(jnp.max(jnp.abs(jax.grad(value)(jnp.zeros_like(y0)))))

    assert slope(None) < 1e-12
    assert slope(jnp.full((1, 4), 0.6)) > 1e-2


def test_weighted_square_counts_each_masked_entry_with_its_weight(x64):
    residual = jnp.array([[1.0 + 1.0j, 2.0], [3.0, 4.0]])
    mask = jnp.array([[True, False]])
    got = weighted_square(residual, mask, jnp.array([[0.5, 9.0]]))
    np.testing.assert_allclose(got, 0.5 * (2 + 9) / 4)


def test_by_default_every_line_that_scans_miss_is_judged():
    """A line always kept has the weight 0: nothing would be learnt where scans miss it."""
    A, density = mri.cartesian(jnp.ones((1, 64), bool)), jnp.full((1, 64), 0.5)
    batch = {"y": jnp.ones((1, 64), complex), "A": A, "density": density}
    for loss, share in (
        (losses.WeightedSSDU(), 0.0),
        (losses.RobustSSDU(0.1, density=density), 0.0),
        (losses.WeightedSSDU(losses.VariableDensitySplit(centre=16)), 0.25),
        (losses.WeightedSSDU(losses.VariableDensitySplit(most=1.0)), 0.33),
    ):
        unjudged = loss(Linear(jnp.eye(64)), batch, KEY)[1]["unjudged"]
        np.testing.assert_allclose(unjudged, share, atol=0.02)


@pytest.mark.parametrize(
    "loss",
    [losses.WeightedSSDU, losses.KSpaceNoisier2Noise, lambda **o: losses.RobustSSDU(1.0, **o)],
)
def test_densities_of_another_shape_are_refused(loss):
    """On a square grid they would broadcast along the other axis."""
    lines = jnp.ones((6, 1), bool)
    A = mri.sense(jnp.ones((2, 6, 6), complex), lines)
    batch = {"y": A(jnp.ones((6, 6), complex)), "A": A}
    good, bad = jnp.full((6, 1), 0.5), jnp.full(6, 0.5)
    net = lambda A, y: A.H(y)  # noqa: E731
    loss(density=good)(net, batch, KEY)
    with pytest.raises(ValueError, match=r"`density` has shape \(6,\), expected \(1, 6, 1\)"):
        loss(density=bad)(net, batch, KEY)


def test_no_part_of_a_few_views_is_empty():
    """Each alone has all six of its views kept in a quarter of the draws."""
    rows = jnp.ones((6, 1), bool).at[2].set(False)
    for split in (losses.UniformSplit(0.1), losses.UniformSplit(0.9)):
        kept = jax.vmap(lambda k, s=split: s(k, rows))(jax.random.split(KEY, 500)).sum((1, 2))
        assert 1 <= int(kept.min()) <= int(kept.max()) <= 4
    one = jnp.zeros((6, 1), bool).at[3].set(True)
    assert int(losses.UniformSplit(0.9)(KEY, one).sum()) == 1
    A = ct.parallel_beam(jnp.linspace(0, 3, 6), (4, 4), 6)
    batch = {"y": A(jnp.ones((4, 4))), "A": A}
    loss, net = losses.SSDU(losses.UniformSplit(0.1)), lambda A, y: A.H(y)
    values = jax.vmap(lambda key: loss(net, batch, key)[0])(jax.random.split(KEY, 20))
    assert bool(jnp.isfinite(values).all())
