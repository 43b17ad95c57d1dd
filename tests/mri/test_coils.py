"""Coil maps and combination against formulas, and mixtures against NumPy's linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.physics import mri


def test_a_finer_grid_samples_the_same_field():
    coarse = mri.birdcage_maps(6, (32, 20))
    fine = mri.birdcage_maps(6, (96, 40))
    np.testing.assert_allclose(fine[:, ::3, ::2], coarse, atol=1e-6)


def test_maps_are_fields_of_wires():
    # The field of a wire is analytic in x + iy: ∂S/∂y = i ∂S/∂x.
    maps = np.asarray(mri.birdcage_maps(5, (512, 512), rotation=0.3))
    along_y, along_x = np.gradient(maps, axis=(1, 2))
    middle = (slice(None), slice(64, -64), slice(64, -64))
    np.testing.assert_allclose(along_y[middle], 1j * along_x[middle], atol=2e-5)
    np.testing.assert_allclose(maps[:, 256, 256], np.full(5, 1 / np.sqrt(5)), rtol=1e-6)
    # Coil 0 is on the right, at 0.3 rad: strongest there.
    row, column = np.unravel_index(np.abs(maps[0]).argmax(), (512, 512))
    assert column > 480
    assert row > 256


def test_birdcage_is_differentiable_in_its_radius(x64):
    def energy(radius):
        return jnp.sum(jnp.abs(mri.birdcage_maps(3, (6, 5), radius=radius)) ** 3)

    exact, step = jax.grad(energy)(2.0), 1e-6
    numeric = (energy(2.0 + step) - energy(2.0 - step)) / (2 * step)
    assert abs(float(exact / numeric) - 1) < 1e-7


def test_normalise_maps_with_sets_and_gaps():
    maps = mri.birdcage_maps(4, (8, 6)).at[:, 2, 3].set(0)
    both = mri.normalise_maps(jnp.stack([maps, 2 * maps]))
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)
    sizes = np.asarray(mri.rss(both, axis=1))
    assert sizes[0, 2, 3] == 0
    np.testing.assert_allclose(np.delete(sizes[0].ravel(), 2 * 6 + 3), 1, rtol=1e-6)


def test_rss(key):
    images = jax.random.normal(key, (3, 5, 4), jnp.complex64).at[:, 0, 0].set(0)
    np.testing.assert_allclose(mri.rss(images), np.linalg.norm(images, axis=0), rtol=1e-6)
    slope = jax.grad(lambda s: mri.rss(images * s).sum())(1.0)
    np.testing.assert_allclose(slope, mri.rss(images).sum(), rtol=1e-5)
    at_zero = jax.grad(lambda x: mri.rss(x).sum())(jnp.zeros((2, 1)))
    assert jnp.array_equal(at_zero, jnp.zeros((2, 1)))


def test_combine_is_least_squares(key):
    maps, images = jax.random.normal(key, (2, 3, 4, 5), jnp.complex64)
    maps = maps.at[:, 1, 1].set(0)
    combined = np.asarray(mri.combine(images, maps))
    for i, j in ((0, 0), (3, 2)):
        best = np.linalg.lstsq(maps[:, i, j, None], images[:, i, j], rcond=None)[0]
        np.testing.assert_allclose(combined[i, j], best[0], rtol=1e-5)
    assert combined[1, 1] == 0


def test_adaptive_maps_are_local_covariance_eigenvectors(key):
    images = jax.random.normal(key, (3, 6, 5), jnp.complex64)
    maps = np.asarray(mri.adaptive_maps(images, width=3))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    for i, j in ((0, 0), (2, 3), (5, 4)):
        patch = padded[:, i : i + 3, j : j + 3].reshape(3, -1)
        best = np.linalg.svd(patch)[0][:, 0]
        assert abs(np.vdot(best, maps[:, i, j])) > 1 - 1e-5
    strongest = np.linalg.svd(np.reshape(images, (3, -1)))[0][:, 0]
    component = np.einsum("c,cyx->yx", strongest.conj(), maps)
    turned = component / component[0, 0]  # one global phase is free
    np.testing.assert_allclose(turned.imag, 0, atol=1e-5)
    assert turned.real.min() > 0


def test_adaptive_combination_beats_rss_in_noise(key):
    maps = mri.normalise_maps(mri.birdcage_maps(8, (64, 48)))
    y, x = np.mgrid[-1:1:64j, -1:1:48j]
    image = np.where(x**2 + y**2 < 0.5, 1.0, 0.05).astype(np.float32)
    images = maps * image[None] + 0.1 * jax.random.normal(key, maps.shape, maps.dtype)
    background = image < 0.5

    def error(estimate):
        return np.linalg.norm((np.abs(estimate) - image)[background])

    assert error(mri.adaptive_combine(images)) < 0.7 * error(mri.rss(images))
    assert error(mri.combine(images, maps)) < error(mri.adaptive_combine(images))


@pytest.mark.parametrize("width", [0, 4])
def test_adaptive_window_must_be_odd(width):
    with pytest.raises(ValueError, match="`width`"):
        mri.adaptive_maps(jnp.ones((2, 8, 8), jnp.complex64), width=width)


def test_prewhitening_gives_unit_noise_in_both_parts(key):
    sources, mixing = jax.random.split(key)
    factor = jax.random.normal(mixing, (4, 4), jnp.complex64) + 2 * jnp.eye(4)
    # σ = 1 in the real and in the imaginary part of each source.
    white = jnp.sqrt(2) * jax.random.normal(sources, (4, 50_000), jnp.complex64)
    covariance = mri.noise_covariance(mri.mix_coils(factor, white))
    expected = np.asarray(factor) @ np.asarray(factor).conj().T
    np.testing.assert_allclose(covariance, expected, atol=0.03 * np.abs(expected).max())
    noise = mri.prewhiten(mri.mix_coils(factor, white).reshape(4, 250, 200), covariance)
    np.testing.assert_allclose(mri.noise_covariance(noise), np.eye(4), atol=1e-4)
    np.testing.assert_allclose(noise.real.std(axis=(1, 2)), 1, atol=0.02)


def test_whitening_matrix_inverts_the_covariance(key):
    samples = jax.random.normal(key, (3, 20), jnp.complex64)
    covariance = mri.noise_covariance(samples)
    matrix = np.asarray(mri.whitening_matrix(covariance))
    np.testing.assert_allclose(
        matrix.conj().T @ matrix, np.linalg.inv(covariance), rtol=1e-3, atol=1e-4
    )
    assert np.array_equal(matrix, np.tril(matrix))


def test_too_few_noise_samples():
    with pytest.raises(ValueError, match="`noise` has 3 samples of 4 coils"):
        mri.noise_covariance(jnp.ones((4, 3), jnp.complex64))


def test_compression_is_the_truncated_svd(key):
    data = jax.random.normal(key, (6, 5, 8), jnp.complex64)
    matrix, compressed = mri.compress_coils(data, 3)
    flat = np.reshape(data, (6, -1))
    left, values, right = np.linalg.svd(flat, full_matrices=False)
    best = (left[:, :3] * values[:3]) @ right[:3]
    restored = matrix.conj().T @ np.reshape(compressed, (3, -1))
    np.testing.assert_allclose(restored, best, atol=2e-5 * values[0])
    np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(3), atol=1e-5)
    energies = np.linalg.norm(np.reshape(compressed, (3, -1)), axis=1)
    np.testing.assert_allclose(energies, values[:3], rtol=1e-5)


@pytest.mark.parametrize("n_virtual", [0, 3])
def test_impossible_compression(n_virtual):
    with pytest.raises(ValueError, match="`n_virtual`"):
        mri.compression_matrix(jnp.ones((2, 4), jnp.complex64), n_virtual)
