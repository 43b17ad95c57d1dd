"""Spirals, cones and rosettes: limits held and attained, analytic times, Nyquist distances."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.physics.mri import trajectories as tr

SYSTEM = tr.scanner(fov=240, gmax=40, smax=150, dwell=4e-6)
# In cycles per field of view: gmax per second, smax per second².
REACH = 42.577478461e6 * 40e-3 * 0.24
ACCEL = 42.577478461e6 * 150 * 0.24

SPIRALS = {
    "single": {"n_interleaves": 1, "shape": 96},
    "interleaved": {"n_interleaves": 16, "shape": 256},
    "many": {"n_interleaves": 60, "shape": 256},
    "sparse outside": {"n_interleaves": 8, "shape": 256, "acceleration": (1, 4), "power": 2},
    "sparse inside": {"n_interleaves": 8, "shape": 192, "acceleration": (4.0, 1)},
}


@functools.cache
def spiral(name):
    with jax.enable_x64(True):
        return np.asarray(tr.spiral(scanner=SYSTEM, **SPIRALS[name]))


def use(k, system=SYSTEM):
    """How much of its limit each sample of the first shot uses, the larger of both."""
    g = np.linalg.norm(tr.gradients(jnp.asarray(k[:1]), system), axis=-1)[0] / system.gmax
    s = np.linalg.norm(tr.slew_rates(jnp.asarray(k[:1]), system), axis=-1)[0] / system.smax
    return np.maximum(g, s)


@pytest.mark.parametrize("name", SPIRALS)
def test_spirals_hold_the_limits_and_use_them(x64, name):
    k = spiral(name)
    report = tr.check_limits(jnp.asarray(k), SYSTEM, rtol=0)
    assert report.ok, report.text
    used = use(k)
    assert 0.4 < used[0] < 0.51  # from rest half a step of full acceleration
    assert used[4:-1].min() > 0.95
    assert used[1:-1].min() > 0.85
    np.testing.assert_array_equal(k[:, 0], 0)
    np.testing.assert_allclose(np.linalg.norm(k[:, -1], axis=-1), SPIRALS[name]["shape"] / 2)


def test_limits_hold_in_any_orientation(x64):
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    k = np.pad(spiral("interleaved")[:2], ((0, 0), (0, 0), (1, 0))) @ turn
    assert tr.check_limits(jnp.asarray(k), SYSTEM, rtol=1e-9).ok


@pytest.mark.parametrize("name", SPIRALS)
def test_arms_are_as_far_apart_as_promised(name):
    options = SPIRALS[name]
    k, n, size = spiral(name)[0], options["n_interleaves"], options["shape"]
    inner, outer = np.broadcast_to(options.get("acceleration", 1), 2)
    power = options.get("power", 1)
    radius = np.linalg.norm(k, axis=-1)[1:]
    angle = np.unwrap(np.arctan2(k[1:, 0], k[1:, 1]))
    # Radii of neighbouring arms: of this interleave 1/n of a turn later.
    r = np.linspace(radius[3], np.interp(angle[-1] - 2 * np.pi / n, angle, radius), 50)
    ahead = np.interp(np.interp(r, radius, angle) + 2 * np.pi / n, angle, radius)
    middle = (r + ahead) / size
    expected = inner + (outer - inner) * middle**power
    np.testing.assert_allclose(ahead - r, expected, rtol=0.03)


def test_uniform_interleaves_are_rotations(x64):
    k = spiral("interleaved")
    signal = k[..., 1] + 1j * k[..., 0]
    turns = np.exp(2j * np.pi * np.arange(16) / 16)
    np.testing.assert_allclose(signal, signal[0] * turns[:, None], atol=1e-10)
    golden = np.asarray(tr.spiral(16, 64, SYSTEM, order="golden", n_shots=3, start=0.2))
    signal = golden[:, -1, 1] + 1j * golden[:, -1, 0]
    assert len(golden) == 3
    np.testing.assert_allclose(np.degrees(np.angle(signal[1] / signal[0])), -137.5077641, atol=1e-6)


@pytest.mark.parametrize(("size", "n"), [(256, 16), (256, 4), (128, 8)])
def test_duration_of_an_archimedean_spiral_is_glovers(size, n):
    """Slew-limited, then gradient-limited, with the start neglected."""
    pitch = n / (2 * math.pi)
    angle = math.pi * size / n
    change = min(angle, REACH**2 / (ACCEL * pitch))
    expected = 2 / 3 * math.sqrt(pitch / ACCEL) * change**1.5
    expected += pitch / (2 * REACH) * (angle**2 - change**2)
    k = tr.spiral(n, size, SYSTEM)
    duration = (k.shape[1] - 1) * SYSTEM.dwell
    assert 0 < duration - expected < 0.02 * expected + 0.2e-3


def test_a_spiral_of_a_rectangle_is_a_circle_in_space(x64):
    system = tr.scanner(fov=(120, 240), gmax=40, smax=150, dwell=4e-6)
    k = tr.spiral(8, (64, 128), system)
    assert tr.check_limits(k, system, rtol=0).ok
    np.testing.assert_allclose(np.linalg.norm(k[:, -1] * jnp.array([2, 1]), axis=-1), 64)
    np.testing.assert_allclose(k * jnp.array([2, 1]), tr.spiral(8, 128, SYSTEM), atol=1e-9)


def test_single_precision_results_pass_the_check_too():
    k = tr.spiral(16, 256, SYSTEM)
    assert k.dtype == jnp.float32
    assert tr.check_limits(k, SYSTEM).ok


def line(length):
    return lambda u: np.stack([0 * u, length * (u + 0.3 * u**2) / 1.3], axis=-1)


def test_the_fastest_straight_line_is_bang_bang(x64):
    ramp, length = REACH / ACCEL, 150.0  # the ramp covers 54.5 cycles
    expected = ramp + (length - REACH * ramp / 2) / REACH
    k = tr.time_optimal(line(length), SYSTEM)
    assert abs((len(k) - 1) * SYSTEM.dwell - expected) < SYSTEM.dwell
    stopped = tr.time_optimal(line(length), SYSTEM, ends_at_rest=True)
    assert abs((len(stopped) - 1) * SYSTEM.dwell - (length / REACH + ramp)) < SYSTEM.dwell
    short = tr.time_optimal(line(20.0), SYSTEM, ends_at_rest=True)
    assert abs((len(short) - 1) * SYSTEM.dwell - 2 * math.sqrt(20 / ACCEL)) < SYSTEM.dwell
    for samples in (k, stopped, short):
        assert tr.check_limits(samples[None], SYSTEM, rtol=0).ok
    held = jnp.concatenate([stopped, stopped[-1:].repeat(2, 0)])
    assert tr.check_limits(held[None], SYSTEM, rtol=0).ok


def test_the_fastest_circle_from_rest_is_known(x64):
    """y = A r sin(2s/r) up to a quarter of π r, then √(A r)."""
    r = 10.0
    s = np.pi / 4 * r * np.linspace(0, 1, 20001)[1:] ** 2
    # ∫ ds / √y with s = x² to take the root at the start away.
    x = np.sqrt(np.concatenate([[0], s]))
    pace = np.concatenate(
        [[2 / math.sqrt(2 * ACCEL)], 2 * x[1:] / np.sqrt(ACCEL * r * np.sin(2 * s / r))]
    )
    expected = np.trapezoid(pace, x) + (6 - np.pi / 4) * r / math.sqrt(ACCEL * r)
    k = tr.time_optimal(lambda u: r * np.stack([1 - np.cos(6 * u), np.sin(6 * u)], axis=-1), SYSTEM)
    assert abs((len(k) - 1) * SYSTEM.dwell - expected) < 1.2 * SYSTEM.dwell
    assert tr.check_limits(k[None], SYSTEM, rtol=0).ok


def test_speed_is_down_in_time_for_a_sharp_bend(x64):
    """A long ellipse in space: fast along its sides, slow around its ends."""

    def ellipse(u):
        phase = np.pi / 2 + 4 * np.pi * u
        return np.stack([3 * np.sin(phase) - 3, 3.0 * np.cos(phase), 40 * np.cos(phase)], axis=-1)

    k = tr.time_optimal(ellipse, SYSTEM, ends_at_rest=True)
    assert tr.check_limits(k[None], SYSTEM, rtol=0).ok
    used = use(k[None])
    assert np.mean(used > 0.95) > 0.97
    speed = np.linalg.norm(np.diff(k, axis=0), axis=-1)
    assert speed.max() > 4 * speed[20:-20].min()


@pytest.mark.parametrize("seed", range(4))
def test_any_smooth_curve_holds_the_limits(x64, seed):
    """Random curves with bends of all sizes, unevenly parametrised, in an oblong field of view."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(2, 6, 3)) / np.arange(1, 7)[:, None]

    def curve(u):
        phase = 2 * np.pi * np.outer(u + 0.1 * np.sin(2 * np.pi * u), np.arange(1, 7))
        return 30 * (np.sin(phase) @ waves[0] + np.cos(phase) @ waves[1])

    system = tr.scanner(fov=(150, 200, 300), gmax=30, smax=180, dwell=4e-6)
    k = tr.time_optimal(curve, system, ends_at_rest=True)
    report = tr.check_limits(jnp.concatenate([k, k[-1:], k[-1:]])[None], system, rtol=0)
    assert report.ok, report.text
    assert np.mean(use(k[None], system) > 0.95) > 0.93
    np.testing.assert_allclose(k[jnp.array([0, -1])], curve(np.array([0.0, 1.0])), atol=1e-12)


def test_cones(x64):
    system = tr.scanner(fov=200, gmax=40, smax=150, dwell=8e-6)
    k = np.asarray(tr.cones(8, 24, system))
    assert tr.check_limits(jnp.asarray(k), system, rtol=0).ok
    radius = np.linalg.norm(k, axis=-1)
    np.testing.assert_array_equal(k[:, 0], 0)
    np.testing.assert_allclose(radius[:, -1], 12)
    # Each shot stays on its cone; cones are at most one cycle per field of view apart.
    cosine = k[:, 1:, 0] / radius[:, 1:]
    np.testing.assert_allclose(cosine, cosine[:, -1:].repeat(cosine.shape[1], 1), atol=1e-9)
    polar, count = np.unique(np.arccos(cosine[:, -1]).round(9), return_counts=True)
    assert np.diff(polar).max() * 12 <= 1
    assert (polar[0] + np.pi - polar[-1]) * 12 <= 1.001
    np.testing.assert_allclose(polar + polar[::-1], np.pi, atol=1e-8)
    np.testing.assert_array_equal(count, count[::-1])
    assert count.max() <= 12
    # No point of a cone is farther from its arms than half a cycle per field of view.
    for shots in np.split(k, np.cumsum(count)[:-1])[: (len(count) + 1) // 2 : 4]:
        assert largest_gap(shots) < 0.51


def largest_gap(shots):
    """Largest distance of points on a cone from the arms, along the edges between samples."""
    rng = np.random.default_rng(0)
    end = shots[0, -1]
    rho = 11.4 * np.sqrt(rng.uniform(size=200)) / 12
    turn = rng.uniform(0, 2 * np.pi, 200)
    across = np.hypot(end[1], end[2])
    points = rho[:, None] * np.stack(
        [np.full(200, end[0]), across * np.sin(turn), across * np.cos(turn)], axis=-1
    )
    fine = np.concatenate(
        [shots[:, :-1] + f * np.diff(shots, axis=1) for f in (0, 0.25, 0.5, 0.75)], axis=1
    )
    samples = fine.reshape(-1, 3)
    return np.sqrt(((points[:, None] - samples) ** 2).sum(-1).min(1)).max()


def test_cones_follow_the_density_asked_for():
    system = tr.scanner(fov=200, gmax=40, smax=150, dwell=8e-6)
    full, half = tr.cones(6, 16, system), tr.cones(6, 16, system, acceleration=2)
    assert half.shape[0] < 0.65 * full.shape[0]
    assert half.shape[1] < full.shape[1]
    few = np.asarray(tr.cones(6, 16, system, n_cones=3))
    polar = np.degrees(np.arccos(few[:, -1, 0] / 8)).round(2)
    np.testing.assert_allclose(np.unique(polar), [30, 90, 150], atol=0.02)


@pytest.mark.parametrize("options", [{}, {"frequency_ratio": 0.1}, {"ends_at_rest": True}])
def test_rosettes(x64, options):
    n_shots, n_petals, size = 4, 6, 64
    k = np.asarray(tr.rosette(n_shots, n_petals, size, SYSTEM, **options))
    report = tr.check_limits(jnp.asarray(k), SYSTEM, rtol=0)
    assert report.ok, report.text
    assert np.mean(use(k) > 0.95) > 0.97
    radius = np.linalg.norm(k, axis=-1)
    assert radius.max() <= size / 2
    np.testing.assert_allclose(radius[:, [0, -1]], 0, atol=1e-9)
    # Minima of the radius separate the petals.
    inner = (radius[:, 1:-1] < radius[:, 2:]) & (radius[:, 1:-1] <= radius[:, :-2])
    assert (inner.sum(1) == n_petals - 1).all()
    if "frequency_ratio" not in options:
        assert petal_gaps(k, n_petals) == pytest.approx(360 / (n_shots * n_petals), abs=1)


def petal_gaps(k, n_petals):
    """Angle between neighbouring petals, if all are evenly spaced."""
    radius = np.linalg.norm(k, axis=-1)
    tip = (radius[:, 1:-1] > radius[:, 2:]) & (radius[:, 1:-1] >= radius[:, :-2])
    tips = k[:, 1:-1][tip]
    assert len(tips) == len(k) * n_petals
    angles = np.sort(np.degrees(np.arctan2(*tips.T)) % 360)
    gaps = np.diff(angles, append=angles[0] + 360)
    assert np.ptp(gaps) < 2
    return gaps.mean()


def test_corners_cusps_and_stops_are_refused(monkeypatch):
    from jaxrecon.physics.mri.trajectories import _time_optimal

    monkeypatch.setattr(_time_optimal, "_MOST", 1 << 14)
    corner = lambda u: np.stack([np.abs(u - 0.501), u], axis=-1)  # noqa: E731
    with pytest.raises(ValueError, match=r"`curve` turns by .* a corner or a cusp"):
        tr.time_optimal(corner, SYSTEM)
    stop = lambda u: np.stack([np.maximum(u, 0.5), 0 * u], axis=-1)  # noqa: E731
    with pytest.raises(ValueError, match=r"`curve` stands still at u = 0"):
        tr.time_optimal(stop, SYSTEM)
    with pytest.raises(ValueError, match="not finite"):
        tr.time_optimal(lambda u: np.stack([u, u * np.nan], axis=-1), SYSTEM)
    with pytest.raises(ValueError, match=r"`curve` returned shape \(1025,\)"):
        tr.time_optimal(lambda u: u, SYSTEM)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tr.spiral(0, 64, SYSTEM), "`n_interleaves` is 0"),
        (lambda: tr.spiral(4, 64, SYSTEM, acceleration=0), r"`acceleration` is \(0, 0\)"),
        (lambda: tr.spiral(4, 64, SYSTEM, power=0.5), r"`power` is 0\.5"),
        (lambda: tr.spiral(4, 64, SYSTEM, n_shots=0), "`n_shots` is 0"),
        (lambda: tr.spiral(4, (64, 128), SYSTEM), "make pixels of .* expected the same"),
        (
            lambda: tr.spiral(4, (64, 0), SYSTEM),
            r"`shape` is \(64, 0\), expected 2 positive integers",
        ),
        (lambda: tr.cones(0, 16, SYSTEM), "`n_interleaves` is 0"),
        (lambda: tr.cones(4, 16, SYSTEM, acceleration=-1), "`acceleration` is -1"),
        (lambda: tr.cones(4, 16, SYSTEM, n_cones=0), "`n_cones` is 0"),
        (lambda: tr.rosette(0, 5, 64, SYSTEM), "`n_shots` is 0"),
        (lambda: tr.rosette(2, 2, 64, SYSTEM), "`n_petals` is 2"),
        (lambda: tr.rosette(2, 5, 64, SYSTEM, frequency_ratio=0), "`frequency_ratio` is 0"),
    ],
)
def test_impossible_requests(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_traced_scanner_is_refused():
    with pytest.raises(ValueError, match="design it outside jit"):
        jax.jit(lambda system: tr.spiral(4, 64, system))(SYSTEM)
