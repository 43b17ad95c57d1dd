"""What is minimised: against dense matrices, sums over pairs, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrecon.core import materialise, replace
from jaxrecon.design import trajectories as designed
from jaxrecon.design._optimise import optimise
from jaxrecon.design.trajectories import Trajectory
from jaxrecon.physics import mri
from jaxrecon.physics.mri.trajectories import check_limits, scanner

SYSTEM = scanner(fov=240, gmax=40, smax=180, dwell=10e-6)
TIMING = designed.readout(SYSTEM, 3e-4)
SHAPE = (10, 8)


def spokes(timing=TIMING, n=4):
    return designed.radial(n, (12, 12), SYSTEM, timing, start=0.1)


def criterion(sigma=0.1, **options):
    maps = mri.normalise_maps(mri.birdcage_maps(3, SHAPE))
    rng = np.random.default_rng(1)
    images = rng.standard_normal((2, *SHAPE)) + 1j * rng.standard_normal((2, *SHAPE))
    maps, images = (jnp.asarray(a, complex) for a in (maps, images))
    return designed.SenseError(maps, images, sigma, 0.3, backend="dft", **options)


def test_cg_sense_is_the_regularised_inverse(x64):
    error = criterion(n_iter=500, tol=1e-12)
    A = error.operator(spokes().samples)
    M = np.asarray(materialise(A))
    data = error.measure(A, error.images, jax.random.key(3))
    found = error.reconstruct(A, data)
    normal = M.conj().T @ M + 0.3 * np.eye(M.shape[1])
    truth = np.linalg.solve(normal, M.conj().T @ np.asarray(data).reshape(2, -1).T).T
    np.testing.assert_allclose(found.reshape(2, -1), truth, atol=1e-4)
    value = error(spokes(), jax.random.key(3), 0)
    noise = jax.random.split(jax.random.key(3))[1]
    other = error.reconstruct(A, error.measure(A, error.images, noise))
    misfit = np.sum(np.abs(other - error.images) ** 2, axis=(1, 2))
    size = np.sum(np.abs(np.asarray(error.images)) ** 2, axis=(1, 2))
    np.testing.assert_allclose(value, np.mean(misfit / size), rtol=1e-9)


def test_its_gradient_is_that_of_finite_differences(x64):
    error = criterion(n_iter=1000, tol=1e-12, eps=1e-10, batch=1)
    trajectory = spokes()
    along = jnp.asarray(np.random.default_rng(0).standard_normal(trajectory.coefficients.shape))

    @jax.jit
    def loss(t):
        moved = replace(trajectory, coefficients=trajectory.coefficients + t * along)
        return error(moved, jax.random.key(0), 0)

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(loss)(0.0), slope, rtol=1e-6)


def test_the_point_spread_is_that_of_its_definition(x64):
    k = spokes().samples
    h = designed.point_spread(k, SHAPE, eps=1e-10)
    n = np.stack(np.meshgrid(np.arange(-10, 10) / 10, np.arange(-8, 8) / 8, indexing="ij"), -1)
    truth = np.exp(2j * np.pi * np.einsum("yxd,std->yxst", n, np.asarray(k))).mean((2, 3))
    np.testing.assert_allclose(h, truth, atol=1e-9)
    outside = (np.hypot(10 * n[..., 0], 8 * n[..., 1]) > 1) * np.abs(truth) ** 2
    energy = designed.sidelobe_energy(k, SHAPE, eps=1e-10)
    np.testing.assert_allclose(energy, outside.sum(), rtol=1e-8)


def test_the_distance_to_a_density_is_a_sum_over_pairs(x64):
    """Attraction and repulsion, summed point by point with the kernel itself."""
    density = designed.radial_density(SHAPE, cutoff=0.3, decay=1.0)
    match = designed.density_match(density, eps=1e-10)
    k = np.asarray(spokes().samples).reshape(-1, 2)
    n = np.stack(np.meshgrid(np.arange(-10, 10) / 10, np.arange(-8, 8) / 8, indexing="ij"), -1)
    weights = np.asarray(match.weights)

    def kernel(a, b):
        phases = 2 * np.pi * np.einsum("yxd,ijd->yxij", n, a[:, None] - b[None])
        return np.einsum("yx,yxij->ij", weights, np.cos(phases))

    index = [np.arange(-10, 10) / 2, np.arange(-8, 8) / 2]
    places = np.stack(np.meshgrid(*index, indexing="ij"), -1).reshape(-1, 2)
    p = density.reshape(-1)
    pairs = kernel(k, k).mean() - 2 * kernel(k, places).mean(0) @ p + p @ kernel(places, places) @ p
    np.testing.assert_allclose(match(spokes()), pairs, rtol=1e-7)
    # ... which falls with distance, within k-space: samples repel each other.
    line = np.stack([np.arange(1.0, 6), np.zeros(5)], -1)
    assert (np.diff(kernel(np.zeros((1, 2)), line)[0]) < 0).all()


def test_a_density_is_normalised_and_flat_inside():
    density = designed.radial_density(16, cutoff=0.5, decay=2.0)
    assert density.shape == (32, 32)
    np.testing.assert_allclose(density.sum(), 1)
    assert density[16, 16] == density[16, 23] > density[16, 28] > 0
    np.testing.assert_allclose(density[16, 16] / density[16, 28], (12 / 16 / 0.5) ** 2)


@pytest.mark.parametrize("density", [np.ones((3, 4)), -np.ones((4, 4)), np.zeros((4, 4))])
def test_densities_that_make_no_sense_are_refused(density):
    with pytest.raises(ValueError, match="`density`"):
        designed.density_match(density)
    with pytest.raises(ValueError, match="`cutoff`"):
        designed.radial_density(8, cutoff=0.0)


def test_a_design_is_better_and_never_leaves_the_limits():
    """From too few spokes, by the density's distance, then by the image's error."""
    timing = designed.readout(SYSTEM, 5e-4)
    start = designed.radial(3, 16, SYSTEM, timing)
    allowed = designed.limits(SYSTEM, timing, 16)
    maps = mri.normalise_maps(mri.birdcage_maps(2, (16, 16))).astype(jnp.complex64)
    rng = np.random.default_rng(0)
    images = jnp.asarray(np.cumsum(np.cumsum(rng.standard_normal((2, 16, 16)), 1), 2), complex)
    error = designed.SenseError(maps, images.astype(jnp.complex64), 0.0, 0.1, n_iter=100)
    match = designed.density_match(designed.radial_density(16, cutoff=0.2, decay=1.0))
    for judge in (match, error):
        key = jax.random.key(0)

        def loss(points, key, step, judge=judge):
            return judge(Trajectory(points, timing), key, step)

        def project(points):
            return allowed(Trajectory(points, timing)).coefficients

        options = {"n_steps": 15, "key": key, "project": project, "optimiser": optax.adam(0.2)}
        design = optimise(loss, start.coefficients, **options).check()
        found = Trajectory(design.value, timing)
        assert float(judge(found, key, 0)) < 0.9 * float(judge(start, key, 0))
        assert check_limits(found.samples, SYSTEM).ok
