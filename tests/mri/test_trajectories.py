"""Straight readouts: angles, placement of samples, coverage of the sphere, BART's convention."""

import math
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.physics.mri import trajectories as tr

PHI = (1 + 5**0.5) / 2


def degrees(angles):
    return np.degrees(np.asarray(angles, np.float64))


def test_golden_angles_have_their_published_values():
    # Winkelmann 2007; Wundrak 2016, table 1.
    published = [111.25, 68.75, 49.75, 38.98, 32.04, 27.20, 23.63]
    ours = [math.degrees(tr.golden_angle(n)) for n in range(1, 8)]
    np.testing.assert_allclose(ours, published, atol=5.1e-3)
    assert math.isclose(ours[0], 180 / PHI)
    full = math.degrees(tr.golden_angle(span=2 * math.pi))
    assert math.isclose(360 - full, 137.50776405003785)


def test_golden_angles_stay_exact_after_many_spokes():
    first = 10**6
    late = degrees(tr.shot_angles(3, order="golden", first=first))
    expected = [math.degrees(math.fmod((first + i) * math.pi / PHI, 2 * math.pi)) for i in range(3)]
    np.testing.assert_allclose(late, expected, atol=1e-4)


def test_frames_of_a_golden_scan_continue():
    whole = tr.shot_angles(20, order="tiny-golden", tiny=4)
    later = tr.shot_angles(8, order="tiny-golden", tiny=4, first=12)
    np.testing.assert_allclose(whole[12:], later)


@pytest.mark.parametrize("tiny", [1, 5])
def test_golden_spokes_fill_the_largest_gaps(tiny):
    """A generalised Fibonacci number of spokes (1, N, N + 1, ...) leaves gaps of two sizes."""
    n = {1: 34, 5: 45}[tiny]
    order = "golden" if tiny == 1 else "tiny-golden"
    lines = np.sort(degrees(tr.shot_angles(n, order=order, tiny=tiny)) % 180)
    gaps = np.diff(lines, append=lines[0] + 180)
    assert gaps.max() / gaps.min() < PHI**2 + 0.01


def test_uniform_partial_and_reversed_angles():
    np.testing.assert_allclose(degrees(tr.shot_angles(4)), [0, 45, 90, 135], atol=1e-5)
    quarter = tr.shot_angles(3, span=math.pi / 2, start=0.1)
    np.testing.assert_allclose(quarter, [0.1, 0.1 + math.pi / 6, 0.1 + math.pi / 3], rtol=1e-6)
    limited = degrees(tr.shot_angles(50, order="golden", span=math.pi / 3))
    assert limited.min() >= 0
    assert limited.max() < 60
    assert np.diff(np.sort(limited)).max() < 2.5 * 60 / 50
    np.testing.assert_allclose(degrees(tr.shot_angles(3, span=-math.pi)), [0, -60, -120], atol=1e-4)


def test_samples_of_a_spoke():
    def along_x(n, readout, size=8):
        return tr.radial(1, n, size, readout=readout)[0, :, 1].tolist()

    assert along_x(8, "centred") == [-4, -3, -2, -1, 0, 1, 2, 3]
    assert along_x(16, "centred") == [i / 2 for i in range(-8, 8)]
    assert along_x(5, "centred", 5) == [-2, -1, 0, 1, 2]
    assert along_x(4, "symmetric") == [-3, -1, 1, 3]
    assert along_x(4, "centre-out") == [0, 1, 2, 3]


def test_half_spokes_turn_through_the_full_circle():
    ends = tr.radial(4, 8, 16, readout="centre-out")[:, -1]
    np.testing.assert_allclose(ends, [[0, 7], [7, 0], [0, -7], [-7, 0]], atol=1e-5)


def test_a_spoke_at_theta_points_along_cos_x_sin_y_of_a_rectangle():
    theta = 0.3
    k = tr.spokes(jnp.array([theta]), 6, (10, 20))
    expected = np.array([10 * np.sin(theta), 20 * np.cos(theta)])
    np.testing.assert_allclose(k[0, 0], -expected / 2, rtol=1e-6)
    np.testing.assert_allclose(k[0, 3], 0, atol=0)


def test_radial_is_traceable_and_differentiable(x64):
    weights = np.random.default_rng(0).normal(size=(5, 8, 2))

    @jax.jit
    def total(start):
        return jnp.sum(weights * tr.radial(5, 8, (6, 9), order="golden", start=start))

    h = 1e-6
    numeric = (total(0.4 + h) - total(0.4 - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(total)(jnp.asarray(0.4)), numeric, rtol=1e-8)

    derivative = jax.jacobian(lambda a: tr.spokes(a, 4, 8))(jnp.array([0.2, 1.0]))
    turned = tr.spokes(jnp.array([0.2, 1.0]) + jnp.pi / 2, 4, 8)
    np.testing.assert_allclose(derivative[0, ..., 0], turned[0], atol=1e-12)
    assert not derivative[0, ..., 1].any()


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
@pytest.mark.parametrize(
    ("flags", "order"), [([], "uniform"), (["-G"], "golden"), (["-G", "-s7"], "tiny-golden")]
)
def test_radial_equals_bart(tmp_path, flags, order):
    out = tmp_path / "traj"
    subprocess.run(["bart", "traj", "-x", "12", "-y", "7", "-r", *flags, out], check=True)
    theirs = np.fromfile(out.with_suffix(".cfl"), np.complex64).real.reshape(7, 12, 3)
    ours = tr.radial(7, 12, 12, order=order, readout="symmetric", start=math.pi / 2, span=-math.pi)
    np.testing.assert_allclose(ours, theirs[..., 1::-1], atol=2e-5)


def unit(k):
    """Directions of the last samples."""
    ends = np.asarray(k, np.float64)[:, -1]
    return ends / np.linalg.norm(ends, axis=-1, keepdims=True)


def moments_error(directions):
    """Largest error of ∫ z, z², x², y², xy, yz, xz, z⁴, x²y² over the sphere."""
    z, y, x = directions.T
    found = [z, y, x, z**2, y**2, x**2, x * y, y * z, x * z, z**4, x**2 * y**2]
    exact = [0, 0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0, 1 / 5, 1 / 15]
    return max(abs(f.mean() - e) for f, e in zip(found, exact))


@pytest.mark.parametrize("order", ["golden-means", "spiral-phyllotaxis"])
@pytest.mark.parametrize("readout", ["centred", "centre-out"])
def test_koosh_is_uniform_on_the_sphere(order, readout):
    directions = unit(tr.koosh(1597, 16, 16, order=order, readout=readout))
    if readout == "centred":
        assert (directions[:, 0] >= 0).all()
        directions = np.concatenate([directions, -directions])
    assert moments_error(directions) < 0.004
    # No hole: every random direction has a spoke within the radius of two equal-area caps.
    random = np.random.default_rng(1).normal(size=(500, 3))
    random /= np.linalg.norm(random, axis=-1, keepdims=True)
    nearest = np.arccos(np.clip((random @ directions.T).max(1), -1, 1))
    assert nearest.max() < 2 * 2 / np.sqrt(len(directions))


def test_the_uniformity_test_sees_the_square_root_law():
    n, golden = 1597, 1 - 1 / PHI
    polar = np.pi / 2 * np.sqrt((np.arange(n) + 0.5) / n)
    turn = 2 * np.pi * golden * np.arange(n)
    d = np.stack([np.cos(polar), np.sin(polar) * np.sin(turn), np.sin(polar) * np.cos(turn)], -1)
    assert moments_error(np.concatenate([d, -d])) > 0.02


def test_golden_means_are_chans():
    directions = unit(tr.koosh(3, 8, 8, readout="symmetric"))
    np.testing.assert_allclose(directions[:, 0], [0, 0.4656, 0.9311], atol=1e-4)
    azimuth = np.arctan2(directions[1:, 1], directions[1:, 2]) / (2 * np.pi) % 1
    np.testing.assert_allclose(azimuth, [0.6823, 0.3647], atol=1e-4)
    np.testing.assert_allclose(tr.koosh(20, 8, 8)[15:], tr.koosh(5, 8, 8, first=15), atol=1e-5)


def test_phyllotaxis_interleaves_go_smoothly_from_pole_to_equator():
    whole = unit(tr.koosh(34 * 10, 8, 8, order="spiral-phyllotaxis", readout="symmetric"))
    parts = unit(
        tr.koosh(34 * 10, 8, 8, order="spiral-phyllotaxis", readout="symmetric", n_interleaves=34)
    ).reshape(34, 10, 3)
    np.testing.assert_allclose(parts[3], whole[3::34], atol=1e-6)
    assert (np.diff(parts[..., 0], axis=1) < 0).all()
    steps = np.arccos(np.clip((parts[:, 1:] * parts[:, :-1]).sum(-1), -1, 1))
    jumps = np.arccos(np.clip((whole[1:] * whole[:-1]).sum(-1), -1, 1))
    assert np.degrees(steps.max()) < 30
    assert np.degrees(np.median(jumps)) > 60


def test_koosh_scales_with_the_voxels():
    k = np.asarray(tr.koosh(10, 4, (8, 16, 32)))
    cube = np.asarray(tr.koosh(10, 4, 1))
    np.testing.assert_allclose(k, cube * [8, 16, 32], rtol=1e-6)


def test_stack_of_stars():
    k = np.asarray(tr.stack_of_stars(5, 6, (4, 8, 12), order="golden"))
    stars = k.reshape(4, 5, 6, 3)
    assert (stars[..., 0] == np.arange(-2, 2)[:, None, None]).all()
    for star in stars:
        np.testing.assert_allclose(star[..., 1:], tr.radial(5, 6, (8, 12), order="golden"))
    some = tr.stack_of_stars(5, 6, (4, 8, 12), order="golden", partitions=[2, 0])
    np.testing.assert_allclose(some.reshape(2, 5, 6, 3), stars[[2, 0]])


def test_rotated_stars_fill_each_others_gaps():
    n_spokes, n_partitions = 5, 8
    k = tr.stack_of_stars(n_spokes, 4, (n_partitions, 8, 8), rotation="golden")
    ends = np.asarray(k, np.float64)[:, 0, 1:]
    angles = np.sort(np.degrees(np.arctan2(*ends.T)) % 180)
    gaps = np.diff(angles, append=angles[0] + 180)
    assert gaps.min() > 180 / (n_spokes * n_partitions) / 2
    assert gaps.max() < 180 / (n_spokes * n_partitions) * 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tr.radial(0, 8, 8), r"`n_shots` is 0"),
        (lambda: tr.radial(3, 0, 8), r"`n_samples` is 0"),
        (lambda: tr.radial(3, 8, (8, 0)), r"`shape` is \(8, 0\)"),
        (lambda: tr.shot_angles(3, span=360), r"`span` is 360, expected radians"),
        (lambda: tr.shot_angles(3, span=0), r"`span` is 0"),
        (lambda: tr.golden_angle(0), r"`tiny` is 0"),
        (lambda: tr.koosh(0, 8, 8), r"`n_spokes` is 0"),
        (
            lambda: tr.koosh(10, 8, 8, order="spiral-phyllotaxis", n_interleaves=3),
            r"`n_interleaves` is 3, expected a divisor of `n_spokes` 10",
        ),
        (lambda: tr.stack_of_stars(3, 8, (4, 8, 8), partitions=[4]), r"`partitions` is \[4\]"),
    ],
)
def test_impossible_requests(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_strict_promotion():
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        k = tr.stack_of_stars(3, 8, (4, 8, 8), rotation="golden", start=0.3)
        system = tr.scanner(fov=(60, 240, 240), gmax=40, smax=150, dwell=4e-6)
        tr.check_limits(k, system)
        tr.koosh(3, 8, 8, readout="centre-out")
