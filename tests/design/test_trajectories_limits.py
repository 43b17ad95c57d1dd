"""Projection onto what a scanner can play: against a general solver, and the physical check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import replace
from jaxrecon.design import trajectories as designed
from jaxrecon.design.trajectories import Trajectory
from jaxrecon.physics.mri.trajectories import check_limits, scanner

SYSTEM = scanner(fov=240, gmax=40, smax=180, dwell=2e-6)
TIMING = designed.readout(SYSTEM, 4e-4)
SMOOTH = designed.readout(SYSTEM, 4e-4, n_coefficients=12)
STARTS = ("centre", "rest", "on")


def wild(timing, n_shots=3, n_axes=2, seed=0):
    """Steps of a cycle or so, far outside all limits but the reach."""
    rng = np.random.default_rng(seed)
    rows = timing.n_coefficients or timing.n_control
    return Trajectory(
        jnp.asarray(np.cumsum(2 * rng.standard_normal((n_shots, rows, n_axes)), 1)), timing
    )


def reference(target, bounds, fixed_at_zero, per_axis):
    """The nearest points by sequential quadratic programming."""
    optimize = pytest.importorskip("scipy.optimize")
    shape = target.shape

    def slack(flat):
        x = flat.reshape(shape)
        parts = (np.diff(x, axis=0), np.diff(x, 2, axis=0), x)
        if per_axis:
            return np.concatenate([(b**2 - d**2).ravel() for d, b in zip(parts, bounds)])
        return np.concatenate([b**2 - (d**2).sum(-1) for d, b in zip(parts, bounds)])

    constraints = [{"type": "ineq", "fun": slack}]
    if fixed_at_zero:
        constraints.append({"type": "eq", "fun": lambda f: f.reshape(shape)[:2].ravel()})
    found = optimize.minimize(
        lambda f: 0.5 * np.sum((f - target.ravel()) ** 2),
        np.zeros(target.size),
        jac=lambda f: f - target.ravel(),
        constraints=constraints,
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert np.linalg.norm(found.x) > 0
    assert slack(found.x).min() > -1e-8
    return found.x.reshape(shape)


@pytest.mark.parametrize("start", ["centre", "on"])
@pytest.mark.parametrize("per_axis", [False, True])
def test_it_is_the_nearest_point(x64, start, per_axis):
    # All three limits are active: a raster of 0.1 ms brings them within reach of each other.
    system = scanner(fov=240, gmax=1.6, smax=12, dwell=2e-6)
    timing = designed.readout(system, 6e-4, raster=1e-4)
    options = {"start": start, "per_axis": per_axis, "n_iter": 5000, "tol": 1e-8}
    allowed = designed.limits(system, timing, 8, **options)
    target = wild(timing, 1)
    found = designed.project(target, allowed)
    assert found.status.ok
    assert min(designed.usage(target, allowed)) > 1
    bounds = [np.asarray(b) * 240 for b in allowed.bounds.values]
    points = np.asarray(target.coefficients[0])
    truth = reference(points, bounds, start == "centre", per_axis)
    np.testing.assert_allclose(found.value.coefficients[0], truth, atol=2e-5)
    # The problem can tell: what is merely inside is farther.
    away = np.linalg.norm(points - 0.999 * truth)
    assert away > np.linalg.norm(points - truth) + 1e-4


@pytest.mark.parametrize("timing", [TIMING, SMOOTH], ids=["free", "spline"])
@pytest.mark.parametrize("start", STARTS)
def test_the_check_passes_at_every_sample(timing, start):
    allowed = designed.limits(SYSTEM, timing, 64, start=start)
    inside = allowed(wild(timing))
    report = check_limits(inside.samples, SYSTEM, starts_at_rest=start != "on")
    assert report.ok, report.text
    assert not check_limits(wild(timing).samples, SYSTEM).ok
    on_raster = inside.samples[:, ::5]
    raster = replace(SYSTEM, dwell=10e-6)
    assert check_limits(on_raster, raster, starts_at_rest=start != "on").ok
    if start == "centre":
        np.testing.assert_allclose(inside.samples[:, 0], 0, atol=1e-5)


def test_limits_hold_exactly_though_not_converged(x64):
    allowed = designed.limits(SYSTEM, TIMING, 64, start="centre", n_iter=3)
    result = designed.project(wild(TIMING), allowed)
    assert not result.status.ok
    assert max(designed.usage(result.value, allowed)) < 1 + 1e-12
    assert check_limits(result.value.samples, SYSTEM, rtol=1e-9).ok


def test_what_is_asked_of_certain_times(x64):
    allowed = designed.limits(SYSTEM, TIMING, 64, echo=1.23e-4, end_at_rest=True, tol=1e-6)
    inside = allowed(wild(TIMING))
    at_echo = jnp.stack(
        [jnp.interp(1.23e-4, TIMING.sample_times, k) for k in inside.samples[..., 0]]
    )
    np.testing.assert_allclose(at_echo, 0, atol=2e-3)  # interpolation between samples is linear
    np.testing.assert_allclose(inside.gradients(SYSTEM)[:, -1], 0, atol=1e-9)
    np.testing.assert_allclose(inside.gradients(SYSTEM)[:, 0], 0, atol=1e-9)
    assert float(jnp.abs(inside.samples[:, 0]).max()) > 1


def test_a_second_projection_changes_nothing_and_neither_does_one_of_what_is_inside(x64):
    allowed = designed.limits(SYSTEM, TIMING, 64, start="centre", tol=1e-8, n_iter=1000)
    once = allowed(wild(TIMING))
    np.testing.assert_allclose(allowed(once).coefficients, once.coefficients, atol=1e-5)
    inner = replace(once, coefficients=0.5 * once.coefficients)
    np.testing.assert_allclose(allowed(inner).coefficients, inner.coefficients, atol=1e-8)


def test_shots_are_projected_by_themselves_and_vmap_agrees(x64):
    allowed = designed.limits(SYSTEM, TIMING, 64, tol=1e-8, n_iter=1000)
    shots = wild(TIMING)
    one = replace(shots, coefficients=shots.coefficients[1:2])
    np.testing.assert_allclose(
        allowed(one).coefficients[0], allowed(shots).coefficients[1], atol=1e-5
    )
    stack = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), shots)
    both = jax.vmap(allowed)(stack)
    np.testing.assert_allclose(both.coefficients[0], allowed(shots).coefficients, atol=1e-5)


def test_rotated_interleaves_stay_within_limits():
    base = replace(wild(TIMING, 1), angles=())
    turned = designed.interleaved(base, 5, order="golden")
    inside = designed.limits(SYSTEM, TIMING, 64, start="centre")(turned)
    assert inside.coefficients.shape[0] == 1
    assert inside.samples.shape[0] == 5
    assert check_limits(inside.samples, SYSTEM).ok
    radii = jnp.linalg.norm(inside.samples, axis=-1)
    np.testing.assert_allclose(radii[3], radii[0], atol=1e-4)


def test_the_unrolled_derivative_is_that_of_the_projection(x64):
    timing = designed.readout(SYSTEM, 1e-4)
    allowed = designed.limits(SYSTEM, timing, 64, start="centre", n_iter=150, tol=1e-12)
    start, along = wild(timing, 1), wild(timing, 1, seed=1).coefficients
    weights = wild(timing, 1, seed=2).coefficients

    def value(t, gradient="unrolled"):
        moved = replace(start, coefficients=start.coefficients + t * along)
        inside = designed.project(moved, allowed, gradient=gradient).value
        return jnp.sum(weights * inside.coefficients)

    h = 1e-4
    slope = (value(h, "none") - value(-h, "none")) / (2 * h)
    np.testing.assert_allclose(jax.grad(value)(0.0), slope, rtol=1e-4)


def test_straight_through_projects_and_has_the_identity_for_derivative():
    allowed = designed.limits(SYSTEM, TIMING, 64)
    shots = wild(TIMING)
    np.testing.assert_allclose(
        designed.projected(shots, allowed).coefficients, allowed(shots).coefficients, atol=1e-4
    )
    slope = jax.grad(lambda t: jnp.sum(3 * designed.projected(t, allowed).coefficients))(shots)
    np.testing.assert_allclose(slope.coefficients, 3)


def test_the_penalty_is_zero_inside_and_leads_there(x64):
    allowed = designed.limits(SYSTEM, TIMING, 64, start="on", tol=1e-6)
    shots = wild(TIMING)
    assert float(designed.penalty(allowed(shots), allowed)) < 1e-20
    loss, slope = jax.value_and_grad(designed.penalty)(shots, allowed)
    step = 1e-6 * loss / jnp.sum(slope.coefficients**2)
    moved = replace(shots, coefficients=shots.coefficients - step * slope.coefficients)
    assert jnp.isclose(designed.penalty(moved, allowed), loss * (1 - 1e-6), rtol=1e-9)


def test_space_and_traced_limits():
    timing = designed.readout(SYSTEM, 2e-4)
    shots = wild(timing, n_axes=3)

    @jax.jit
    def inside(smax):
        lower = replace(SYSTEM, smax=smax)
        return designed.limits(lower, timing, (16, 32, 32), per_axis=True)(shots).samples

    assert check_limits(inside(90.0), replace(SYSTEM, smax=90.0), per_axis=True).ok
    assert float(jnp.abs(inside(90.0)[..., 0]).max()) <= 8 + 1e-4


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((TIMING, 64), {"start": "center"}, "`start`"),
        ((TIMING, 64), {"echo": 1.0}, "`echo`"),
        ((TIMING, (64, 32)), {}, "`shape`"),
    ],
)
def test_limits_that_make_no_sense_are_refused(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        designed.limits(SYSTEM, *arguments, **options)


def test_what_does_not_match_is_refused():
    allowed = designed.limits(SYSTEM, TIMING, 64)
    with pytest.raises(ValueError, match="`limits` are for"):
        allowed(wild(SMOOTH))
    with pytest.raises(ValueError, match="3 axes"):
        allowed(wild(TIMING, n_axes=3))
    per_axis = designed.limits(SYSTEM, TIMING, 64, per_axis=True)
    with pytest.raises(ValueError, match="rotated"):
        per_axis(designed.interleaved(wild(TIMING, 1), 4))
