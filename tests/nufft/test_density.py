"""Density compensation against closed forms, against one another, and on exact k-space."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.data import cartesian_coordinates, kspace, modified_shepp_logan
from jaxrecon.physics.mri import noncartesian_sense, trajectories
from jaxrecon.physics.nufft import (
    nufft,
    pipe_density,
    radial_density,
    spiral_density,
    voronoi_density,
)

N = 64
SPOKES = trajectories.radial(101, 2 * N, N)
GOLDEN = trajectories.radial(144, 2 * N, N, order="golden")
SCANNER = trajectories.scanner(fov=240, gmax=40, smax=150, dwell=2e-6)


@pytest.fixture(scope="module")
def spirals():
    return trajectories.spiral(12, N, SCANNER, acceleration=0.8)


def inside(trajectory, low: float = 2.0, high: float = N / 2 - 2):
    radius = np.linalg.norm(trajectory, axis=-1)
    return (radius > low) & (radius < high)


def difference(weights, reference, where) -> float:
    """Relative, in the measure of k-space's area."""
    a, b = np.asarray(weights)[where], np.asarray(reference)[where]
    return float(np.sum(np.abs(a - b)) / np.sum(b))


def pipe(trajectory, shape=(N, N), **options):
    return pipe_density(nufft(trajectory, shape, backend="xla"), **options)


# ------------------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("shape", [(8, 7), (4, 6, 5)])
def test_a_cartesian_grid_has_weights_one(shape):
    axes = (jnp.arange(n, dtype=float) - n // 2 for n in shape)
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)
    np.testing.assert_allclose(voronoi_density(grid), np.ones(shape), rtol=1e-6)
    np.testing.assert_allclose(pipe(grid, shape), np.ones(shape), rtol=1e-2)


def test_a_cartesian_line_has_weights_one():
    np.testing.assert_allclose(pipe(jnp.arange(-8.0, 8)[:, None], (16,)), np.ones(16), rtol=1e-2)


def test_the_plane_in_rings():
    """Annuli, πN²/4 in all but for the outer half spacing; two thirds of a disc in the middle."""
    weights = np.asarray(radial_density(SPOKES)).sum(axis=0)
    radius = np.abs(np.arange(2 * N) - N) / 2
    ring = np.pi * radius * 0.5  # half of 2π r Δ: the other half lies on the other side
    ring[N] = np.pi * 0.5**2 / 4 * 2 / 3
    np.testing.assert_allclose(weights, ring, rtol=1e-5)


def test_space_in_shells():
    half = trajectories.koosh(50, 32, 32, readout="centre-out")
    shells = np.asarray(radial_density(half)).sum(axis=0)
    radius = np.arange(32) / 2
    np.testing.assert_allclose(shells, 4 * np.pi * radius**2 * 0.5, rtol=1e-5)
    full = np.asarray(radial_density(trajectories.koosh(50, 64, 32))).sum(axis=0)
    np.testing.assert_allclose(full[32:], shells / 2, rtol=1e-5)
    flat = trajectories.koosh(50, 64, (16, 32, 64))
    ellipsoid = np.asarray(radial_density(flat, (16, 32, 64))).sum(axis=0)
    np.testing.assert_allclose(ellipsoid, full, rtol=1e-4)


@pytest.mark.parametrize("readout", ["centred", "symmetric", "centre-out"])
def test_a_ramp_integrates_a_gaussian_exactly(readout):
    """∫ exp(−πk²/s²) dk = s², whatever the offset of the samples: Euler and Maclaurin's term."""
    n = 64 if readout == "centre-out" else 128
    spokes = trajectories.radial(9, n, N, readout=readout)
    gaussian = np.exp(-np.pi * np.sum(np.square(spokes), axis=-1) / 6.0)
    integral = np.sum(radial_density(spokes) * gaussian)
    assert abs(integral / 6 - 1) < 2e-3
    cells = np.sum(voronoi_density(spokes) * gaussian)
    assert cells / integral > 1.005


def test_uneven_angles_share_the_circle():
    angles = jnp.array([0.0, 0.1, 0.3, 1.0, 2.9])
    weights = radial_density(trajectories.spokes(angles, 16, 16))
    gaps = np.array([0.1 + np.pi - 2.9, 0.3, 0.9, 2.6, np.pi - 1.0]) / 2
    np.testing.assert_allclose(weights[:, 3], gaps * 5, rtol=1e-5)


@pytest.mark.parametrize("acceleration", [1.0, (0.6, 1.5)])
@pytest.mark.parametrize("turn_back", [False, True])
def test_spirals_cover_their_disc(acceleration, turn_back):
    spirals = trajectories.spiral(8, 32, SCANNER, acceleration=acceleration)
    weights = spiral_density(spirals[:, ::-1] if turn_back else spirals)
    step = 16 - jnp.linalg.norm(spirals[0, -2])
    assert float(weights.sum()) == pytest.approx(np.pi * float(16 + step / 2) ** 2, rel=1e-4)
    assert float(weights.min()) > 0


def test_archimedean_weights_are_meyers():
    """|dk| × sine of the angle to the radius × distance between the arms of all interleaves."""
    t = jnp.linspace(0.1, 1, 2000)[:, None]
    turn = 2 * jnp.pi * 12 * t + jnp.arange(2)[:, None, None] * jnp.pi
    arms = 16 * t * jnp.concatenate([jnp.sin(turn), jnp.cos(turn)], axis=-1)
    step, k = np.diff(arms, axis=1), (arms[:, 1:] + arms[:, :-1]) / 2
    across = np.abs(step[..., 0] * k[..., 1] - step[..., 1] * k[..., 0])
    meyer = across / np.linalg.norm(k, axis=-1) * (16 / 12 / 2)
    middle = (spiral_density(arms)[:, 1:] + spiral_density(arms)[:, :-1]) / 2
    np.testing.assert_allclose(middle[:, 5:-5], meyer[:, 5:-5], rtol=2e-3)


# ----------------------------------------------------------------------------------- Voronoi cells


@pytest.mark.parametrize("n_axes", [2, 3])
def test_cells_against_counted_points(n_axes, rng):
    """Monte Carlo: the nearest sample of every point within the samples' hull, moved out by ½."""
    from scipy.spatial import ConvexHull, KDTree

    samples = rng.uniform(-3, 3, (40, n_axes))
    faces = ConvexHull(samples).equations
    points = rng.uniform(-5, 5, (400_000, n_axes))
    points = points[(points @ faces[:, :-1].T + faces[:, -1] <= 0.5).all(axis=1)]
    counts = np.bincount(KDTree(samples).query(points)[1], minlength=40)
    expected = counts * 10**n_axes / 400_000
    weights = np.asarray(voronoi_density(samples))
    error = np.sqrt(np.maximum(counts, 1)) * 10**n_axes / 400_000
    assert np.all(np.abs(weights - expected) < 5 * error)
    assert np.sum(weights) == pytest.approx(np.sum(expected), rel=0.01)


def test_samples_at_one_place_share_its_cell():
    shots = np.concatenate([SPOKES, SPOKES[:, ::-1], SPOKES[:1]])
    weights = np.asarray(voronoi_density(shots))
    once = np.asarray(voronoi_density(SPOKES))
    middle = np.all(shots == 0, axis=-1)
    np.testing.assert_allclose(weights[middle], weights[middle][0])
    assert np.sum(weights[middle]) == pytest.approx(np.pi * 0.25**2, rel=1e-2)
    np.testing.assert_allclose(weights[1:101, :64], once[1:, :64] / 2, rtol=1e-5)
    np.testing.assert_allclose(weights[0, :64], once[0, :64] / 3, rtol=1e-5)
    assert np.sum(weights) == pytest.approx(np.sum(once), rel=1e-6)


def test_pipe_counts_repeated_shots_half():
    once, twice = pipe(SPOKES), pipe(jnp.concatenate([SPOKES, SPOKES]))
    assert difference(2 * twice[:101], once, inside(SPOKES)) < 5e-3


# -------------------------------------------------------------------------- all of them on one scan


def test_all_agree_on_spokes():
    where = inside(GOLDEN)
    analytic = radial_density(GOLDEN)
    assert difference(voronoi_density(GOLDEN), analytic, where) < 1e-3
    # Of spokes nearer than the kernel is wide, Pipe's iteration knows no more than the sum.
    rings = np.asarray(pipe(GOLDEN)).sum(axis=0), np.asarray(analytic).sum(axis=0)
    assert difference(*rings, where.all(axis=0)) < 0.02
    assert difference(pipe(SPOKES), radial_density(SPOKES), inside(SPOKES)) < 0.02


def test_all_agree_on_spirals(spirals):
    where = inside(spirals)
    analytic = spiral_density(spirals)
    assert difference(voronoi_density(spirals), analytic, where) < 2e-3
    assert difference(pipe(spirals), analytic, where) < 0.05


def test_all_agree_where_the_image_is_not_square():
    shape = (48, 64)
    spokes = trajectories.radial(151, 128, shape, start=0.3)
    radius = np.linalg.norm(spokes / (np.array(shape) / 2), axis=-1)
    where = (radius > 0.1) & (radius < 0.9)
    analytic = radial_density(spokes, shape)
    assert float(analytic.sum()) == pytest.approx(np.pi / 4 * 48 * 64, rel=2e-3)
    assert difference(voronoi_density(spokes), analytic, where) < 5e-3
    assert difference(radial_density(spokes), analytic, where) < 5e-3
    assert difference(pipe(spokes, shape), analytic, where) < 0.02


@pytest.mark.parametrize(
    ("density", "error", "scale"),
    [
        (pipe, 0.05, 0.01),
        (radial_density, 0.04, 0.01),
        (spiral_density, 0.04, 0.01),
        (voronoi_density, 0.06, 0.025),
    ],
)
def test_gridding_gives_the_image_in_its_own_scale(density, error, scale, spirals):
    """Exact k-space of the head; the truth is its image from the disc that was sampled."""
    trajectory = spirals if density in (spiral_density, pipe) else SPOKES
    head = modified_shepp_logan(half_width=N / 2)
    grid = cartesian_coordinates((N, N))
    disc = np.linalg.norm(grid, axis=-1) <= N / 2
    centred = np.fft.ifftshift(np.asarray(kspace(head, grid, (N, N))) * disc)
    truth = np.fft.fftshift(np.fft.ifft2(centred, norm="ortho"))
    A = nufft(trajectory, (N, N), backend="xla")
    data = kspace(head, trajectory, (N, N))
    image = np.asarray(A.H(density(trajectory) * data))
    plain = np.asarray(A.H(data))
    fov = np.linalg.norm(grid, axis=-1) < N / 2

    def compare(image):
        image, reference = image[fov], truth[fov]
        gain = np.vdot(reference, image) / np.vdot(reference, reference)
        return abs(gain), np.linalg.norm(image / gain - reference) / np.linalg.norm(reference)

    gain, nrmse = compare(image)
    assert abs(gain - 1) < scale
    assert nrmse < error
    assert compare(plain)[1] > 10 * nrmse


def test_pipes_weights_are_the_best_in_frobenius_norm(rng):
    """They minimise ‖AᴴWA − 1‖ over the pixels of a line, here with a dense matrix."""
    points = np.arange(-4, 4)[:, None] + rng.uniform(-0.3, 0.3, (8, 1))
    weights = pipe_density(nufft(points, (8,), backend="dft"), n_iter=100)
    phase = np.exp(-2j * np.pi * points * (np.arange(8) - 4) / 8) / np.sqrt(8)
    products = np.einsum("jm,jn->mnj", phase.conj(), phase).reshape(64, 8)
    columns = np.concatenate([products.real, products.imag])
    goal = np.concatenate([np.eye(8).ravel(), np.zeros(64)])
    np.testing.assert_allclose(weights, np.linalg.lstsq(columns, goal)[0], atol=5e-4)
    assert np.ptp(np.asarray(weights)) > 0.1


# ------------------------------------------------------------------------------ JAX, and bad input


def test_pure_functions_are_jitted_and_differentiated(spirals):
    for density in (radial_density, spiral_density):
        trajectory = SPOKES if density is radial_density else spirals
        np.testing.assert_allclose(
            jax.jit(density)(trajectory), density(trajectory), rtol=1e-3, atol=1e-6
        )
        slope = jax.grad(lambda k, f=density: jnp.sum(f(k)))(trajectory)
        assert np.isfinite(slope).all()


def test_pipes_weights_are_differentiated_in_the_trajectory(x64):
    spokes = np.asarray(trajectories.radial(5, 8, 8), np.float64)

    @jax.jit
    def loss(scale):
        A = nufft(scale * spokes, (8, 6), backend="dft")
        return jnp.sum(pipe_density(A, n_iter=3) ** 2)

    numeric = (loss(0.9 + 1e-6) - loss(0.9 - 1e-6)) / 2e-6
    assert float(jax.grad(loss)(0.9)) == pytest.approx(float(numeric), rel=1e-6)


def test_the_batch_does_not_matter():
    spokes = trajectories.radial(5, 8, 8)
    one, many = (nufft(spokes, (8, 6), backend="dft", batch=b) for b in ((), (3,)))
    np.testing.assert_array_equal(pipe_density(one), pipe_density(many))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: radial_density(SPOKES[0]), "expected (shot, sample, 2 or 3)"),
        (lambda: spiral_density(jnp.ones((2, 4, 3))), "expected (shot, sample, 2)"),
        (lambda: radial_density(jnp.zeros((0, 4, 2))), "a shot and two samples"),
        (lambda: spiral_density(jnp.zeros((3, 1, 2))), "a shot and two samples"),
        (lambda: radial_density(jnp.zeros((3, 4, 2))), "without length"),
        (lambda: spiral_density(SPOKES), "going back and forth in |k|"),
        (lambda: radial_density(SPOKES + 3.0), "off a straight line through k = 0"),
        (lambda: radial_density(SPOKES, (8, 8, 8)), "`shape` is (8, 8, 8)"),
        (lambda: voronoi_density(jnp.ones((5, 4))), "expected (..., 2) or (..., 3)"),
        (lambda: voronoi_density(jnp.ones((0, 2))), "holds no points"),
        (lambda: voronoi_density(jnp.full((5, 2), jnp.nan)), "5 points that are not finite"),
        (lambda: voronoi_density(SPOKES[:1]), "all lie on a line"),
        (lambda: voronoi_density(jnp.ones((1, 3))), "1 points that all lie in a plane"),
        (lambda: jax.jit(voronoi_density)(SPOKES), "outside jit"),
        (lambda: pipe(SPOKES, n_iter=0), "`n_iter` is 0"),
        (
            lambda: pipe_density(noncartesian_sense(jnp.ones((1, N, N), complex), SPOKES)),
            "without coil maps",
        ),
    ],
)
def test_errors_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_a_stack_of_stars_is_no_koosh():
    stars = trajectories.stack_of_stars(5, 16, (4, 16, 16))
    with pytest.raises(ValueError, match="pass the last two coordinates"):
        radial_density(stars)
    assert radial_density(stars[..., 1:]).shape == (20, 16)


def test_scipy_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"jaxrecon\[density\]"):
        voronoi_density(SPOKES)


@pytest.fixture
def rng():
    return np.random.default_rng(7)
