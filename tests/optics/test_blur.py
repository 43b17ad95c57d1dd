"""Blur and downsampling against scipy, Pillow's and the definition's arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from jaxrecon import core
from jaxrecon.core import tree
from jaxrecon.physics import optics
from tests.tolerances import relative_error

SCIPY_MODES = {
    "circular": "wrap",
    "reflect": "mirror",
    "symmetric": "reflect",
    "replicate": "nearest",
    "zero": "constant",
}
KERNELS = [(3, 4), (1, 5), (4, 2)]


def normal(key, *shape, dtype=jnp.float64):
    return jax.random.normal(key, shape, dtype)


@pytest.mark.parametrize("padding", SCIPY_MODES)
@pytest.mark.parametrize("method", ["fft", "spatial"])
def test_paddings_are_scipys(key, x64, padding, method):
    x = normal(key, 7, 6)
    for shape in KERNELS:
        h = normal(key, *shape)
        expected = scipy.ndimage.convolve(np.asarray(x), np.asarray(h), mode=SCIPY_MODES[padding])
        assert relative_error(optics.blur(h, x, padding, method=method)(x), expected) < 1e-13


@pytest.mark.parametrize("method", ["fft", "spatial"])
def test_valid_volume_and_complex_numbers(key, x64, method):
    x, h = normal(key, 4, 5, 6, dtype=complex), normal(key, 2, 3, 3, dtype=complex)
    A = optics.blur(h, x, "valid", method=method)
    assert relative_error(A(x), scipy.signal.convolve(x, h, "valid")) < 1e-13
    assert A.range.shape == (3, 3, 4)


def test_channels_share_a_kernel_or_have_one_each(key, x64):
    x, h = normal(key, 2, 6, 5), normal(key, 2, 3, 3)
    for kernel in (h[0], h):
        A = optics.blur(kernel, x, "reflect", axes=(1, 2))
        for c in range(2):
            own = h[c] if kernel.ndim == 3 else h[0]
            assert relative_error(A(x)[c], optics.blur(own, x[c], "reflect")(x[c])) < 1e-13
    assert optics.blur(h, x, axes=(1, 2)).gram_spectrum() is None
    spectrum = optics.blur(h[0], x, axes=(-2, -1)).gram_spectrum()
    assert spectrum is not None
    assert spectrum.shape == (1, 6, 5)


def test_blind_deblurring_has_the_gradient_of_the_kernel(key, x64):
    x, y, h = normal(key, 6, 5), normal(jax.random.key(1), 6, 5), normal(key, 3, 3)
    loss = lambda h: 0.5 * tree.sum_of_squares(optics.blur(h, x)(x) - y)  # noqa: E731
    residual = np.asarray(optics.blur(h, x)(x) - y)
    expected = [
        [np.sum(residual * np.roll(x, (i - 1, j - 1), (0, 1))) for j in range(3)] for i in range(3)
    ]
    assert relative_error(jax.grad(loss)(h), np.array(expected)) < 1e-12


@pytest.mark.parametrize("options", [{}, {"padding": "valid"}, {"padding": "reflect"}])
def test_space_varying_blur_is_its_sum(key, x64, options):
    x, h = normal(key, 6, 7), normal(key, 4, 3, 2)
    w = optics.partition_of_unity(x.shape, (2, 2), dtype=jnp.float64)
    expected = sum(optics.blur(h[k], x, **options)(w[k] * x) for k in range(4))
    for method in ("fft", "spatial"):
        A = optics.space_varying_blur(h, w, x, **options, method=method)
        assert relative_error(A(x), expected) < 1e-13


def test_windows_are_a_partition_of_unity_with_one_at_their_centres(x64):
    w = np.asarray(optics.partition_of_unity((15, 9), (3, 1), dtype=jnp.float64))
    assert w.min() >= 0
    assert np.allclose(w.sum(0), 1, atol=1e-14)
    assert np.allclose(w[[0, 1, 2], [2, 7, 12]], 1)  # (i + 1/2) 15/3 − 1/2
    assert np.allclose(w[0, 7:], 0, atol=1e-14)
    assert optics.window_centres((15, 9), (3, 1)) == ((2.0, 7.0, 12.0), (4.0,))


@pytest.mark.parametrize(("shape", "factor"), [((8, 6), 2), ((6, 9), 3), ((6, 8), (3, 2))])
@pytest.mark.parametrize("kernel", ["gaussian", "bicubic", "box", "random"])
def test_super_resolution_prox_is_the_dense_solve(key, x64, shape, factor, kernel):
    if kernel in ("gaussian", "bicubic"):
        shape = tuple(4 * n for n in shape)
    h = normal(key, 4, 3) if kernel == "random" else kernel
    A = optics.downsample(core.tree.structs(jnp.zeros(shape)), factor, h)
    x = normal(key, *shape)
    inverse = A.shifted_inverse(0.3)
    assert inverse is not None
    solved = inverse(x)
    assert relative_error(A.H(A(solved)) + 0.3 * solved, x) < 1e-12
    if x.size < 80:
        M = np.asarray(core.materialise(A))
        expected = np.linalg.solve(M.T @ M + 0.3 * np.eye(x.size), np.asarray(x).ravel())
        assert relative_error(solved.ravel(), expected) < 1e-12


def test_downsampling_is_filter_and_stride(key, x64):
    x, h = normal(key, 9, 7), normal(key, 3, 3)
    full = scipy.ndimage.convolve(np.asarray(x), np.asarray(h), mode="nearest")
    A = optics.downsample(x, (3, 2), h, "replicate")
    assert relative_error(A(x), full[1::3, 0::2]) < 1e-13
    assert A.shifted_inverse(1.0) is None
    literature = optics.downsample(x, 3, h, "replicate", offset=0)
    assert relative_error(literature(x), full[::3, ::3]) < 1e-13


@pytest.mark.parametrize("factor", [2, 3])
def test_box_is_the_mean_of_blocks_and_bicubic_is_antialiased_resizing(key, x64, factor):
    shape = (12 * factor, 10 * factor)
    x = normal(key, *shape)
    blocks = np.asarray(x).reshape(12, factor, 10, factor).mean((1, 3))
    assert relative_error(optics.downsample(x, factor, "box")(x), blocks) < 1e-13
    resized = jax.image.resize(x, (12, 10), "cubic")  # Keys with a = −1/2, antialiased
    inner = (slice(2, -2),) * 2
    cubic = optics.downsample(x, factor, "bicubic", "symmetric")(x)
    assert relative_error(cubic[inner], resized[inner]) < 1e-6


def test_kernels(x64):
    gaussian = np.asarray(optics.gaussian_kernel((41, 41), (2.0, 4.0)))
    y, x = np.mgrid[-20:21, -20:21]
    assert np.isclose((gaussian * y**2).sum(), 4, rtol=1e-6)
    assert np.isclose((gaussian * x**2).sum(), 16, rtol=1e-4)
    turned = np.asarray(optics.gaussian_kernel((41, 41), (2.0, 4.0), angle=np.pi / 2))
    assert np.allclose(turned, gaussian.T)
    slanted = np.asarray(optics.motion_kernel((31, 31), 14.0, np.pi / 6))
    y, x = np.mgrid[-15:16, -15:16]
    xx, yy, xy = ((slanted * a).sum() for a in (x * x, y * y, x * y))
    assert np.isclose(0.5 * np.arctan2(2 * xy, xx - yy), np.pi / 6, atol=0.01)
    assert np.isclose(xx + yy, 14**2 / 12, rtol=0.1)
    disk = np.asarray(optics.disk_kernel((21, 21), 8.0))
    assert np.isclose(1 / disk[10, 10], np.pi * 64, rtol=0.01)
    shake = np.asarray(optics.random_motion_kernel(jax.random.key(1), (17, 21)))
    assert np.isclose(shake.sum(), 1)
    assert shake.min() >= 0
    assert not np.allclose(shake, optics.random_motion_kernel(jax.random.key(2), (17, 21)))
    for kernel in (gaussian, slanted, disk):
        assert np.isclose(kernel.sum(), 1)


def test_bad_arguments(key):
    x = jnp.zeros((6, 5))
    bad = [
        ("`padding` is 'mirror'", lambda: optics.blur(jnp.ones((3, 3)), x, "mirror")),
        ("`method` is 'gpu'", lambda: optics.blur(jnp.ones((3, 3)), x, method="gpu")),
        (r"`kernel` has shape \(7, 3\)", lambda: optics.blur(jnp.ones((7, 3)), x)),
        ("`kernel` is int32", lambda: optics.blur(jnp.ones((3, 3), jnp.int32), x)),
        ("`domain` has dtype int32", lambda: optics.blur(jnp.ones((3, 3)), jnp.zeros((6, 5), int))),
        (r"`axes` is \(0, 2\)", lambda: optics.blur(jnp.ones((3, 3)), x, axes=(0, 2))),
        ("`kernel` is 'cubic'", lambda: optics.downsample(x, 2, "cubic")),
        ("`factor` is 0", lambda: optics.downsample(x, 0, "box")),
        ("`offset` is", lambda: optics.downsample(x, 2, "box", offset=2)),
        ("`n_windows` is", lambda: optics.partition_of_unity((6, 5), (7, 1))),
        ("`weights` has", lambda: optics.space_varying_blur(jnp.ones((2, 3, 3)), x[None], x)),
        ("`sigma` has", lambda: optics.gaussian_kernel((3, 3), (1.0, 2.0, 3.0))),
        ("`smoothness` is", lambda: optics.random_motion_kernel(key, (5, 5), smoothness=1.0)),
    ]
    for message, call in bad:
        with pytest.raises(ValueError, match=message):
            call()
