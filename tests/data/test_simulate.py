"""Simulated scans: their truth, their statistics, and that no step is the reconstruction's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import data
from jaxrecon.core import centered_ifft
from jaxrecon.physics import ct, mri
from tests.tolerances import relative_error

PIXEL = 0.5


@pytest.fixture(scope="module")
def head():
    """A head of 64 mm in 1/mm, on 128² pixels; not symmetric."""
    phantom = data.modified_shepp_logan(half_width=32.0, scale=0.05)
    return data.area_average(phantom, (128, 128), pixel=PIXEL)


@pytest.fixture(scope="module")
def noiseless(head):
    return data.simulate_ct(head, PIXEL, key=jax.random.key(0), n_views=90, photons=None)


def noisy_ct(head, key, **changes):
    settings = {"n_views": 90, "photons": 2e4, "background": 100.0, "electronic": 20.0} | changes
    return data.simulate_ct(head, PIXEL, key=key, **settings)


def test_ct_truth_is_the_area_average(head, noiseless):
    expected = np.asarray(head).reshape(64, 2, 64, 2).mean((1, 3))
    np.testing.assert_allclose(noiseless.truth, expected, rtol=1e-6)
    assert noiseless.operator.domain.shape == (64, 64)
    assert noiseless.operator.pixel == 2 * PIXEL
    assert float(noiseless.weights.min()) == 1


def test_ct_line_integrals_are_the_phantoms(noiseless):
    phantom = data.modified_shepp_logan(half_width=32.0, scale=0.05)
    n_bins = noiseless.operator.n_bins
    s = (jnp.arange(n_bins) - (n_bins - 1) / 2) * 2 * PIXEL
    exact = data.bin_averages(phantom, noiseless.operator.angles, s, 2 * PIXEL)
    # What is left: 128² pixels for an exact object, and the averaging of intensities.
    assert relative_error(noiseless.line_integrals, exact) < 0.015


def test_ct_averages_intensities_not_lines(head, noiseless):
    rays = ct.parallel_beam(
        noiseless.operator.angles, head.shape, 4 * 91, pixel=PIXEL, bin_pitch=PIXEL / 2
    )
    lines = rays(head).reshape(90, 91, 4)
    assert noiseless.operator.n_bins == 91
    expected = -np.log(np.exp(-np.asarray(lines, float)).mean(-1))
    np.testing.assert_allclose(noiseless.line_integrals, expected, atol=2e-6)
    # By Jensen's inequality a bin across an edge lets more through than the mean line.
    assert float((lines.mean(-1) - noiseless.line_integrals).max()) > 0.01


def test_ct_is_no_inverse_crime_but_near_the_model(noiseless):
    error = relative_error(noiseless.operator(noiseless.truth), noiseless.line_integrals)
    assert 1e-3 < error < 0.03


def test_ct_without_noise_comes_back_by_filtered_backprojection(noiseless):
    image = ct.fbp(noiseless.operator, noiseless.line_integrals)
    inside = (slice(20, 44), slice(20, 44))
    truth = np.asarray(noiseless.truth)
    # A skull of three pixels on 64² blurs and rings (0.22 from the phantom's exact lines too);
    # scale and place are right.
    assert relative_error(image, truth) < 0.25
    assert relative_error(image, np.roll(truth, 1, 0)) > 0.4
    np.testing.assert_allclose(image[inside].mean(), truth[inside].mean(), rtol=0.01)


def test_ct_noise_has_the_stated_variance(head, noiseless, key):
    scan = noisy_ct(head, key)
    error = np.asarray(scan.line_integrals - noiseless.line_integrals)
    # Weights are inverse variances: weighted errors are standard normal.
    standard = error * np.sqrt(np.asarray(scan.weights))
    assert abs(standard.std() - 1) < 0.03
    assert abs(standard.mean()) < 0.05
    assert int(scan.report.negative + scan.report.zero + scan.report.not_finite) == 0


def test_ct_low_dose_is_counted_and_weighs_nothing(head, key):
    scan = noisy_ct(head, key, photons=5.0, background=0.0, electronic=2.0)
    unusable = int(scan.report.negative + scan.report.zero)
    assert unusable > 0
    assert int((scan.weights == 0).sum()) == unusable
    assert np.isfinite(scan.line_integrals).all()


def test_ct_is_a_function_of_its_key_and_can_be_vmapped(head, key):
    first, again, other = (noisy_ct(head, k) for k in (key, key, jax.random.key(1)))
    assert jnp.array_equal(first.line_integrals, again.line_integrals)
    assert not jnp.array_equal(first.line_integrals, other.line_integrals)
    assert any("20000 photons" in fact for fact in first.facts)
    keys = jax.random.split(key, 2)
    many = jax.eval_shape(jax.jit(jax.vmap(lambda k: noisy_ct(head, k))), keys)
    assert many.line_integrals.shape == (2, 90, 91)


def noisy_mri(image, key, **changes):
    settings = {"shape": (48, 40), "sigma": 0.05, "n_coils": 5, "calibration": 10} | changes
    return data.simulate_mri(image, key=key, **settings)


@pytest.fixture(scope="module")
def brain():
    """An object without symmetry on 96 × 120 pixels, real, largest value 1."""
    phantom = data.modified_shepp_logan(half_width=46.0)
    return data.area_average(phantom, (96, 120), origin="fourier")


def test_mri_full_noiseless_data_are_the_truth(brain, key):
    scan = noisy_mri(brain, key, sigma=0.0, mask=jnp.ones((1, 1), bool))
    assert relative_error(scan.operator.H(scan.kspace), scan.truth) < 1e-6
    np.testing.assert_allclose(mri.rss(scan.maps), 1, rtol=1e-6)
    # Up to Gibbs ringing and the change of the maps within a pixel the truth is the object.
    assert 1e-3 < relative_error(scan.operator(scan.truth), scan.kspace) < 0.05


def test_mri_keeps_scale_and_place(key):
    y, x = ((np.arange(n) - n // 2) / n for n in (96, 120))
    smooth = np.exp(-(((y[:, None] - 0.1) / 0.08) ** 2) - ((x + 0.07) / 0.1) ** 2)
    scan = noisy_mri(jnp.asarray(smooth, jnp.float32), key, sigma=0.0, mask=jnp.ones((1, 1), bool))
    assert relative_error(jnp.abs(scan.truth), smooth[::2, ::3]) < 1e-3


def test_mri_kspace_of_an_analytic_object(key):
    phantom = data.modified_shepp_logan(half_width=46.0)
    fine = data.area_average(phantom, (96, 120), origin="fourier")
    scan = noisy_mri(fine, key, sigma=0.0, phase=0.0, mask=jnp.ones((1, 1), bool))
    # The pixel of the coarse grid is 2 × 3 fine ones: k-space over the same field of view.
    coordinates = data.cartesian_coordinates((48, 40))
    exact = data.kspace(phantom, coordinates, (96, 120)) * np.sqrt(48 * 40 / (96 * 120))
    truth = centered_ifft(exact, (0, 1))
    assert relative_error(scan.truth, truth) < 0.05


def test_mri_noise_has_the_stated_sigma_where_the_mask_is(brain, key):
    scan, clean = noisy_mri(brain, key), noisy_mri(brain, key, sigma=0.0)
    assert jnp.array_equal(scan.mask, clean.mask)
    assert jnp.array_equal(scan.truth, clean.truth)
    noise = (scan.kspace - clean.kspace)[:, scan.mask]
    assert abs(noise.real.std() / 0.05 - 1) < 0.05
    assert abs(noise.imag.std() / 0.05 - 1) < 0.05
    assert not np.asarray(scan.kspace)[:, ~np.asarray(scan.mask)].any()
    assert int(scan.mask.sum()) == 48 * 40 // 4


def test_mri_phase_is_smooth_and_bounded(brain, key):
    scan = noisy_mri(brain, key, sigma=0.0, phase=0.5, mask=jnp.ones((1, 1), bool))
    bright = np.asarray(jnp.abs(scan.truth) > 0.15)
    turned = np.angle(np.asarray(scan.truth))[bright]
    assert 0.05 < np.abs(turned).max() < 0.7


def test_mri_runs_under_jit_with_a_mask(brain, key):
    mask = mri.random_lines_mask(key, (48, 40), 2, calibration=8)
    keys = jax.random.split(key, 2)
    scans = jax.eval_shape(jax.jit(jax.vmap(lambda k: noisy_mri(brain, k, mask=mask))), keys)
    assert scans.kspace.shape == (2, 5, 48, 40)
    assert "acceleration 2" in scans.facts[2]


def test_errors_name_the_argument(head, brain, key):
    for name, wrong in (("photons", 0.0), ("n_views", 0), ("rays_per_bin", 0), ("factor", 3)):
        with pytest.raises(ValueError, match=f"`{name}` is {wrong}"):
            noisy_ct(head, key, **{name: wrong})
    with pytest.raises(ValueError, match="`pixel_fine` is -1"):
        data.simulate_ct(head, -1.0, key=key, n_views=3)
    with pytest.raises(ValueError, match=r"`shape` is \(200, 40\)"):
        noisy_mri(brain, key, shape=(200, 40))
    with pytest.raises(ValueError, match="`sigma` is -1"):
        noisy_mri(brain, key, sigma=-1.0)
    with pytest.raises(ValueError, match="`mask` has dtype float32"):
        noisy_mri(brain, key, mask=np.ones((48, 40), np.float32))
    with pytest.raises(ValueError, match="`mask` has shape"):
        noisy_mri(brain, key, mask=jnp.ones((3, 40), bool))
