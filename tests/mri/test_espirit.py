"""ESPIRiT against known maps, an explicit reproducing operator and BART 0.8."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import centered_fft
from jaxrecon.physics import mri
from jaxrecon.physics.mri._eigen import _BLOCK_ELEMENTS, map_rows

SHAPE = (40, 36)


def agreement(a, b):
    """|⟨a, b⟩| / (|a| |b|) over coils at each pixel: 1 for maps equal up to phase and size."""
    size = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return np.abs(np.sum(np.conj(a) * b, axis=0)) / np.where(size > 0, size, 1)


def head(shape):
    y, x = ((np.arange(n) - n // 2) / (n / 2) for n in shape)
    radius = np.hypot(y[:, None] / 0.8, x[None, :] / 0.7)
    return (1 / (1 + np.exp((radius - 1) * 20))).astype(np.float32)


@pytest.fixture(scope="module")
def scan():
    """Maps, object and k-space of a scan on the reconstruction grid, with a little noise."""
    maps = np.asarray(mri.normalise_maps(mri.birdcage_maps(6, SHAPE)))
    image = head(SHAPE) * np.exp(2j * head(SHAPE))
    kspace = centered_fft(jnp.asarray(maps * image, jnp.complex64), (1, 2))
    noise = jax.random.normal(jax.random.key(0), kspace.shape, kspace.dtype)
    return maps, image, kspace + 2e-3 * noise


def test_true_maps_are_found(scan):
    maps, image, kspace = scan
    found = np.asarray(mri.espirit(kspace, calibration=20, kernel=5))
    inside = np.abs(image) > 0.5
    assert np.quantile(agreement(found, maps)[inside], 0.01) > 0.999
    sizes = np.linalg.norm(found, axis=0)
    np.testing.assert_allclose(sizes[inside], 1, atol=1e-5)
    assert sizes[0, 0] == 0  # cropped where there is no signal


def test_phase_is_that_of_the_first_principal_coil(scan):
    _, image, kspace = scan
    found = np.asarray(mri.espirit(kspace, calibration=20, kernel=5))
    calibration = np.reshape(mri.central_region(kspace, (20, 20)), (6, -1))
    principal = np.linalg.svd(calibration)[0][:, 0]
    component = np.einsum("c,cyx->yx", principal.conj(), found)[np.abs(image) > 0.5]
    np.testing.assert_allclose(np.angle(component / component[0]), 0, atol=1e-3)


def test_g_is_the_averaged_projection_of_patches(key):
    """G(r) of equation (2) against patches cut out of one plane wave's k-space, projected and put
    back, with no convolution and no Fourier series in between."""
    n, k, coils = 9, 3, 2
    calibration = jax.random.normal(key, (coils, 5, 5), jnp.complex64)
    threshold = 0.2
    _, values = mri.espirit_maps(calibration, (n, n), kernel=k, threshold=threshold, n_sets=2)
    windows = np.lib.stride_tricks.sliding_window_view(calibration, (k, k), (1, 2))
    patches = windows.transpose(1, 2, 0, 3, 4).reshape(-1, coils * k * k)
    _, sigma, rows = np.linalg.svd(patches, full_matrices=False)
    rows = rows[sigma**2 > threshold * sigma[0] ** 2]
    assert 2 <= len(rows) < coils * k * k
    q = np.arange(n) - n // 2
    for r in ((0, 0), (1, 3), (4, 4), (8, 2)):
        shift = [r[0] - n // 2, r[1] - n // 2]
        matrix = np.zeros((coils, coils), complex)
        for c in range(coils):
            wave = np.zeros((coils, n, n), complex)
            wave[c] = np.exp(-2j * np.pi * (q[:, None] * shift[0] + q[None, :] * shift[1]) / n)
            total = np.zeros_like(wave)
            for i in range(n):
                for j in range(n):
                    at = np.ix_(np.arange(coils), (i + np.arange(k)) % n, (j + np.arange(k)) % n)
                    patch = wave[at].ravel()
                    total[at] += (rows.T @ (rows.conj() @ patch)).reshape(coils, k, k) / k**2
            matrix[:, c] = total[:, n // 2, n // 2]  # the wave is 1 there
        expected = np.linalg.eigvalsh(matrix)[::-1]
        np.testing.assert_allclose(values[:, r[0], r[1]], expected, atol=1e-5)


def test_folded_field_of_view_needs_two_sets():
    # The object fills the field of view; every second line folds its sides onto each other.
    wide = (SHAPE[0], 2 * SHAPE[1])
    maps = np.asarray(mri.normalise_maps(mri.birdcage_maps(6, wide)))
    y, x = np.mgrid[-1 : 1 : wide[0] * 1j, -1 : 1 : wide[1] * 1j]
    image = np.where((x / 0.7) ** 2 + (y / 0.9) ** 2 < 1, 1.0, 0.0)
    kspace = centered_fft(jnp.asarray(maps * image, jnp.complex64), (1, 2))[:, :, ::2]
    found, values = mri.espirit_maps(
        mri.central_region(kspace, (24, 24)), SHAPE, kernel=5, n_sets=2, threshold=1e-5
    )
    truth = np.reshape(maps, (6, SHAPE[0], 2, SHAPE[1])).transpose(2, 0, 1, 3)
    truth = np.roll(truth, SHAPE[1] // 2, axis=-1)  # folding keeps the centre in the centre
    fold = np.roll((image > 0).reshape(SHAPE[0], 2, -1).all(1), SHAPE[1] // 2, axis=-1)
    fold &= np.abs(y[:, ::2]) < 0.4
    assert fold.sum() > 100
    assert np.asarray(values[1])[fold].min() > 0.95
    # In the fold both true vectors lie in the span of the two found.
    inner = np.einsum("scyx,tcyx->styx", np.conj(found), truth)
    inside = np.sqrt(np.sum(np.abs(inner) ** 2, axis=0))[:, fold]
    assert inside.min() > 0.999
    assert values[1][SHAPE[0] // 2, SHAPE[1] // 2] < 0.7


def test_jit_and_any_grid(scan):
    kspace = scan[2]
    traced = jax.eval_shape(lambda k: mri.espirit(k, calibration=20, kernel=5), kspace)
    assert traced.shape == kspace.shape
    calibration = mri.central_region(kspace, (20, 20))
    fine = mri.espirit_maps(calibration, (2 * SHAPE[0], SHAPE[1]), kernel=5)[1]
    coarse = mri.espirit_maps(calibration, SHAPE, kernel=5)[1]
    np.testing.assert_allclose(fine[:, ::2], coarse, atol=1e-5)


@pytest.mark.parametrize("rows_per_block", [1, 4, 100])
def test_rows_in_blocks(rows_per_block):
    blocks = []

    def square(rows):
        blocks.append(rows.shape[0])
        return rows**2, jnp.stack([rows, -rows], axis=1)

    first, second = map_rows(square, 10, _BLOCK_ELEMENTS // rows_per_block)
    assert first.tolist() == [i**2 for i in range(10)]
    assert second.tolist() == [[i, -i] for i in range(10)]
    assert set(blocks) == {min(rows_per_block, 10)}


def test_empty_calibration_gives_zero_maps():
    maps = mri.espirit(jnp.zeros((3, 16, 16), jnp.complex64), calibration=8, kernel=4)
    assert not maps.any()


def test_calibration_region_is_found(scan):
    kspace = np.array(scan[2])
    mask = np.zeros(SHAPE, bool)
    mask[::2, ::3] = True
    mask[20 - 8 : 20 + 8, 18 - 9 : 18 + 10] = True
    assert mri.calibration_shape(mask) == (16, 19)
    assert mri.calibration_shape(mask, max_size=12) == (12, 12)
    assert mri.calibration_shape(np.zeros((8, 8), bool)) == (0, 0)
    assert mri.calibration_shape(np.ones((8, 30), bool)) == (8, 24)
    lines = np.broadcast_to(np.abs(np.arange(36) - 18) < 3, SHAPE)
    assert mri.calibration_shape(lines) == (24, 5)
    found = mri.espirit(jnp.asarray(np.where(mask, kspace, 0)), kernel=4)
    expected = mri.espirit(jnp.asarray(kspace), calibration=(16, 19), kernel=4)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_bad_requests(scan):
    kspace = scan[2]
    with pytest.raises(ValueError, match="`calibration` has 1x36"):
        mri.espirit(kspace.at[:, :20].set(0).at[:, 21:].set(0), calibration=(1, 36))
    with pytest.raises(ValueError, match="`calibration` has 0x0"):
        mri.espirit(kspace.at[:, 20, 18].set(0))
    with pytest.raises(ValueError, match="`calibration` is None"):
        jax.eval_shape(mri.espirit, kspace)
    with pytest.raises(ValueError, match="`n_sets`"):
        mri.espirit(kspace, n_sets=7)
    with pytest.raises(ValueError, match="`shape`"):
        mri.central_region(kspace, (41, 36))


@pytest.mark.data
def test_maps_of_a_brain_equal_barts(shared_data):
    kspace = np.load(shared_data / "mri" / "cart_brain8ch_poisson_sigpy.npz")["ksp"]
    bart = np.load(shared_data / "reference" / "bart08_brain8ch_sigpy.npz")["maps"]
    ours = np.asarray(mri.espirit(jnp.asarray(kspace)))
    support = np.linalg.norm(bart, axis=0) > 0
    assert np.mean((np.linalg.norm(ours, axis=0) > 0) == support) > 0.995
    agreed = agreement(ours, bart)[support]
    assert np.median(agreed) > 0.9999
    assert np.quantile(agreed, 0.01) > 0.98
