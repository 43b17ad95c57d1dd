"""The fully sampled centre that a trajectory's samples are turned into."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import io
from jaxrecon.cli import _noncartesian as noncartesian
from jaxrecon.physics import mri
from tests.io import makers

SHAPE = (makers.N, makers.N)


def test_calibration_is_the_cartesian_kspace_of_the_coil_images(tmp_path):
    scan = io.read(makers.spiral(tmp_path))
    assert isinstance(scan, io.NonCartesianScan)
    trajectory, data = jnp.asarray(scan.trajectory * makers.N), jnp.asarray(scan.kspace[0])
    density, _ = noncartesian._density(scan, "spiral.npz", trajectory, SHAPE)
    region = (8, 10)
    found = noncartesian._calibration(data, trajectory, density, SHAPE, region)
    images = np.fft.ifftshift(makers.coil_sensitivities() * makers.spiral_object(), (1, 2))
    kspace = np.fft.fftshift(np.fft.fft2(images, norm="ortho"), (1, 2))
    expected = mri.central_region(kspace, region)
    assert np.linalg.norm(found - expected) < 0.005 * np.linalg.norm(expected)


@pytest.mark.parametrize(("n_arms", "sampled"), [(4, True), (1, False)])
def test_arms_a_cycle_apart_visit_every_cell_of_the_centre(n_arms, sampled):
    k = makers.N * makers.spiral_trajectory()[:n_arms, :, ::-1]
    region = mri.calibration_shape(noncartesian._visited(jnp.asarray(k), SHAPE))
    assert (min(region) >= 10) == sampled
