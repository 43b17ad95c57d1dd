"""What nerves feel: against the integral, in closed form, under scaling and rotation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import replace
from jaxrecon.design import trajectories as designed
from jaxrecon.design.trajectories import Nerve, Trajectory, calmed, stimulation
from jaxrecon.physics.mri.trajectories import scanner

SYSTEM = scanner(fov=240, gmax=40, smax=180, dwell=2e-6)
TIMING = designed.readout(SYSTEM, 4e-4)
NERVE = Nerve(chronaxie=2e-4, rheobase=30.0, coil_length=0.4)


def wild(seed=0, n_axes=3):
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((2, TIMING.n_control, n_axes))
    return Trajectory(jnp.asarray(np.cumsum(np.cumsum(0.05 * steps, 1), 1)), TIMING)


def test_a_constant_slew_rate_is_felt_as_its_duration_says(x64):
    """R(t) = s/s_min t/(c + t): s_min is the slew rate that stimulates if it lasts."""
    k = np.zeros((1, TIMING.n_control, 2))
    k[0, :, 1] = 0.01 * np.arange(TIMING.n_control) ** 2
    parabola = Trajectory(jnp.asarray(k), TIMING)
    slew = np.asarray(parabola.slew_rates(SYSTEM))[0, :, 1]
    np.testing.assert_allclose(slew, slew[0])
    t = TIMING.raster_times
    expected = slew[0] / (30.0 / 0.4) * t / (2e-4 + t)
    np.testing.assert_allclose(stimulation(parabola, SYSTEM, NERVE)[0], expected, atol=1e-12)


def test_it_is_the_integral(x64):
    trajectory = wild()
    slew, fine = np.asarray(trajectory.slew_rates(SYSTEM)), 400
    found = stimulation(trajectory, SYSTEM, NERVE)
    for m in (1, 7, TIMING.n_intervals):
        theta = (np.arange(m * fine) + 0.5) * TIMING.raster / fine
        kernel = 2e-4 / (2e-4 + m * TIMING.raster - theta) ** 2 * TIMING.raster / fine
        felt = np.einsum("t,std->sd", kernel, np.repeat(slew[:, :m], fine, 1)) / (30.0 / 0.4)
        np.testing.assert_allclose(found[:, m], np.linalg.norm(felt, axis=-1), rtol=1e-6)
    np.testing.assert_array_equal(found[:, 0], 0)


def test_rotated_interleaves_feel_the_same_and_are_calmed_together(x64):
    one = wild(n_axes=2)
    turned = replace(one, angles=(0.0, 1.0, 2.5))
    each = stimulation(one, SYSTEM, NERVE)
    np.testing.assert_allclose(stimulation(turned, SYSTEM, NERVE), np.repeat(each, 3, 0), rtol=1e-9)
    most = float(each[0].max()) * 1.5  # the first is calm enough, the second may not be
    scaled = replace(
        turned, coefficients=turned.coefficients * jnp.array([1.0, 3.0])[:, None, None]
    )
    calm = calmed(scaled, SYSTEM, NERVE, most=most)
    np.testing.assert_array_equal(calm.coefficients[0], scaled.coefficients[0])
    np.testing.assert_allclose(stimulation(calm, SYSTEM, NERVE)[3:].max(), most, rtol=1e-9)


def test_the_penalty_is_zero_where_the_limit_is_kept(x64):
    trajectory = wild()
    penalty = lambda t, most: designed.stimulation_penalty(t, SYSTEM, NERVE, most=most)  # noqa: E731
    worst = float(stimulation(trajectory, SYSTEM, NERVE).max())
    assert penalty(trajectory, 1.001 * worst) == 0
    slope = jax.grad(lambda t: penalty(t, 0.5 * worst))(trajectory).coefficients
    moved = replace(trajectory, coefficients=trajectory.coefficients - 1e-3 * slope)
    assert penalty(moved, 0.5 * worst) < penalty(trajectory, 0.5 * worst)
    assert bool(jnp.isfinite(slope).all())


@pytest.mark.parametrize("most", [-1.0, 0.0, math.nan, math.inf])
def test_the_fraction_is_positive(most):
    for function in (designed.stimulation_penalty, calmed):
        with pytest.raises(ValueError, match="`most` is"):
            function(wild(), SYSTEM, NERVE, most=most)


@pytest.mark.parametrize("name", ["chronaxie", "rheobase", "coil_length"])
def test_figures_are_positive(name):
    with pytest.raises(ValueError, match=f"`{name}` is"):
        Nerve(**{name: -1.0})
    with pytest.raises(ValueError, match=f"`{name}` is"):
        Nerve(**{name: math.nan})
