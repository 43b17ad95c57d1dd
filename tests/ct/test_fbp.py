"""Filtered backprojection: the attenuation of a disc from its exact chords."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.physics import ct

MU, X, Y, RADIUS, PIXEL, SHAPE = 0.02, 8.0, -5.0, 12.0, 0.5, (100, 120)
HALF = np.linspace(0, np.pi, 180, endpoint=False)
SHORT = np.linspace(0, np.pi + 2 * np.arctan(120 / 200) + 0.1, 200)


def chords(A):
    """Line integrals of a disc, from the distance of its centre to every line."""
    lines = np.asarray(A.lines)
    b = np.arange(A.n_bins) - (A.n_bins - 1) / 2
    lx, ly, lw = (lines[:, 0, k, None] + b * lines[:, 1, k, None] for k in range(3))
    distance = (lx * X + ly * Y + lw * PIXEL) / np.hypot(lx, ly)
    return jnp.asarray(2 * MU * np.sqrt(np.maximum(RADIUS**2 - distance**2, 0)), jnp.float32)


def parallel(angles, **options):
    return ct.parallel_beam(angles, SHAPE, 200, pixel=PIXEL, **options)


def fan(angles, **options):
    distances = {"source_origin": 120.0, "origin_detector": 80.0, "bin_pitch": 0.8}
    return ct.fan_beam(angles, SHAPE, 300, pixel=PIXEL, **distances, **options)


def mirrored(A):
    source, detector, axis = (np.asarray(a) * [1, -1] for a in (A.source, A.detector, A.axis))
    return ct.fan_from_poses(source, detector, axis, SHAPE, 300, pixel=PIXEL)


def check_disc(image, scale=0.01):
    y, x = (PIXEL * (np.arange(n) - (n - 1) / 2) for n in SHAPE)
    distance = np.hypot(y[:, None] - Y, x - X)
    inside, outside = np.asarray(image)[distance < 9], np.asarray(image)[distance > 15]
    assert abs(inside.mean() / MU - 1) < scale
    assert inside.std() / MU < 0.01
    assert np.abs(outside).mean() / MU < 0.03


@pytest.mark.parametrize("window", ["ramp", "shepp-logan", "cosine", "hamming", "hann"])
def test_windows(window):
    A = parallel(HALF)
    check_disc(ct.fbp(A, chords(A), window=window))


@pytest.mark.parametrize(
    "A",
    [
        parallel(np.linspace(0, np.pi, 180)),
        parallel(2 * HALF, offset=7.3),
        parallel(np.arange(180) * np.pi * 0.618034),
        parallel(np.sort(np.random.default_rng(0).random(180)) * np.pi),
        parallel(HALF, bin_pitch=0.8, offset=np.linspace(-3, 3, 180)),
        fan(2 * HALF),
        fan(-2 * HALF, offset=6.0),
        fan(SHORT + 1),
        fan(3 - SHORT, offset=4.0),
        fan(np.linspace(0, 1.6 * np.pi, 200)),
        mirrored(fan(SHORT + 1)),
    ],
    ids=[
        "both ends",
        "360 offset",
        "golden",
        "random",
        "pitch",
        "fan",
        "fan reversed",
        "short",
        "short reversed",
        "overscan",
        "mirrored",
    ],
)
def test_scans(A):
    check_disc(ct.fbp(A, chords(A)))


def test_the_check_sees_a_wrong_scale():
    A = parallel(HALF)
    with pytest.raises(AssertionError):
        check_disc(1.02 * ct.fbp(A, chords(A)))


def test_under_jit_vmap_and_grad():
    A = ct.parallel_beam(np.linspace(0, 3, 10), (8, 9), 13)
    y = jax.random.normal(jax.random.key(0), (2, 10, 13))
    images = jax.jit(jax.vmap(ct.fbp, (None, 0)))(A, y)
    np.testing.assert_allclose(images[1], ct.fbp(A, y[1]), atol=1e-5)
    result = ct.fbp(A, jax.lax.complex(*y))
    np.testing.assert_allclose(result, images[0] + 1j * images[1], atol=1e-5)
    # Linear, so ⟨grad, other⟩ is the loss of the other.
    gradient = jax.grad(lambda y: jnp.sum(ct.fbp(A, y) * images[0]))(y[0])
    np.testing.assert_allclose(
        jnp.sum(gradient * y[1]), jnp.sum(images[1] * images[0]), rtol=1e-3, atol=1e-3
    )


def test_wrong_arguments_are_named():
    A = parallel(HALF)
    with pytest.raises(ValueError, match="`window` is 'boxcar'"):
        ct.fbp(A, chords(A), window="boxcar")
    with pytest.raises(ValueError, match="`sinogram` has shape"):
        ct.fbp(A, jnp.zeros((3, 4)))
    B = fan(2 * HALF)
    with pytest.raises(ValueError, match="`scan` is missing"):
        jax.jit(ct.fbp)(B, chords(B))


def test_both_methods_share_one_inverse():
    """The scan of method="fourier" is inverted as the same scan by rays."""
    angles = jnp.linspace(0, jnp.pi, 20, endpoint=False)
    rays = ct.parallel_beam(angles, (12, 13), 24, bin_pitch=0.8, offset=0.3, pixel=0.9)
    fourier = ct.parallel_beam(
        angles, (12, 13), 24, bin_pitch=0.8, offset=0.3, pixel=0.9, method="fourier"
    )
    sinogram = jnp.asarray(np.random.default_rng(0).random((20, 24)), jnp.float32)
    np.testing.assert_array_equal(ct.fbp(fourier, sinogram), ct.fbp(rays, sinogram))
