"""BM3D: its matches and transforms against their definitions, its images against known figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import pywt

from jaxrecon.core import replace
from jaxrecon.functionals.denoisers import BM3D
from jaxrecon.functionals.denoisers.bm3d import _transforms
from jaxrecon.functionals.denoisers.bm3d._match import Grid, match
from tests.denoisers.cases import SMALL_BM3D

DENOISE = jax.jit(lambda D, x, sigma: D(x, sigma))


@pytest.mark.parametrize(("step", "search"), [(3, 4), (2, 3), (1, 2)])
def test_matches_are_the_nearest_patches(step, search):
    grid = Grid(patch=4, step=step, search=search, rows=3, columns=4)
    band = np.random.default_rng(0).standard_normal((grid.height, grid.width)).astype(np.float32)
    rows = np.arange(grid.starts[0])
    inside = rows >= search  # the band's upper margin lies outside the image
    found = match(jnp.asarray(band), jnp.asarray(inside), grid, 5)
    for ref, (r, c) in enumerate(np.ndindex(3, 4)):
        y, x = search + step * r, step * c
        near = [
            (np.mean((band[y : y + 4, x : x + 4] - band[i : i + 4, j : j + 4]) ** 2), i, j)
            for i in range(max(y - search, search), y + search + 1)
            for j in range(max(x - search, 0), min(x + search + 1, grid.starts[1]))
        ]
        nearest = sorted(near)[:5]
        np.testing.assert_allclose(found.distance[ref], [d for d, _, _ in nearest], atol=1e-5)
        expected = [i * grid.starts[1] + j for _, i, j in nearest]
        np.testing.assert_array_equal(found.position[ref], expected)


def _periodic_bior15(x):
    details = []
    while len(x) > 1:
        x, detail = pywt.dwt(x, "bior1.5", "periodization")
        details.append(detail)
    return np.concatenate([x, *reversed(details)])


def test_transforms():
    """Orthonormal where they are said to be; the spline wavelet is PyWavelets'."""
    for matrix in (_transforms.dct(8), _transforms.haar(16)):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)
    spline = _transforms.spline_wavelet(8)
    np.testing.assert_allclose(np.linalg.norm(spline, axis=1), 1)
    # Up to the unit length of rows, and where PyWavelets starts its periodic filters.
    rows = np.array([_periodic_bior15(e) for e in np.eye(8)]).T
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for ours in spline:
        assert max(abs(np.roll(theirs, s) @ ours) for theirs in rows for s in range(8)) > 1 - 1e-9


def test_groups_are_powers_of_two():
    for m, matrix in enumerate(_transforms.group_transforms(8)):
        k = 2**m
        np.testing.assert_allclose(matrix @ matrix.T, np.diag(np.arange(8) < k), atol=1e-12)


def test_bands_do_not_show():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((25, 22)), jnp.float32)
    whole, banded = (DENOISE(replace(SMALL_BM3D, block=b), x, 1.0) for b in (1000, 25))
    np.testing.assert_allclose(banded, whole, atol=1e-5)


def test_pure_noise_goes():
    x = jnp.asarray(np.random.default_rng(1).standard_normal((128, 128)), jnp.float32)
    assert jnp.std(DENOISE(BM3D(), x, 1.0)) < 0.15


# PSNR in dB at sigma 15, 25 and 50 of the bm3d package, version 4.0.3, on the upper left 128² of
# the cameraman (Set12's first) with the noise made below.
PACKAGE = {15: 35.35, 25: 32.18, 50: 28.75}


@pytest.mark.data
@pytest.mark.parametrize("sigma", PACKAGE)
def test_photograph_as_the_bm3d_package_does(sigma, shared_data):
    with np.load(shared_data / "train" / "set12.npz") as images:
        truth = images["i00"][:128, :128].astype(np.float32) / 255
    noise = np.random.default_rng(sigma).standard_normal(truth.shape).astype(np.float32)
    image = jnp.asarray(truth + np.float32(sigma / 255) * noise)
    denoised = DENOISE(BM3D(), image, sigma / 255)
    psnr = -10 * np.log10(np.mean((denoised - truth) ** 2))
    assert psnr > PACKAGE[sigma] - 0.3
