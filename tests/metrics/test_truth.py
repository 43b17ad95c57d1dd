"""Metrics against scikit-image, published code written out, and values known by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from skimage import metrics as sk

from jaxrecon import metrics


def pair(shape=(45, 52), seed=0):
    """A smooth reference with edges, and a noisy blurred version of it."""
    rng = np.random.default_rng(seed)
    reference = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    reference = (reference - reference.min()) + (reference > 0.05)
    image = ndimage.gaussian_filter(reference, 0.7) + 0.1 * rng.normal(size=shape)
    return image.astype(np.float32), reference.astype(np.float32)


def test_errors_equal_their_definitions():
    image, reference = pair((6, 7))
    image, reference = image + 0.3j, reference - 0.2j * reference
    d = (image - reference).ravel()
    energy = np.vdot(reference, reference).real
    assert metrics.mse(image, reference) == pytest.approx(np.mean(np.abs(d) ** 2), rel=1e-5)
    assert metrics.nmse(image, reference) == pytest.approx(np.vdot(d, d).real / energy, rel=1e-5)
    assert metrics.nrmse(image, reference) == pytest.approx(
        np.linalg.norm(d) / np.linalg.norm(reference), rel=1e-5
    )
    assert metrics.snr(image, reference) == pytest.approx(
        10 * np.log10(energy / np.vdot(d, d).real), rel=1e-5
    )


def test_psnr_range_is_the_maximum_magnitude_of_the_unit():
    image, reference = pair()
    reference = reference - 2 * reference.max()
    peak = np.abs(reference).max()
    expected = sk.peak_signal_noise_ratio(reference, image, data_range=peak)
    assert metrics.psnr(image, reference) == pytest.approx(expected, rel=1e-5)
    assert metrics.psnr(image, reference, data_range=10 * peak) == pytest.approx(
        expected + 20, rel=1e-5
    )


@pytest.mark.parametrize("shape", [(45, 52), (2, 21, 17)])
def test_ssim_is_scikit_images(shape):
    image, reference = pair(shape)
    peak = reference.max()
    slices = list(zip(image.reshape(-1, *shape[-2:]), reference.reshape(-1, *shape[-2:])))
    gaussian = [
        sk.structural_similarity(
            x, y, data_range=peak, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for x, y in slices
    ]
    uniform = [sk.structural_similarity(x, y, data_range=peak) for x, y in slices]
    assert metrics.ssim(image, reference) == pytest.approx(np.mean(gaussian), abs=1e-5)
    assert metrics.ssim_uniform(image, reference) == pytest.approx(np.mean(uniform), abs=1e-5)


def test_ssim_of_three_axes_is_scikit_images():
    image, reference = pair((12, 13, 14))
    expected = sk.structural_similarity(
        image, reference, data_range=2.0, gaussian_weights=True, use_sample_covariance=False
    )
    figure = metrics.ssim(image, reference, data_range=2.0, n_axes=3)
    assert figure == pytest.approx(expected, abs=1e-5)
    expected = sk.structural_similarity(image, reference, data_range=2.0, win_size=5)
    figure = metrics.ssim_uniform(image, reference, data_range=2.0, n_axes=3, size=5)
    assert figure == pytest.approx(expected, abs=1e-5)


def test_blank_images_are_equal():
    """A blank slice has no range; it is like itself, and unlike another with a finite slope."""
    blank = jnp.zeros((12, 13))
    for similarity in (metrics.ssim, metrics.ssim_uniform):
        assert float(similarity(blank, blank)) == 1
        slope = jax.grad(lambda x, f=similarity: f(x, blank))(blank + 0.1)
        assert bool(jnp.isfinite(slope).all())
        assert float(jnp.abs(slope).max()) > 0


def test_ssim_survives_an_offset_in_single_precision():
    """Hounsfield-like values: a range much smaller than the level."""
    image, reference = pair()
    expected = sk.structural_similarity(
        *(x.astype(np.float64) + 1000 for x in (image, reference)),
        data_range=2.0,
        gaussian_weights=True,
        use_sample_covariance=False,
    )
    figure = metrics.ssim(image + 1000, reference + 1000, data_range=2.0)
    assert figure == pytest.approx(expected, abs=1e-4)


def test_masked_ssim_averages_the_map():
    image, reference = pair()
    mask = np.zeros(reference.shape, bool)
    mask[3:20, 10:40] = True
    settings: dict[str, Any] = {"gaussian_weights": True, "use_sample_covariance": False}
    result: Any = sk.structural_similarity(image, reference, data_range=2.0, full=True, **settings)
    similarity = result[1]
    inside = np.zeros_like(mask)
    inside[5:-5, 5:-5] = mask[5:-5, 5:-5]
    figure = metrics.ssim(image, reference, data_range=2.0, mask=mask)
    assert figure == pytest.approx(similarity[inside].mean(), abs=1e-4)


def test_fastmri_is_their_evaluation():
    image, reference = pair((3, 20, 24))
    peak = reference.max()
    expected = {
        "nmse": np.linalg.norm(reference - image) ** 2 / np.linalg.norm(reference) ** 2,
        "psnr": sk.peak_signal_noise_ratio(reference, image, data_range=peak),
        "ssim": np.mean(
            [sk.structural_similarity(y, x, data_range=peak) for x, y in zip(image, reference)]
        ),
    }
    figures = {name: float(x) for name, x in metrics.fastmri(image, reference).items()}
    assert figures == pytest.approx(expected, rel=1e-4)


def vifp(reference, distorted, keep=None):
    """Sheikh and Bovik's vifp_mscale.m, line by line in double precision."""
    x, y = (np.asarray(v, np.float64) for v in (reference, distorted))
    keep = np.ones(x.shape, bool) if keep is None else keep
    noise, received, sent = 2.0, 0.0, 0.0
    for scale in range(1, 5):
        width = 2 ** (4 - scale + 1) + 1
        axis = np.arange(width) - width // 2
        window = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * (width / 5) ** 2))
        window /= window.sum()
        r = width // 2

        def valid(a, window=window, r=r):
            return ndimage.correlate(a, window)[r:-r, r:-r]

        if scale > 1:
            x, y = valid(x)[::2, ::2], valid(y)[::2, ::2]
            keep = keep[r:-r, r:-r][::2, ::2]
        mx, my = valid(x), valid(y)
        sx = np.maximum(valid(x * x) - mx * mx, 0)
        sy = np.maximum(valid(y * y) - my * my, 0)
        sxy = valid(x * y) - mx * my
        g = sxy / (sx + 1e-10)
        sv = sy - g * sxy
        g[sx < 1e-10], sv[sx < 1e-10] = 0, sy[sx < 1e-10]
        sx[sx < 1e-10] = 0
        g[sy < 1e-10], sv[sy < 1e-10] = 0, 0
        sv[g < 0], g[g < 0] = sy[g < 0], 0
        sv[sv <= 1e-10] = 1e-10
        inside = keep[r:-r, r:-r]
        received += np.log10(1 + g**2 * sx / (sv + noise))[inside].sum()
        sent += np.log10(1 + sx / noise)[inside].sum()
    return received / sent


def test_vif_is_the_published_pixel_domain_version():
    image, reference = pair((47, 60))
    image[:, :25], reference[:, :25] = 0.7, 0.5  # flat, where variances are rounding errors
    scale = 255 / reference.max()
    expected = vifp(scale * reference, scale * image)
    assert 0.1 < expected < 0.9
    assert metrics.vif(image, reference) == pytest.approx(expected, abs=1e-4)
    mask = np.zeros(reference.shape, bool)
    mask[5:40, 20:50] = True
    scale = 255 / reference[mask].max()
    expected = vifp(scale * reference, scale * image, mask)
    assert metrics.vif(image, reference, mask=mask) == pytest.approx(expected, abs=1e-4)


def test_vif_of_slices_adds_their_information():
    image, reference = pair((47, 60))
    stacked = metrics.vif(np.stack([image, image]), np.stack([reference, 0 * reference]))
    assert stacked == pytest.approx(float(metrics.vif(image, reference)), rel=1e-4)


def test_cnr_by_hand():
    image = jnp.array([7.0, 9.0, 1.0, 3.0, jnp.nan])
    region = jnp.array([True, True, False, False, False])
    background = jnp.array([False, False, True, True, False])
    assert metrics.cnr(image, region=region, background=background) == pytest.approx(6.0)
    turned = metrics.cnr(1j * image, region=region, background=background)
    assert turned == pytest.approx(6.0)


def test_complex_structure_is_judged_by_magnitude_and_errors_by_phase():
    image, reference = pair((47, 60))
    turned = image * np.exp(1j * image)
    for metric in (metrics.ssim, metrics.vif):
        assert metric(turned, reference) == pytest.approx(
            float(metric(np.abs(image), reference)), abs=1e-5
        )
    assert metrics.nrmse(1j * reference, reference) == pytest.approx(2**0.5, rel=1e-5)


def test_match_scale_finds_the_complex_factor():
    image, reference = pair((6, 7))
    reference = reference + 1j * image
    factor = 0.3 - 2.0j
    np.testing.assert_allclose(
        metrics.match_scale(reference / factor, reference), reference, rtol=1e-5
    )
    best = float(metrics.mse(metrics.match_scale(image, reference), reference))
    scale = metrics.match_scale(image, reference)[0, 0] / image[0, 0]
    for step in (1e-2, -1e-2, 1e-2j, -1e-2j):
        assert metrics.mse((scale + step) * image, reference) > best
    assert not np.any(metrics.match_scale(0 * image, reference))


def test_summary_is_the_three_figures():
    image, reference = pair()
    mask = reference > 0.5
    figures = metrics.summary(image, reference, mask=mask)
    for name in ("psnr", "ssim", "nrmse"):
        expected = getattr(metrics, name)(image, reference, mask=mask)
        assert figures[name] == pytest.approx(float(expected), rel=1e-5)
