"""Noise: moments of large samples against the models' own moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.physics import (
    complex_gaussian_noise,
    gaussian_noise,
    poisson_counts,
    pwls_weights,
)

N = 40_000


def within(sample, mean, standard_deviation, n=N):
    """The mean of n independent draws lies within five standard errors."""
    assert abs(float(np.mean(sample)) - mean) < 5 * standard_deviation / np.sqrt(n)


def test_gaussian(key):
    noise = np.asarray(gaussian_noise(key, jnp.full(N, 2.0), 0.5)) - 2
    within(noise, 0, 0.5)
    within(noise**2, 0.25, 0.25 * np.sqrt(2))


def test_complex_sigma_is_per_real_and_imaginary_part(key):
    noise = np.asarray(complex_gaussian_noise(key, jnp.full(N, 1 - 3j), 0.5)) - (1 - 3j)
    for part in (noise.real, noise.imag):
        within(part, 0, 0.5)
        within(part**2, 0.25, 0.25 * np.sqrt(2))
    within(noise.real * noise.imag, 0, 0.25)


def test_sigma_of_each_coil(key):
    sigma = jnp.array([0.0, 1.0, 3.0])[:, None]
    noise = complex_gaussian_noise(key, jnp.zeros((3, N), jnp.complex64), sigma)
    np.testing.assert_allclose(noise.imag.std(axis=1), sigma[:, 0], rtol=0.02, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_kept(key, dtype, x64):
    data = jnp.zeros(4, dtype)
    assert gaussian_noise(key, data, 1.0).dtype == dtype
    assert poisson_counts(key, data, 100, electronic=jnp.float64(2)).dtype == dtype
    assert pwls_weights(data, background=1).dtype == dtype
    complex_data = data.astype(jnp.result_type(dtype, jnp.complex64))
    assert complex_gaussian_noise(key, complex_data, 1.0).dtype == complex_data.dtype


def test_counts_have_the_moments_of_the_model(key):
    intensity, p, background, electronic = 1000.0, 0.7, 50.0, 20.0
    counts = poisson_counts(
        key, jnp.full(N, p), intensity, background=background, electronic=electronic
    )
    mean = intensity * np.exp(-p) + background
    variance = mean + electronic**2
    within(counts, mean, np.sqrt(variance))
    within((np.asarray(counts) - mean) ** 2, variance, variance * np.sqrt(2.1))


def test_counts_are_whole_photons_without_electronic_noise(key):
    counts = poisson_counts(key, jnp.linspace(0, 10, 200), 100)
    assert jnp.all(counts == jnp.round(counts))
    assert jnp.all(counts >= 0)


def test_intensity_varies_over_the_detector(key):
    intensity = jnp.array([0.0, 1e4])
    counts = poisson_counts(key, jnp.zeros((500, 2)), intensity[None])
    np.testing.assert_allclose(counts.mean(axis=0), intensity, rtol=0.01)


def test_noise_depends_on_the_key_alone(key):
    data, other = jnp.full(64, 0.2), jax.random.key(21)
    draw = jax.jit(lambda k: poisson_counts(k, data, 1e3, electronic=1.0))
    assert jnp.array_equal(draw(key), draw(key))
    assert not jnp.array_equal(draw(key), draw(other))


def test_weights_are_the_inverse_variance_of_line_integrals(key):
    counts = poisson_counts(key, jnp.full(N, 1.0), 2e4, background=500.0, electronic=30.0)
    line_integrals = -jnp.log((counts - 500.0) / 2e4)
    weights = pwls_weights(counts, background=500.0, electronic=30.0)
    assert abs(float(weights.mean() * line_integrals.var()) - 1) < 0.05


def test_weights_by_hand():
    counts = jnp.array([30.0, 10.0, 9.0, -50.0, 0.0])
    weights = pwls_weights(counts, background=10.0, electronic=2.0)
    np.testing.assert_allclose(weights, [400 / 34, 0, 0, 0, 0], rtol=1e-6)


def test_gradients_are_finite_where_counts_vanish():
    slope = jax.grad(lambda n: pwls_weights(n).sum())(jnp.array([0.0, -1.0, 4.0]))
    np.testing.assert_allclose(slope, [0, 0, 1])
