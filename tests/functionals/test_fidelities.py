"""Fidelities against the statistics they come from, and where they are delicate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrecon import functionals as F
from tests.functionals.draws import SHAPE, normal, positive


def test_poisson_is_the_likelihood(x64):
    y, b = jnp.array([0.0, 3.0, 8.0]), 0.5
    f = F.Poisson(y, b)
    x = jnp.array([[0.2, 4.0, 6.0], [1.0, 2.5, 9.0]])
    likelihood = [-stats.poisson.logpmf(y, m + b).sum() for m in np.asarray(x)]
    np.testing.assert_allclose(f(x[0]) - f(x[1]), likelihood[0] - likelihood[1], rtol=1e-12)
    assert float(f(y - b)) == 0
    assert float(f(jnp.array([0.0, -0.6, 1.0]))) == jnp.inf
    assert float(F.Poisson(y)(jnp.array([0.0, 0.0, 1.0]))) == jnp.inf


@pytest.mark.parametrize("make", [lambda y: F.Poisson(y, 5.0), lambda y: F.Transmission(y, 1e5)])
def test_counts_in_single_precision(make):
    """Near the optimum of large counts the divergence is not lost to rounding."""
    y = jnp.full(1000, 12345.0)
    optimum = y - 5.0 if isinstance(make(y), F.Poisson) else jnp.log(1e5 / y)
    assert 0 <= float(make(y)(optimum)) < 1e-2
    far = make(y[:3]).prox(jnp.array([0.0, 3.0, 60.0]), jnp.array([1e-6, 1.0, 1e3]))
    assert jnp.all(jnp.isfinite(far))


def test_poisson_proximal_map_does_not_cancel():
    """Far from the data m = t y / |q| to first order, which the textbook root rounds to zero."""
    p = F.Poisson(jnp.array([1.0])).prox(jnp.array([-1e6]), 1.0)
    np.testing.assert_allclose(p, [1e-6], rtol=1e-5)


def test_transmission_is_the_likelihood(x64):
    y, blank, b = jnp.array([0.0, 30.0]), 50.0, 2.0
    f, p = F.Transmission(y, blank, b), np.array([[3.0, 0.4], [1.0, 1.0]])
    likelihood = [-stats.poisson.logpmf(y, blank * np.exp(-q) + b).sum() for q in p]
    values = [f(jnp.asarray(q)) for q in p]
    np.testing.assert_allclose(values[0] - values[1], likelihood[0] - likelihood[1], rtol=1e-12)
    np.testing.assert_allclose(f.grad(jnp.log(blank / (y - b)))[1], 0, atol=1e-12)


@pytest.mark.parametrize("background", [0.0, 0.3, 20.0])
def test_transmission_proximal_map_over_its_range(background, x64):
    """Against a search of the whole line, from shadows to open beam; unique as step·y < 4."""
    x, y, step = np.meshgrid([-3.0, 0.1, 2.0, 9.0], [0.0, 1.0, 30.0, 1e4], [1e-6, 1e-3, 1.0])
    step = np.minimum(step, 3.9 / np.maximum(y, 1e-9))
    f = F.Transmission(jnp.asarray(y), 100.0, background)
    p = f.prox(jnp.asarray(x), jnp.asarray(step))
    slope = p - x + step * f.grad(p)
    scale = 1 + step * (100 * jnp.exp(-p) + jnp.asarray(y))
    assert float(jnp.abs(slope / scale).max()) < 1e-12


def test_transmission_of_a_dead_bin_is_left_alone(x64):
    f = F.Transmission(jnp.array([0.0, 5.0]), jnp.array([0.0, 20.0]))
    x = jnp.array([1.7, 0.3])
    derivative = jax.jacobian(lambda x: f.prox(x, 1.0))(x)
    assert float(f.prox(x, 1.0)[0]) == 1.7
    assert jnp.all(jnp.isfinite(derivative))
    assert float(f.grad(x)[0]) == 0


def test_rician_is_the_likelihood(x64):
    y, sigma = positive("float64", fold=1), 0.7
    f, signals = F.Rician(y, sigma), [positive("float64", fold=i) for i in (2, 3)]
    likelihood = [
        -stats.rice.logpdf(np.asarray(y), np.asarray(a) / sigma, scale=sigma).sum() for a in signals
    ]
    values = [f(a * jnp.exp(0.3j)) for a in signals]
    np.testing.assert_allclose(values[0] - values[1], likelihood[0] - likelihood[1], rtol=1e-9)


def test_rician_at_high_signal_is_least_squares():
    y, x = jnp.full(3, 1e4), jnp.array([1e4, 9.9e3, 1.2e4])
    np.testing.assert_allclose(F.Rician(y).grad(x), x - y, rtol=1e-3, atol=0.1)
    assert jnp.isfinite(F.Rician(y)(x))


def test_amplitude_projects_and_starts_somewhere(x64):
    y, x = positive("float64", fold=1), normal("complex128", fold=2)
    np.testing.assert_allclose(F.Amplitude(y).prox(x, 1e12), y * x / jnp.abs(x), rtol=1e-9)
    np.testing.assert_allclose(F.Amplitude(y).prox(0 * x, 1e12), y, rtol=1e-9)
    for f in (F.Amplitude(y), F.Intensity(y), F.Rician(y)):
        assert jnp.all(f.grad(0 * x) == 0)
        total = lambda x, f=f: jnp.sum(jnp.abs(f.prox(x, 1.0)) ** 2)  # noqa: E731
        assert jnp.all(jnp.isfinite(jax.grad(total)(0 * x)))


def test_proximal_maps_by_newton_have_second_derivatives(x64):
    y, x, h = positive("float64", fold=1), positive("float64", fold=2), 1e-5
    for f in (F.Rician(y, 0.6), F.Intensity(y), F.Transmission(y, 3.0, 0.1)):
        loss = lambda x, f=f: jnp.sum(f.prox(x, 0.7) ** 2)  # noqa: E731
        slope = lambda x, loss=loss: jnp.sum(jax.grad(loss)(x))  # noqa: E731
        first, second = jax.jit(slope), jax.jit(jax.grad(slope))
        numeric = (first(x + h) - first(x - h)) / (2 * h)
        np.testing.assert_allclose(jnp.sum(second(x)), numeric, rtol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 1e4])
def test_noise_ball_with_uneven_weights(spread, x64):
    """The residual of a projection is normal to the ball: x − p = λ W (p − y), λ > 0."""
    w = spread ** normal("float64", fold=3)
    y, x = normal("complex128", fold=1), normal("complex128", fold=2)
    p = F.NoiseBall(y, 0.5, w).prox(x, 1.0)
    np.testing.assert_allclose(jnp.sqrt(jnp.sum(w * jnp.abs(p - y) ** 2)), 0.5, rtol=1e-10)
    multiplier = (x - p) / (w * (p - y))
    np.testing.assert_allclose(multiplier, jnp.full(SHAPE, multiplier.real.mean()), rtol=1e-6)
    assert float(multiplier.real.mean()) > 0


def test_noise_balls_of_the_parts_lie_within_the_whole(x64):
    y, w = normal("float64", fold=1), positive("float64", fold=2)
    ball = F.NoiseBall(y, 2.0, w)
    parts = [ball.subset(i, 2).prox(9 * normal("float64", (2, 6), i), 1.0) for i in range(2)]
    assert float(ball(jnp.stack(parts, 1).reshape(SHAPE))) == 0
