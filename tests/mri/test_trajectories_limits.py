"""Gradients, slew rates and the report on limits: units, the first sample, injected breaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.physics.mri import trajectories as tr

SYSTEM = tr.scanner(fov=240, gmax=40, smax=150, dwell=4e-6)
GAMMA = 42.577478461e6


def ramp_up(n=60, smax=149.0, system=SYSTEM):
    """Two shots: constant slew along y from rest at k = 0, and its mirror image along x."""
    t = np.arange(n) * system.dwell
    # The first difference of ½ s t² is half a step: shifted to make every s_i equal.
    k = GAMMA * smax * 0.24 * (t * (t + system.dwell)) / 2
    zero = np.zeros(n)
    return np.stack([np.stack([k, zero], -1), np.stack([zero, -k], -1)])


def test_gradients_and_slew_in_physical_units(x64):
    k = jnp.asarray(ramp_up())
    g, s = tr.gradients(k, SYSTEM), tr.slew_rates(k, SYSTEM)
    expected = 149.0 * SYSTEM.dwell * np.arange(1, 60) * 1e3
    np.testing.assert_allclose(g[0, :-1, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(g[1, :-1, 1], -expected, rtol=1e-9)
    np.testing.assert_allclose(g[:, -1], g[:, -2], rtol=0)
    np.testing.assert_allclose(s[0, :-1, 0], 149.0, rtol=1e-7)
    assert not s[:, -1].any()
    moving = tr.slew_rates(k, SYSTEM, starts_at_rest=False)
    assert not moving[:, 0].any()
    np.testing.assert_allclose(moving[:, 1:], s[:, 1:], rtol=0)


def test_field_of_view_of_each_axis_and_nucleus(x64):
    k = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)))
    system = tr.scanner(fov=(100, 200, 400), gmax=40, smax=150, dwell=4e-6)
    one = tr.scanner(fov=100, gmax=40, smax=150, dwell=4e-6)
    np.testing.assert_allclose(
        tr.gradients(k, system), tr.gradients(k, one) / jnp.array([1, 2, 4.0]), rtol=1e-12
    )
    sodium = tr.scanner(fov=100, gmax=40, smax=150, dwell=4e-6, nucleus="23Na")
    ratio = float(tr.gradients(k, sodium)[0, 0, 0] / tr.gradients(k, one)[0, 0, 0])
    assert abs(ratio - 42.577 / 11.262) < 1e-3  # γ of sodium: 11.262 MHz/T


def test_gyromagnetic_ratios_are_the_tabulated_ones():
    # MHz/T of bare nuclei; the IUPAC ratios refer to compounds, shielded by up to 0.1 %.
    table = {"1H": 42.577, "2H": 6.536, "3He": 32.434, "7Li": 16.546, "13C": 10.708}
    table |= {"17O": 5.772, "19F": 40.078, "23Na": 11.262, "31P": 17.235, "129Xe": 11.777}
    assert table.keys() == tr.GYROMAGNETIC_RATIO.keys()
    for nucleus, value in table.items():
        assert abs(tr.GYROMAGNETIC_RATIO[nucleus] / 1e6 / value - 1) < 6e-3, nucleus


def test_gradients_and_slew_are_differentiable_in_everything(x64):
    rng = np.random.default_rng(1)
    k, weight = jnp.asarray(rng.normal(size=(2, 5, 2))), jnp.asarray(rng.normal(size=(2, 5, 2)))

    @jax.jit
    def total(k, system):
        return jnp.sum(weight * (tr.slew_rates(k, system) / 1e6 + tr.gradients(k, system) ** 2))

    gradient = jax.grad(total, argnums=(0, 1))(k, SYSTEM)
    h = 1e-6
    direction = jnp.asarray(rng.normal(size=k.shape))
    numeric = (total(k + h * direction, SYSTEM) - total(k - h * direction, SYSTEM)) / (2 * h)
    np.testing.assert_allclose(jnp.sum(gradient[0] * direction), numeric, rtol=1e-6)
    for name, step in (("fov", 1e-3), ("dwell", 1e-10)):
        ends = [
            total(k, tr.Scanner(**{**vars(SYSTEM), name: getattr(SYSTEM, name) + sign * step}))
            for sign in (1, -1)
        ]
        numeric = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(getattr(gradient[1], name), numeric, rtol=1e-6)


def test_a_trajectory_within_the_limits(x64):
    k = jnp.asarray(ramp_up())
    report = tr.check_limits(k, SYSTEM)
    assert report.ok
    assert report.check() is report
    assert report.gradient is None
    assert report.slew is None
    assert abs(report.peak_slew - 149) < 1e-6
    assert abs(report.peak_gradient - 149 * 59 * 4e-3) < 1e-6
    assert str(report) == (
        "Within the limits: gradients reach 35.16 of 40 mT/m, slew rates 149 of 150 T/m/s."
    )


@pytest.mark.parametrize(("shot", "sample"), [(0, 0), (1, 0), (1, 30), (0, 58)])
def test_an_injected_slew_breach_is_named(x64, shot, sample):
    k = ramp_up(smax=100.0)
    unit = GAMMA * 0.24 * 4e-6**2
    # A kink of 60 T/m/s at one sample: all later samples run off at the changed gradient.
    k[shot, sample + 1 :, shot] += (1 if shot == 0 else -1) * (
        60 * unit * np.arange(1, 60 - sample)
    )
    report = tr.check_limits(jnp.asarray(k), SYSTEM)
    assert not report.ok
    assert report.slew is not None
    assert report.slew[:2] == (shot, sample)
    assert report.slew.count == 1
    assert abs(report.slew.value - 160) < 1e-6
    assert report.gradient is None
    assert f"at shot {shot}, sample {sample}, where 150 is allowed" in report.text
    assert ("starts_at_rest=False" in report.text) == (sample == 0)
    with pytest.raises(ValueError, match=f"shot {shot}, sample {sample}"):
        report.check()


def test_a_gradient_breach_is_named(x64):
    k = jnp.asarray(ramp_up(n=80))
    report = tr.check_limits(k, SYSTEM)
    assert report.slew is None
    assert report.gradient is not None
    # 149 T/m/s · 4 µs a sample: g_i = 0.596 (i + 1) passes 40 mT/m at i = 67.
    assert report.gradient == (0, 67, pytest.approx(0.596 * 68), 2 * (80 - 67))
    assert "Gradient: 40.53 mT/m at shot 0, sample 67" in report.text


def test_a_start_at_full_speed_is_only_allowed_when_the_gradient_is_on():
    k = tr.radial(4, 256, 256)
    broken = tr.check_limits(k, SYSTEM)
    assert broken.slew is not None
    assert broken.slew[:2] == (0, 0)
    assert tr.check_limits(k, SYSTEM, starts_at_rest=False).ok


def test_limits_just_met_and_just_missed(x64):
    k = jnp.asarray(ramp_up(smax=150 * (1 + 5e-7)))
    assert tr.check_limits(k, SYSTEM).ok
    assert not tr.check_limits(jnp.asarray(ramp_up(smax=150 * (1 + 2e-6))), SYSTEM).ok


def test_rounding_of_single_precision_is_allowed_and_no_more():
    k = ramp_up(n=60, smax=150.0)
    k += np.array([100.123, 77.7])  # far out, coordinates are coarse
    report = tr.check_limits(jnp.asarray(k, jnp.float32), SYSTEM)
    assert report.ok
    assert report.peak_slew > 150.01
    assert report.allowed_slew < 150.4
    assert "is the rounding of coordinates" in report.text
    k = ramp_up(n=60, smax=151.0) + np.array([100.123, 77.7])
    assert not tr.check_limits(jnp.asarray(k, jnp.float32), SYSTEM).ok


def test_magnitude_or_each_axis(x64):
    line = ramp_up(smax=120.0)[0, :, 0]
    k = jnp.asarray(np.stack([line, line], -1)[None])
    assert not tr.check_limits(k, SYSTEM).ok
    assert tr.check_limits(k, SYSTEM, per_axis=True).ok


def test_values_that_are_not_finite_are_breaches(x64):
    k = ramp_up()
    k[1, 20, 0] = np.nan
    report = tr.check_limits(jnp.asarray(k), SYSTEM)
    assert not report.ok
    assert report.gradient is not None
    assert report.gradient[:2] == (1, 19)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fov": 0}, "`fov` is 0, expected a positive number"),
        ({"fov": (240, -1)}, "`fov` is -1"),
        ({"gmax": float("nan")}, "`gmax` is nan"),
        ({"smax": float("inf")}, "`smax` is inf"),
        ({"dwell": 4}, "`dwell` is 4 s, expected seconds: pass 4e-6 for 4 µs"),
        ({"nucleus": "H1"}, "`nucleus` is 'H1', expected one of 1H,"),
    ],
)
def test_impossible_scanners(changes, message):
    with pytest.raises(ValueError, match=message):
        tr.scanner(**{"fov": 240, "gmax": 40, "smax": 150, "dwell": 4e-6, **changes})


def test_impossible_requests():
    k = jnp.zeros((2, 5, 3))
    with pytest.raises(ValueError, match="has 1 samples"):
        tr.gradients(k[:, :1], SYSTEM)
    flat = tr.scanner(fov=(240, 240), gmax=40, smax=150, dwell=4e-6)
    with pytest.raises(ValueError, match="2 values, but k-space has 3 axes"):
        tr.slew_rates(k, flat)
    with pytest.raises(ValueError, match="use `gradients` and `slew_rates` inside"):
        jax.jit(lambda k: tr.check_limits(k, SYSTEM).ok)(k)
