"""Every metric under jit, vmap and grad, with masks, precisions and bad input."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import metrics

SHAPE = (42, 43)
REFERENCED = {
    "mse": metrics.mse,
    "nmse": metrics.nmse,
    "nrmse": metrics.nrmse,
    "psnr": metrics.psnr,
    "snr": metrics.snr,
    "ssim": metrics.ssim,
    "ssim_uniform": metrics.ssim_uniform,
    "vif": metrics.vif,
}
ERRORS = ("mse", "nmse", "nrmse", "psnr", "snr")


def halves(image):
    left = jnp.zeros(image.shape, bool).at[:, :20].set(True)
    return metrics.cnr(image, region=left, background=~left)


METRICS = {**REFERENCED, "cnr": lambda image, _: halves(image)}


@functools.cache
def differentiated(name):
    """Compiled once for the tests that share it."""
    return jax.jit(jax.value_and_grad(METRICS[name]))


def pair(dtype: Any = np.complex64, seed=1):
    rng = np.random.default_rng(seed)
    ramp = np.hypot(*np.meshgrid(*(np.linspace(0, 3, n) for n in SHAPE), indexing="ij"))
    reference = (1 + np.sin(3 * ramp)) * np.exp(1j * ramp)
    noise = rng.normal(size=(2, *SHAPE))
    image = reference + 0.2 * (noise[0] + 1j * noise[1])
    pick = (lambda x: x) if np.issubdtype(dtype, np.complexfloating) else np.real
    return jnp.asarray(pick(image), dtype), jnp.asarray(pick(reference), dtype)


@pytest.mark.parametrize("name", METRICS)
def test_jit_and_vmap_change_nothing(name):
    metric = METRICS[name]
    pairs = [pair(seed=seed) for seed in (1, 2)]
    eager = [metric(*p) for p in pairs]
    images, references = (jnp.stack(x) for x in zip(*pairs))
    mapped = jax.jit(jax.vmap(metric))(images, references)
    np.testing.assert_allclose(mapped, jnp.stack(eager), rtol=2e-5)
    assert eager[0].shape == ()
    assert eager[0].dtype == jnp.float32


@pytest.mark.parametrize("name", METRICS)
def test_gradients_equal_finite_differences(name, x64):
    image, reference = pair(np.complex128)
    direction, _ = pair(np.complex128, seed=3)
    metric = differentiated(name)
    step = 1e-6
    ahead, _ = metric(image + step * direction, reference)
    behind, _ = metric(image - step * direction, reference)
    difference = (ahead - behind) / (2 * step)
    gradient = jnp.conj(metric(image, reference)[1])
    slope = jnp.sum(jnp.real(jnp.conj(gradient) * direction))
    assert abs(difference) > 1e-4
    np.testing.assert_allclose(slope, difference, rtol=1e-6)


@pytest.mark.parametrize("name", REFERENCED)
def test_equal_images_have_the_best_value_and_a_finite_gradient(name, x64):
    _, reference = pair(np.complex128)
    reference = reference.at[:25, :25].set(0)
    value, gradient = differentiated(name)(reference, reference)
    best = {"mse": 0, "nmse": 0, "nrmse": 0, "psnr": np.inf, "snr": np.inf}.get(name, 1)
    assert value == pytest.approx(best, abs=1e-5)
    assert jnp.all(jnp.isfinite(gradient))
    if name != "vif":  # more contrast than the reference has is rated above 1
        assert jnp.linalg.norm(gradient) < 1e-3


def test_cnr_without_noise_has_a_finite_gradient():
    value, gradient = jax.value_and_grad(halves)(jnp.ones(SHAPE))
    assert value == jnp.inf
    assert not jnp.any(gradient)


@pytest.mark.parametrize("name", ERRORS)
def test_what_the_mask_leaves_out_is_not_seen(name):
    metric = REFERENCED[name]
    image, reference = pair()
    mask = jnp.zeros(SHAPE, bool).at[5:30, 8:].set(True)
    cropped = metric(image[5:30, 8:], reference[5:30, 8:])
    image = jnp.where(mask, image, jnp.nan)
    reference = jnp.where(mask, reference, jnp.nan)
    value, gradient = jax.jit(jax.value_and_grad(metric))(image, reference, mask=mask)
    np.testing.assert_allclose(value, cropped, rtol=1e-5)
    assert jnp.all(jnp.isfinite(gradient))
    assert not jnp.any(jnp.where(mask, 0, gradient))


@pytest.mark.parametrize("name", ["ssim", "ssim_uniform", *ERRORS])
def test_a_mask_of_everything_changes_nothing(name):
    image, reference = pair()
    whole = REFERENCED[name](image, reference, mask=np.ones(SHAPE, bool))
    np.testing.assert_allclose(whole, REFERENCED[name](image, reference), rtol=1e-5)


def test_half_precision_and_integers_are_judged_in_single():
    image, reference = pair(np.float32)
    low = metrics.psnr(image.astype(jnp.bfloat16), reference.astype(jnp.bfloat16))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, metrics.psnr(image, reference), rtol=1e-2)
    assert metrics.mse(np.array([0, 200], np.uint8), np.array([200, 0], np.uint8)) == 40000


@pytest.mark.parametrize("name", REFERENCED)
def test_bad_input_is_named(name):
    metric = REFERENCED[name]
    image, reference = pair(np.float32)
    with pytest.raises(ValueError, match=r"`image` has shape \(41, 43\), expected \(42, 43\)"):
        metric(image[1:], reference)
    with pytest.raises(ValueError, match=r"`mask` has shape \(43,\), expected \(42, 43\)"):
        metric(image, reference, mask=np.ones(43, bool))
    if name not in ERRORS:
        with pytest.raises(ValueError, match=r"`image` has shape \(42, 5\), expected at least"):
            metric(image[:, :5], reference[:, :5])


def test_bad_settings_are_named():
    image, reference = pair(np.float32)
    with pytest.raises(ValueError, match="`size` is 8, expected an odd width"):
        metrics.ssim_uniform(image, reference, size=8)
    with pytest.raises(ValueError, match=r"expected \(slice, y, x\)"):
        metrics.fastmri(image, reference)
    with pytest.raises(ValueError, match="`region` has shape"):
        metrics.cnr(image, region=np.ones(3, bool), background=np.ones(SHAPE, bool))
