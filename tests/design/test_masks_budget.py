"""Projections, relaxations and draws: exact budgets, derivatives, chances."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.design import masks
from jaxrecon.design.masks import (
    pivotal_sample,
    project_budget,
    relaxed_bernoulli,
    rescale,
    scale_to_budget,
    soft_top_k,
)

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(0)


def slope_by_differences(f, x, h=1e-5):
    x = np.asarray(x, float)
    units = h * np.eye(x.size)
    return np.array([(f(x + e) - f(x - e)) / (2 * h) for e in units])


# ------------------------------------------------------------------------------------ projections


def nearest_by_cases(v, total, lower, upper):
    """The projection by trying which positions are at which bound: 3ⁿ cases."""
    best, value = np.full(len(v), np.nan), np.inf
    for case in itertools.product((0, 1, 2), repeat=len(v)):
        case = np.array(case)
        w, inside = np.where(case == 0, lower, upper), case == 2
        if inside.any():
            w = np.where(inside, v, w)
            w = w + inside * (total - w.sum()) / inside.sum()
        fits = (
            np.isclose(w.sum(), total) and (w >= lower - 1e-12).all() and (w <= upper + 1e-12).all()
        )
        if fits and np.sum((w - v) ** 2) < value:
            best, value = w, np.sum((w - v) ** 2)
    return best


@pytest.mark.parametrize("total", [0.9, 1.7, 3.1])
def test_the_projection_is_the_nearest_point(total):
    v = RNG.normal(size=6) * 2
    lower, upper = np.array([0, 0, 0.3, 0, 0, 0.1]), np.array([1, 0.6, 1, 1, 0.7, 1])
    w = project_budget(jnp.asarray(v), total, lower, upper)
    np.testing.assert_allclose(w, nearest_by_cases(v, total, lower, upper), atol=1e-9)


def test_the_projection_onto_a_simplex_and_its_derivative():
    v, c = jnp.asarray(RNG.normal(size=7)), RNG.normal(size=7)
    w = project_budget(v, 1.3)
    assert float(w.min()) >= 0
    assert float(w.sum()) == pytest.approx(1.3, abs=1e-14)
    np.testing.assert_allclose(project_budget(w, 1.3), w, atol=1e-14)
    f = lambda v: float(c @ project_budget(jnp.asarray(v), 1.3))  # noqa: E731
    slope = jax.grad(lambda v: c @ project_budget(v, 1.3))(v)
    np.testing.assert_allclose(slope, slope_by_differences(f, v), atol=1e-7)


def test_scaling_reaches_the_budget_and_keeps_ratios():
    density = jnp.asarray(np.exp(RNG.normal(size=20) * 2))
    fixed = jnp.arange(20) < 3
    p = scale_to_budget(density, 9, fixed)
    assert float(p.sum()) == pytest.approx(9, abs=1e-12)
    assert (p[:3] == 1).all()
    below = np.asarray(p < 1)
    np.testing.assert_allclose(np.ptp(np.log(p / density)[below]), 0, atol=1e-12)
    c = RNG.normal(size=20)
    f = lambda d: float(c @ scale_to_budget(jnp.asarray(d), 9, fixed))  # noqa: E731
    slope = jax.grad(lambda d: c @ scale_to_budget(d, 9, fixed))(density)
    np.testing.assert_allclose(slope, slope_by_differences(f, density, 1e-7), atol=1e-5)


@pytest.mark.parametrize("mean", [0.1, 0.9])
def test_rescaling_has_the_mean_and_stays_within_one(mean):
    p = rescale(jnp.asarray(RNG.uniform(size=50)), mean)
    assert float(p.mean()) == pytest.approx(mean, abs=1e-12)
    assert 0 <= float(p.min()) <= float(p.max()) <= 1


# ------------------------------------------------------------------------------------ relaxations


@pytest.mark.parametrize("temperature", [3.0, 1.0, 0.05, 1e-4])
def test_soft_top_k_sums_to_k_at_every_temperature(temperature):
    z = jnp.asarray(RNG.normal(size=30) * 3)
    fixed = jnp.arange(30) % 7 == 0
    y = soft_top_k(z, 11, temperature, fixed)
    assert float(y.sum()) == pytest.approx(11, abs=1e-9)
    assert (y[fixed] == 1).all()
    if temperature == 1e-4:
        hard = masks.top_k(jnp.where(fixed, jnp.inf, z), 11)
        np.testing.assert_allclose(y, hard, atol=1e-6)


def test_soft_top_k_has_first_and_second_derivatives():
    z, c = jnp.asarray(RNG.normal(size=6)), RNG.normal(size=6)
    f = lambda z, T=0.7: jnp.asarray(c) @ soft_top_k(z, 2, T) ** 2  # noqa: E731
    slope = jax.grad(f)
    np.testing.assert_allclose(slope(z), slope_by_differences(lambda v: float(f(v)), z), atol=1e-8)
    curvature = slope_by_differences(lambda v: np.asarray(slope(v)), z)
    np.testing.assert_allclose(jax.hessian(f)(z), curvature, atol=1e-7)
    by_temperature = jax.grad(lambda T: f(z, T))(0.7)
    h = 1e-5
    difference = (f(z, 0.7 + h) - f(z, 0.7 - h)) / (2 * h)
    assert float(by_temperature) == pytest.approx(float(difference), rel=1e-7)


def test_relaxed_draws_are_above_a_half_with_their_probability():
    p = jnp.asarray([0.1, 0.5, 0.8])
    draws = relaxed_bernoulli(jax.random.key(0), jnp.broadcast_to(p, (20_000, 3)), 0.3)
    np.testing.assert_allclose((draws > 0.5).mean(0), p, atol=0.015)


# ------------------------------------------------------------------------------------------ draws


@pytest.mark.parametrize("n", [5, 16, 33])
def test_pivotal_sampling_is_exact_in_number_and_chance(n):
    p = project_budget(jnp.asarray(RNG.uniform(size=n) * 1.4), round(n / 3), 0.0, 1.0)
    keys = jax.random.split(jax.random.key(n), 20_000)
    draws = np.asarray(jax.vmap(pivotal_sample, (0, None))(keys, p))
    assert (draws.sum(1) == round(n / 3)).all()
    assert not draws[:, np.asarray(p) == 0].any()
    assert draws[:, np.asarray(p) == 1].all()
    deviation = np.sqrt(p * (1 - p) / len(keys))
    assert (np.abs(draws.mean(0) - p) <= 4.5 * deviation + 1e-12).all()


def test_neighbours_repel():
    """Pairs (2i, 2i + 1) with p = ½ each meet first: just one of the two is taken."""
    keys = jax.random.split(jax.random.key(1), 500)
    draws = jax.vmap(pivotal_sample, (0, None))(keys, jnp.full(8, 0.5))
    assert (draws.reshape(500, 4, 2).sum(-1) == 1).all()


def test_annealing_is_geometric():
    cooling = masks.geometric(2.0, 0.02, 5)
    steps = [float(cooling(jnp.asarray(i))) for i in range(7)]
    np.testing.assert_allclose(steps[:5], np.geomspace(2, 0.02, 5))
    np.testing.assert_allclose(steps[5:], 0.02)
    with pytest.raises(ValueError, match="positive"):
        masks.geometric(0.0, 1.0, 3)
