"""Regularisers against other programs, closed forms and textbook loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import pywt
import scipy.fft

from jaxrecon.core import Identity
from jaxrecon.functionals import priors as P
from tests.functionals.draws import normal

WAVELET = pywt.Wavelet  # pyright: ignore[reportAttributeAccessIssue]
KEY = jax.random.key(8)


def _struct(shape, dtype="float64"):
    return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))


# ----------------------------------------------------------------------------------------- wavelets


@pytest.mark.parametrize("n", [1, 2, 4, 8, 20])
def test_daubechies_taps(n):
    np.testing.assert_allclose(P.daubechies(n), WAVELET(f"db{n}").rec_lo, atol=1e-11)


@pytest.mark.parametrize("n", [2, 3, 4, 7, 12, 20])
def test_symlet_taps(n):
    """As PyWavelets' tables, to their digits, or mirrored; orthonormal beyond them."""
    ours, table = np.array(P.symlet(n)), np.array(WAVELET(f"sym{n}").rec_lo)
    assert min(np.abs(ours - table).max(), np.abs(ours[::-1] - table).max()) < 3e-11
    for k in range(n):
        assert abs(ours[2 * k :] @ ours[: 2 * n - 2 * k] - (k == 0)) < 1e-12


@pytest.mark.parametrize("n", [1, 3])
def test_wavelet_equals_pywavelets(n, x64):
    """One level; PyWavelets starts its periodic filters at another sample of the same parity."""
    x = normal("float64", (16,))
    low, high = pywt.dwt(np.array(x), WAVELET(f"db{n}"), "periodization")
    ours = np.asarray(P.wavelet(x, f"db{n}", levels=1)(x))
    for part, expected in ((ours[:8], low), (ours[8:], high)):
        assert _distance_up_to_shift(part, expected) < 1e-10


def _distance_up_to_shift(a, b):
    """Magnitudes up to a cyclic shift: the reversed filter bank is equally a Daubechies one."""
    shifts = itertools.product(*(range(n) for n in a.shape))
    axes = tuple(range(a.ndim))
    return min(np.abs(np.abs(np.roll(a, s, axes)) - np.abs(b)).max() for s in shifts)


def test_wavelet_of_any_size_is_an_isometry(x64):
    x = normal("complex128", (7, 13, 3))
    W = P.wavelet(x, "db4", levels=1)
    assert W.range.shape == (8, 14, 4)
    np.testing.assert_allclose(W.H(W(x)), x, rtol=1e-12)


def test_undecimated_wavelet_equals_pywavelets(x64):
    x = normal("float64", (8, 12))
    W = P.undecimated_wavelet(x, "db2", levels=2)
    coarse, *levels = pywt.swt2(np.array(x), "db2", 2, norm=True, trim_approx=True)
    expected = [coarse]
    for horizontal, vertical, diagonal in levels:
        expected += [vertical, horizontal, diagonal]  # high on x, on y, on both
    for band, other in zip(np.asarray(W(x)), expected, strict=True):
        assert _distance_up_to_shift(band, other) < 1e-10


def test_undecimated_wavelet_is_a_tight_frame_that_commutes_with_shifts(x64):
    x = normal("complex128", (7, 5))
    W = P.undecimated_wavelet(x, "sym4", levels=2)
    np.testing.assert_allclose(W.H(W(x)), x, rtol=1e-12)
    moved = jnp.roll(W(x), (2, 1), (1, 2))
    np.testing.assert_allclose(W(jnp.roll(x, (2, 1), (0, 1))), moved, atol=1e-13)
    projection = W(W.H(normal("complex128", W.range.shape)))
    assert not isinstance(W.H.gram, Identity)
    np.testing.assert_allclose(W(W.H(projection)), projection, atol=1e-12)


def test_wavelet_penalty_of_undecimated_is_iterative_and_without_shifts(x64):
    x = normal("float64")
    W = P.undecimated_wavelet(x, "haar", levels=1)
    f = P.WaveletL1(0.4, W)
    assert f.randomised(KEY) is f
    np.testing.assert_allclose(f.prox(x, 0.7), P.TransformL1(0.4, W).prox(x, 0.7), rtol=1e-12)
    shrinkage = W.H(jnp.sign(W(x)) * jnp.maximum(jnp.abs(W(x)) - 0.28, 0))
    objective = lambda u: f(u) + jnp.sum((u - x) ** 2) / 1.4  # noqa: E731
    assert objective(f.prox(x, 0.7)) < objective(shrinkage) - 1e-3


def test_cycle_spinning(x64):
    x = normal("float64", (8, 8))
    f = P.WaveletL1(0.5, P.wavelet(x, "haar", levels=2))
    shifts = jnp.stack(jnp.meshgrid(jnp.arange(4), jnp.arange(4)), -1).reshape(-1, 2)
    spun = P.CycleSpin(f, shifts)
    # Averaging over all shifts commutes with shifting, which a single transform does not.
    moved = jnp.roll(spun.prox(x, 1.0), (1, 3), (0, 1))
    np.testing.assert_allclose(spun.prox(jnp.roll(x, (1, 3), (0, 1)), 1.0), moved, atol=1e-12)
    single = jnp.roll(f.prox(x, 1.0), (1, 3), (0, 1))
    assert jnp.abs(f.prox(jnp.roll(x, (1, 3), (0, 1)), 1.0) - single).max() > 1e-3
    draws = jax.vmap(lambda k: f.randomised(k).prox(x, 1.0))(jax.random.split(KEY, 4000))
    np.testing.assert_allclose(draws.mean(0), spun.prox(x, 1.0), atol=0.05)


# ---------------------------------------------------------------------------------------------- DCT


def test_dct_equals_scipy(x64):
    x = normal("float64", (6, 5))
    expected = np.asarray(scipy.fft.dctn(np.asarray(x), norm="ortho"))
    np.testing.assert_allclose(P.dct(x)(x), expected, atol=1e-13)
    blocks = np.asarray(P.dct(x, (0,), block=3)(x))
    expected = np.asarray(scipy.fft.dct(np.asarray(x)[3:], axis=0, norm="ortho"))
    np.testing.assert_allclose(blocks[3:], expected, atol=1e-13)


def test_dct_keeps_single_precision_for_long_axes():
    x = normal("float32", (1024,))
    error = P.dct(x)(x) - np.asarray(scipy.fft.dct(np.asarray(x, float), norm="ortho"))
    assert np.abs(error).max() < 3e-6
