"""Phase retrieval: moduli against differences, linear parts against explicit sums."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import core
from jaxrecon.core import tree
from jaxrecon.physics import optics
from tests.tolerances import relative_error


def normal(key, *shape, dtype: Any = complex):
    return jax.random.normal(key, shape, dtype)


def fourier(n):
    index = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(index, index) / n) / np.sqrt(n)


@pytest.mark.parametrize("model", [optics.amplitude, optics.intensity])
@pytest.mark.parametrize("dtype", [complex, float])
def test_linearisation_is_the_difference_quotient(key, x64, model, dtype):
    x, dx = normal(key, 4, 3, dtype=dtype), normal(jax.random.key(1), 4, 3, dtype=dtype)
    inner = core.fft(x) if dtype is complex else core.diagonal(normal(key, 4, 3, dtype=dtype), x)
    A = model(inner)
    y, derivative = A.linearise(x)
    step = 1e-6
    numeric = (A(x + step * dx) - A(x - step * dx)) / (2 * step)
    assert relative_error(y, A(x)) == 0
    assert relative_error(derivative(dx), numeric) < 1e-8
    w = normal(jax.random.key(2), 4, 3, dtype=float)
    slope = jnp.conj(jax.grad(lambda x: jnp.sum(w * A(x)))(x))
    assert relative_error(derivative.H(w), slope) < 1e-13
    assert not jnp.iscomplexobj(y)


def test_dark_pixels_stay_finite():
    A = optics.amplitude(core.identity(jnp.zeros(2, jnp.complex64)))
    x = jnp.array([0j, 3 + 4j], jnp.complex64)
    gradient = jax.grad(lambda x: jnp.sum(A(x)))(x)
    _, derivative = A.linearise(x)
    assert gradient[0] == 0
    assert bool(jnp.isfinite(gradient).all())
    assert relative_error(derivative.H(jnp.ones(2)), jnp.array([0, 0.6 + 0.8j])) < 1e-6


def test_coded_diffraction_is_explicit(key, x64):
    masks, x = normal(key, 2, 4, 3), normal(jax.random.key(1), 4, 3)
    A = optics.coded_diffraction(masks)
    expected = [fourier(4) @ np.asarray(m * x) @ fourier(3).T for m in masks]
    assert relative_error(A(x), np.stack(expected)) < 1e-13
    assert relative_error(A.subset(1, 2)(x), expected[1][None]) < 1e-13


def test_masks_have_unit_power(key):
    uniform = optics.random_phase_masks(key, 3, (5, 4))
    assert jnp.allclose(jnp.abs(uniform), 1, atol=1e-6)
    octanary = optics.random_phase_masks(key, 10, (60, 60), kind="octanary")
    assert abs(float(jnp.mean(jnp.abs(octanary) ** 2)) - 1) < 0.02
    assert len(np.unique(np.asarray(octanary).round(5))) == 8


def test_transmission_keeps_energy_on_average(key, x64):
    x = normal(key, 5, 4)
    A = optics.random_transmission(key, x, 4000)
    assert relative_error(A(x), np.asarray(A.matrix) @ np.asarray(x).ravel()) < 1e-13
    assert abs(float(tree.sum_of_squares(A(x)) / tree.sum_of_squares(x)) - 1) < 0.1
    assert relative_error(A.subset(3, 8)(x), A(x)[3::8]) < 1e-14


def test_ptychography_is_explicit(key, x64):
    probe, x = normal(key, 3, 2), normal(jax.random.key(1), 7, 6)
    positions = np.array([[0, 0], [1, 2], [4, 4], [1, 1]])
    A = optics.ptychography(probe, positions, x)
    views = [np.asarray(probe * x[i : i + 3, j : j + 2]) for i, j in positions]
    expected = np.stack([fourier(3) @ v @ fourier(2).T for v in views])
    assert relative_error(A(x), expected) < 1e-13
    light = np.zeros((7, 6))
    for i, j in positions:
        light[i : i + 3, j : j + 2] += np.abs(np.asarray(probe)) ** 2
    assert relative_error(A.illumination(), light) < 1e-13
    assert relative_error(A.shifted_inverse(0.1)(x), np.asarray(x) / (light + 0.1)) < 1e-13
    assert relative_error(A.subset(1, 2)(x), A(x)[1::2]) < 1e-14
    outside = core.replace(A, positions=jnp.asarray(positions).at[1].set(jnp.array([-1, 0])))
    assert jnp.isnan(outside(x)[1]).all()
    assert bool(jnp.isfinite(outside(x)[0]).all())


@pytest.mark.parametrize("kind", ["gaussian", "coded"])
def test_spectral_start_correlates_with_the_truth(key, kind):
    x = normal(jax.random.key(5), 8, 8, dtype=jnp.complex64)
    if kind == "gaussian":
        A = optics.random_transmission(key, x, 8 * 64)
    else:
        A = optics.coded_diffraction(optics.random_phase_masks(key, 8, (8, 8)))
    start = optics.spectral_init(A, optics.intensity(A)(x), jax.random.key(1))
    assert float(optics.overlap(start, x)) > 0.9
    assert abs(float(tree.norm(start) / tree.norm(x)) - 1) < 0.2
    noise = normal(jax.random.key(2), 8, 8, dtype=jnp.complex64)
    assert float(optics.overlap(noise, x)) < 0.4


def test_alignment_removes_the_global_phase(key, x64):
    x = normal(key, 6, 5)
    turned = x * jnp.exp(0.7j)
    assert relative_error(optics.align_phase(turned, x), x) < 1e-14
    assert relative_error(optics.align_phase(-x.real, x.real), x.real) == 0
    assert abs(float(optics.overlap(turned * 3, x)) - 1) < 1e-14
    assert float(optics.overlap(jnp.zeros_like(x), x)) == 0


def test_bad_arguments(key):
    x, probe = jnp.zeros((6, 6), complex), jnp.ones((3, 3), complex)
    corner, A = np.array([[0, 0]]), optics.coded_diffraction(jnp.ones((2, 4, 4)))
    bad = [
        ("`A` gives", lambda: optics.amplitude(core.stack([A, A]))),
        ("`masks` has shape", lambda: optics.coded_diffraction(jnp.ones(3))),
        ("`kind` is", lambda: optics.random_phase_masks(key, 2, (3, 3), kind="binary")),
        ("`matrix` has shape", lambda: optics.transmission(jnp.ones((3, 5)), x)),
        ("`n_measurements` is 0", lambda: optics.random_transmission(key, x, 0)),
        ("lead the probe out", lambda: optics.ptychography(probe, np.array([[4, 0]]), x)),
        ("`positions` is float", lambda: optics.ptychography(probe, corner * 0.5, x)),
        ("`probe` has shape", lambda: optics.ptychography(jnp.ones((7, 3)), corner, x)),
        ("`domain` is float32", lambda: optics.ptychography(probe, corner, x.real)),
        ("`step` is 0", lambda: optics.raster_positions((6, 6), (3, 3), 0)),
        ("`intensities` has shape", lambda: optics.spectral_init(A, jnp.ones((2, 4)), key)),
    ]
    for message, call in bad:
        with pytest.raises(ValueError, match=message):
            call()
