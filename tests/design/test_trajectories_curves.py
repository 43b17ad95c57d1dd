"""Readouts, curves, starts and files: against integrals, the generators, and what was written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import replace
from jaxrecon.design import trajectories as designed
from jaxrecon.design.trajectories import Trajectory
from jaxrecon.physics import mri
from jaxrecon.physics.mri.trajectories import check_limits, scanner

SYSTEM = scanner(fov=240, gmax=40, smax=180, dwell=2e-6)
TIMING = designed.readout(SYSTEM, 4e-4)
FAST = scanner(fov=240, gmax=40, smax=180, dwell=10e-6)  # as coarse as the gradients


def shots(timing, n_shots=2, n_axes=2):
    rng = np.random.default_rng(0)
    rows = timing.n_coefficients or timing.n_control
    return Trajectory(jnp.asarray(rng.standard_normal((n_shots, rows, n_axes))), timing)


@pytest.mark.parametrize("dwell", [2e-6, 3e-6, 2.5e-5])
def test_samples_are_the_integral_of_linear_gradients(x64, dwell):
    system = replace(SYSTEM, dwell=dwell)
    timing = designed.readout(system, 4e-4)
    trajectory = shots(timing)
    fine = np.linspace(0, timing.duration, 40 * 500 + 1)
    ticks = np.asarray(trajectory.gradients(system))[1, :, 0]
    rate = np.interp(fine, timing.raster_times, ticks) * system.gamma * 1e-6 * system.fov
    steps = (rate[1:] + rate[:-1]) / 2 * fine[1]
    k = float(trajectory.samples[1, 0, 0]) + np.concatenate([[0], np.cumsum(steps)])
    at_samples = np.interp(timing.sample_times, fine, k)
    np.testing.assert_allclose(trajectory.samples[1, :, 0], at_samples, atol=1e-9)


def test_slew_rates_are_those_of_the_gradients(x64):
    trajectory = shots(TIMING)
    played = np.diff(np.asarray(trajectory.gradients(SYSTEM)), axis=1) * 1e-3 / TIMING.raster
    np.testing.assert_allclose(trajectory.slew_rates(SYSTEM), played)


def test_splines_are_those_of_scipy_and_hold_what_they_can(x64):
    interpolate = pytest.importorskip("scipy.interpolate")
    timing = designed.readout(SYSTEM, 4e-4, n_coefficients=9, degree=3)
    trajectory = shots(timing)
    inner = np.linspace(0, 1, 7)
    knots = np.concatenate([[0] * 3, inner, [1] * 3])
    curve = interpolate.BSpline(knots, np.asarray(trajectory.coefficients[0]), 3)
    truth = curve(np.linspace(0, 1, timing.n_control))
    np.testing.assert_allclose(trajectory.control[0], truth, atol=1e-12)
    again = designed.fit(trajectory.samples, timing)
    np.testing.assert_allclose(again.coefficients, trajectory.coefficients, atol=1e-6)


def test_rotation_is_that_of_the_generators():
    arms = mri.trajectories.spiral(5, 32, SYSTEM)
    n = 5 * ((arms.shape[1] - 1) // 5)  # whole intervals of the gradient raster
    timing = designed.readout(SYSTEM, n * SYSTEM.dwell)
    shared = designed.interleaved(designed.fit(arms[:1, : n + 1], timing), 5)
    np.testing.assert_allclose(shared.samples, arms[:, : n + 1], atol=0.01)
    assert shared.coefficients.shape[0] == 1


def test_the_gradient_reaches_shared_coefficients(x64):
    trajectory = designed.interleaved(shots(designed.readout(SYSTEM, 1e-4, n_coefficients=5), 1), 3)
    along = jnp.ones_like(trajectory.coefficients)

    def loss(t):
        moved = replace(trajectory, coefficients=trajectory.coefficients + t * along)
        return jnp.sum(jnp.sin(moved.samples))

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(loss)(0.0), slope, rtol=1e-7)


@pytest.mark.parametrize("n_coefficients", [None, 30])
def test_spokes_are_straight_within_limits_and_reach_the_edges(n_coefficients):
    timing = designed.readout(SYSTEM, 6e-4, n_coefficients=n_coefficients)
    spokes = designed.radial(4, (64, 64), SYSTEM, timing, start=0.3)
    k = spokes.samples
    if n_coefficients is None:
        assert check_limits(k, SYSTEM).ok
    np.testing.assert_allclose(jnp.linalg.norm(k[:, -1], axis=-1), 31.5, rtol=1e-3)
    np.testing.assert_allclose(k[:, timing.n_samples // 2], 0, atol=1e-3)
    angles = 0.3 + np.arange(4) * np.pi / 4
    ends = 31.5 * np.stack([np.sin(angles), np.cos(angles)], -1)
    np.testing.assert_allclose(k[:, -1], ends, atol=0.02)


def test_starts_in_space():
    timing = designed.readout(FAST, 8e-4)
    ball = designed.koosh(5, 32, FAST, timing)
    assert ball.samples.shape == (5, 81, 3)
    assert check_limits(ball.samples, FAST).ok
    arms = designed.cones(4, 8, FAST, timing)
    allowed = designed.limits(FAST, timing, (8, 8, 8), start="centre")
    inside = allowed(arms)
    assert check_limits(inside.samples, FAST).ok
    np.testing.assert_allclose(inside.samples, arms.samples, atol=0.05)


def test_spirals_take_the_readout_and_fill_it():
    timing = designed.readout(FAST, 1e-3)
    arms = designed.spiral(4, 32, FAST, timing, density=2.0)
    inside = designed.limits(FAST, timing, 32, start="centre")(arms)
    np.testing.assert_allclose(jnp.linalg.norm(inside.samples[:, -1], axis=-1), 16, rtol=0.01)
    assert float(jnp.max(jnp.abs(inside.coefficients - arms.coefficients))) < 0.1
    used = designed.usage(arms, designed.limits(FAST, timing, 32))
    assert max(used.gradient, used.slew) > 0.95  # as fast as limits allow: wound as tightly


@pytest.mark.parametrize(("change", "limit"), [({"smax": 20}, "smax"), ({"gmax": 5}, "gmax")])
def test_what_a_spoke_needs_is_said_and_suffices(change, limit):
    timing = designed.readout(SYSTEM, 5e-4)
    weak = replace(SYSTEM, **change)
    with pytest.raises(ValueError, match=rf"`scanner.{limit}` is .* times as much") as caught:
        designed.radial(2, 64, weak, timing)
    needed = float(str(caught.value).split(" needs ")[1].split(",")[0])
    assert needed > change[limit]
    enough = replace(SYSTEM, **{limit: 1.05 * needed})
    assert check_limits(designed.radial(2, 64, enough, timing).samples, enough).ok


def test_readouts_too_short_for_the_edge_are_refused():
    with pytest.raises(ValueError, match="pass a longer `duration`"):
        designed.spiral(4, 64, FAST, designed.readout(FAST, 1e-4))
    with pytest.raises(ValueError, match="more are shorter"):
        designed.cones(2, 16, FAST, designed.readout(FAST, 3e-4))


@pytest.mark.parametrize(
    ("duration", "options", "words"),
    [
        (4.05e-4, {}, "`duration`"),
        (float("nan"), {}, "`duration`"),
        (4e-4, {"n_samples": 202}, "at most 201"),
        (4e-4, {"n_coefficients": 43}, "`n_coefficients`"),
        (4e-4, {"n_coefficients": 9, "degree": 1}, "`degree`"),
    ],
)
def test_readouts_that_make_no_sense_are_refused(duration, options, words):
    with pytest.raises(ValueError, match=words):
        designed.readout(SYSTEM, duration, **options)


@pytest.mark.parametrize("k", [np.zeros((2, 3)), np.full((1, 5, 2), np.nan)])
def test_samples_that_cannot_be_fitted_are_refused(k):
    with pytest.raises(ValueError, match="`k`"):
        designed.fit(k, TIMING)


# ------------------------------------------------------------------------------------------- files


def test_waveforms_come_back_to_the_bit_and_agree_with_each_other(tmp_path):
    timing = designed.readout(SYSTEM, 4e-4, n_coefficients=20)
    wild = designed.interleaved(shots(timing, 1), 3, order="golden")
    trajectory = designed.limits(SYSTEM, timing, 64)(wild)
    path = designed.save_waveforms(tmp_path / "scan.npz", trajectory, SYSTEM)
    again = designed.load_waveforms(path)
    assert again.readout == timing
    assert again.angles == trajectory.angles
    np.testing.assert_array_equal(again.coefficients, trajectory.coefficients)
    with np.load(path) as file:
        g, t = file["gradients_mT_per_m"], file["gradient_times_s"]
        area = np.sum((g[:, 1:] + g[:, :-1]) / 2 * np.diff(t)[None, :, None], axis=1)
        moved = file["k_per_m"][:, -1] - file["k_per_m"][:, 0]
        np.testing.assert_allclose(area * 1e-3 * file["gamma_Hz_per_T"], moved, atol=1e-2)
        assert list(file["axes"]) == ["y", "x"]
        assert float(file["smax_T_per_m_per_s"]) == 180
    assert [p.name for p in tmp_path.iterdir()] == ["scan.npz"]


def test_files_that_are_not_waveforms_are_refused(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, k=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz: not a file of waveforms"):
        designed.load_waveforms(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"other.npz: not a file of waveforms"):
        designed.load_waveforms(path)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        designed.save_waveforms(tmp_path / "scan.mat", shots(TIMING), SYSTEM)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", ["rest", "on"])
def test_pulseq_plays_the_same_samples(tmp_path, start):
    pypulseq = pytest.importorskip("pypulseq")
    trajectory = designed.limits(SYSTEM, TIMING, 64, start=start)(
        Trajectory(30 * shots(TIMING).coefficients, TIMING)
    )
    path = tmp_path / "readouts.seq"
    designed.pulseq(trajectory, SYSTEM).write(str(path))
    sequence = pypulseq.Sequence()
    sequence.read(str(path))
    k_adc, *_ = sequence.calculate_kspace()
    k_adc = k_adc[:2].reshape(2, 2, -1)[::-1].transpose(1, 2, 0) * 0.24  # (x, y, z) in 1/m
    # No excitation: k goes on from shot to shot, and from the ramp before the first sample.
    found, truth = (k - k[:, :1] for k in (k_adc, np.asarray(trajectory.samples)))
    np.testing.assert_allclose(found, truth, atol=2e-3)
    assert np.abs(truth).max() > 1
