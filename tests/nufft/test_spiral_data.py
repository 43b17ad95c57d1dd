"""A measured spiral scan: gridding, and CG-SENSE against BART's image of the same samples."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import Problem, identity, run
from jaxrecon.functionals import LeastSquares, SquaredL2
from jaxrecon.physics import mri
from jaxrecon.physics.nufft import nufft, pipe_density, spiral_density, voronoi_density
from jaxrecon.solvers import ConjugateGradient

pytestmark = pytest.mark.data


class Scan(NamedTuple):
    """A phantom, 8 coils, 60 interleaves; BART's maps and `pics -S -i50 -l2 -r0.001`."""

    trajectory: jnp.ndarray
    data: jnp.ndarray
    weights: jnp.ndarray
    maps: np.ndarray
    bart: np.ndarray


@pytest.fixture(scope="module")
def scan(shared_data) -> Scan:
    with np.load(shared_data / "mri/spiral_phantom8ch_60il.npz") as file:
        # (kx, ky) in cycles per pixel
        trajectory = jnp.asarray(file["coord"][..., ::-1] * file["N"])
        data, weights = jnp.asarray(file["data"]), jnp.asarray(file["dcf"])
    with np.load(shared_data / "reference/bart08_spiral_phantom8ch.npz") as file:
        return Scan(trajectory, data, weights, file["maps"], file["l2"])


def nrmse(image: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Error after the one global scale that fits best, and that scale's size."""
    scale = np.vdot(image, reference) / np.vdot(image, image)
    error = np.linalg.norm(scale * image - reference) / np.linalg.norm(reference)
    return float(error), float(np.abs(scale))


def gridded(scan: Scan, weights) -> np.ndarray:
    """The coils' root sum of squares."""
    A = nufft(scan.trajectory, (256, 256), batch=(8,), eps=1e-4)
    return np.asarray(mri.rss(A.H(weights * scan.data)))


def test_gridding_with_our_weights_is_that_with_the_files(scan):
    theirs = gridded(scan, scan.weights)
    weights = {
        "pipe": pipe_density(nufft(scan.trajectory, (256, 256))),
        "spiral": spiral_density(scan.trajectory),
        "voronoi": voronoi_density(scan.trajectory),
    }
    images = {name: gridded(scan, w) for name, w in weights.items()}
    for name, image in images.items():
        assert nrmse(image, theirs)[0] < 0.04, name
        assert nrmse(image, images["spiral"])[1] == pytest.approx(1, abs=0.02)
    # BART's image has coil maps where ours has a root sum of squares, and folds at the top.
    assert nrmse(images["spiral"], np.abs(scan.bart))[0] < 0.25
    assert nrmse(gridded(scan, 1.0), np.abs(scan.bart))[0] > 0.6


def test_cg_sense_is_barts(scan):
    """No scale is fitted away: `-S` gives BART's image the scale of the data, as ours has.

    BART scales data before solving and back after, which a quadratic problem does not notice: its
    λ is that of ½‖Ax − y‖² + λ/2 ‖x‖² with the orthonormal A.
    """
    A = mri.noncartesian_sense(scan.maps, scan.trajectory)
    terms = (LeastSquares(scan.data), A), (SquaredL2(1e-3), identity(A.domain))
    result = run(ConjugateGradient(), Problem(terms), n_iter=50)
    error, scale = nrmse(np.asarray(result.value), scan.bart)
    assert error < 0.02  # 0.05 is asked; 0.0015 was measured
    assert scale == pytest.approx(1, abs=2e-3)
