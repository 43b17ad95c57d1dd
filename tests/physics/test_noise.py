"""Noise: moments of large samples against the models' own moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.physics import (
    complex_gaussian_noise,
    gaussian_noise,
    noise_from_differences,
    noise_from_periphery,
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


@pytest.mark.parametrize("axes", [(-1,), (-2, -1), (0, 2)])
def test_differences_see_noise_and_not_smooth_data(key, axes):
    view, row, bins = np.ogrid[:40, :20, :50]
    smooth = jnp.asarray(np.sin(view / 15) * np.cos(bins / 20) + row, jnp.float32)
    variance = jnp.asarray(1 + bins / 25 + 0 * view + 0 * row, jnp.float32)
    noisy = gaussian_noise(key, smooth, 0.3 * jnp.sqrt(variance))
    level = noise_from_differences(noisy, 1 / variance, axes=axes)
    assert float(level) == pytest.approx(0.3, rel=0.03)


def test_data_without_weight_are_not_judged(key):
    noisy = gaussian_noise(key, jnp.zeros((60, 60)), 0.2)
    dead = noisy.at[:, ::5].set(1e3)
    weights = jnp.ones((60, 60)).at[:, ::5].set(0)
    assert float(noise_from_differences(dead, weights, axes=(-1,))) == pytest.approx(0.2, rel=0.1)
    assert float(noise_from_differences(dead, 0 * weights)) == 0


def test_the_periphery_is_noise_where_the_centre_is_an_image(key):
    radius = jnp.abs(jnp.arange(4001) - 2000.0)
    signal = 100 * jnp.exp(-radius / 100) + 0j
    kspace = complex_gaussian_noise(key, jnp.stack([signal, 2 * signal]), 0.5)
    missed = jnp.where(jnp.arange(4001) % 2 == 0, jnp.nan, radius)
    for known in (radius, missed):
        level = noise_from_periphery(jnp.where(jnp.isnan(known), 0, kspace), known, share=0.3)
        assert float(level) == pytest.approx(0.5, rel=0.05)


def test_noise_that_cannot_be_estimated_is_refused():
    with pytest.raises(ValueError, match=r"`data` has shape \(2, 9\).*axis -2"):
        noise_from_differences(jnp.zeros((2, 9)))
    with pytest.raises(ValueError, match=r"`share` is 0\.0"):
        noise_from_periphery(jnp.zeros(9, complex), jnp.arange(9.0), share=0.0)
