"""`design` at toy size: budgets and limits, going on after a stop, and what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import data
from jaxrecon.cli.design import _work
from jaxrecon.cli.design._config import read_config
from jaxrecon.cli.design._live import text_picture
from jaxrecon.cli.design._plan import build
from jaxrecon.cli.design._views import gaussian_prior, halved
from jaxrecon.design.trajectories import load_waveforms
from jaxrecon.physics.mri.trajectories import check_limits, scanner

CONFIG = """
[data]
train = "heads.npz"
validation = "heads.npz"
[scan]
kind = "{kind}"
coils = 2
[mask]
calibration = 2
draws = 1
[trajectory]
shots = 4
readout_ms = 0.3
dwell_us = 10
coefficients = 12
density_steps = 2
backend = "dft"
[views]
candidates = 8
views = 3
modes = 3
[reconstruction]
n_iter = 40
weight = 0.1
[design]
folder = "run"
n_steps = 4
batch = 2
picture_every = 2
validate_every = 2
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with images."""
    shapes = [data.modified_shepp_logan(half_width=w) for w in (4.0, 5.0, 6.0, 7.0)]
    heads = np.stack([np.asarray(data.area_average(s, (16, 16))) for s in shapes])
    np.savez(tmp_path / "heads.npz", x=heads)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _quick(quick):
    """Budgets, limits and words, which rounding does not change."""


def config(folder, kind, name="a.toml"):
    (folder / name).write_text(CONFIG.format(kind=kind))
    return name


def sets(*changes):
    return [part for change in changes for part in ("--set", change)]


def outcome(folder, name="run"):
    """Figures, and the arrays of the pattern."""
    with np.load(folder / name / "pattern.npz") as file:
        arrays = dict(file)
    return json.loads((folder / name / "results.json").read_text()), arrays


def check_pictures(folder):
    pictures = ("pattern.png", "point-spread.png", "before-after.png")
    assert all((folder / "run" / name).stat().st_size > 1000 for name in pictures)


def test_points_are_of_the_budget(jaxrecon, folder):
    path = config(folder, "points")
    done = jaxrecon("design", path, *sets("mask.estimator=gumbel"))
    assert done.status == 0, done.err
    results, arrays = outcome(folder)
    assert arrays["mask"].sum() == 64
    assert arrays["mask"][7:9, 7:9].all()
    assert results["steps"] == 4
    assert results["after"]["nrmse"] <= results["before"]["nrmse"]
    scores = [score for _, score in results["validation"]]
    assert results["after"]["nrmse"] == pytest.approx(min(scores))
    check_pictures(folder)


def test_an_interrupted_design_goes_on_to_the_bit(jaxrecon, folder, monkeypatch):
    """Stopped within the first of two stages, and at the begin of the next."""
    path = config(folder, "views")
    often = ["views.choice=gradient", "views.dose=false", "views.views=4", "design.n_steps=4"]
    often += ["design.picture_every=1", "design.validate_every=1"]
    whole, parts = sets("design.folder=whole", *often), sets("design.folder=parts", *often)
    assert jaxrecon("design", path, *whole).status == 0

    real, calls = _work.Work._part, []

    def stopped(*args):
        calls.append(1)
        if len(calls) in (2, 4):
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(_work.Work, "_part", stopped)
    for _ in range(2):
        done = jaxrecon("design", path, *parts)
        assert done.status == 130
        assert "interrupted: parts keeps what was done" in done.err
    done = jaxrecon("design", path, *parts)
    assert done.status == 0, done.err
    assert "at step 2" in done.out
    (first, views), (second, others) = outcome(folder, "whole"), outcome(folder, "parts")
    assert first == second
    np.testing.assert_array_equal(views["doses"], others["doses"])
    assert first["steps"] == 4
    np.testing.assert_array_equal(views["doses"], np.ones(4))

    done = jaxrecon("design", path, *parts, *sets("design.seed=1"))
    assert done.status == 2
    assert "another configuration: choose another design.folder" in done.err
    with np.load(folder / "heads.npz") as file:
        np.savez(folder / "heads.npz", x=2 * file["x"][::-1])
    done = jaxrecon("design", path, *parts)
    assert done.status == 2
    assert "it was begun with other images" in done.err
    done = jaxrecon("design", path, *parts, "--no-resume", *sets("views.views=99"))
    assert done.status == 2
    assert (folder / "parts" / "results.json").exists()  # nothing is thrown away for nonsense
    (folder / "parts" / "state.npz").write_bytes(b"PK broken")
    done = jaxrecon("design", path, *parts)
    assert done.status == 2
    assert "not what a design was stopped at" in done.err


def test_trajectories_keep_the_limits(jaxrecon, folder):
    path = config(folder, "trajectory")
    done = jaxrecon("design", path, *sets("trajectory.start=spiral"))
    assert done.status == 0, done.err
    results, arrays = outcome(folder)
    system = scanner(fov=240, gmax=40, smax=180, dwell=1e-5)
    assert check_limits(jnp.asarray(arrays["samples"]), system).ok
    assert results["after"]["pattern"]["violations"] == 0
    written = load_waveforms(folder / "run" / "waveforms.npz")
    np.testing.assert_array_equal(written.samples, arrays["samples"])
    pytest.importorskip("pypulseq")
    assert (folder / "run" / "waveforms.seq").stat().st_size > 1000
    check_pictures(folder)


def test_views_and_doses_are_of_the_budget(jaxrecon, folder):
    path = config(folder, "views")
    done = jaxrecon("design", path)
    assert done.status == 0, done.err
    results, arrays = outcome(folder)
    assert len(arrays["angles"]) == 3
    np.testing.assert_allclose(arrays["doses"].sum(), 3, rtol=1e-5)
    np.testing.assert_allclose(arrays["angles"], arrays["candidate"] * np.pi / 8, rtol=1e-6)
    assert results["steps"] == 4
    check_pictures(folder)


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("lines", ["mask.budget=17"], "mask.budget is 17, but the grid has 16 positions"),
        ("lines", ["mask.acceleration=0.5"], "mask.acceleration is 0.5, a budget of 32, but the"),
        ("points", ["mask.budget=3"], "mask.budget is 3, but mask.calibration alone takes 4"),
        ("lines", ["mask.calibration=0"], "mask.calibration is 0, an empty region"),
        ("lines", ["mask.start=uniform", "mask.free=false"], "mask.free is False"),
        ("trajectory", ["trajectory.smax=1"], "trajectory.smax is 1 T/m/s, but a spoke"),
        ("trajectory", ["trajectory.gmax=1"], "trajectory.gmax is 1 mT/m, but a spoke"),
        (
            "trajectory",
            ["trajectory.start=spiral", "trajectory.smax=1"],
            "trajectory.smax is 1 T/m/s, but a straight line from rest at k = 0 to the edge within "
            "the readout's 0.0003 s needs 17.4, 17.4 times as much",
        ),
        (
            "trajectory",
            ["trajectory.samples=32"],
            "trajectory.samples is 32: at a dwell time of 1e-05 s they take 0.00031 s, but",
        ),
        ("trajectory", ["trajectory.dwell_us=500"], "trajectory.dwell_us is 500.0, but"),
        ("trajectory", ["trajectory.readout_ms=0.305"], "trajectory.readout_ms is 0.000305 s"),
        ("trajectory", ["trajectory.coefficients=99"], "trajectory.coefficients is 99"),
        ("views", ["views.views=9"], "views.views is 9, a budget above the 8 views.candidates"),
        ("views", ["scan.noise=0"], "scan.noise is 0"),
        ("lines", ["scan.noise=nan"], "scan.noise is nan, expected a finite number"),
        ("lines", ["design.validate_every=3"], "design.validate_every is 3, expected a multiple"),
        ("lines", ["design.batch=0"], "design.batch is 0, expected 1 or more"),
        ("lines", ["scan.kind=cones"], "scan.kind is 'cones'"),
        ("lines", ["mask.lines=3"], "unknown field mask.lines"),
        ("lines", ["data.train=empty.npz"], "empty.npz: image 1 is zero everywhere"),
        ("lines", ["data.train=words.npz"], "words.npz: images are of type <U1, expected numbers"),
        ("lines", ["data.train=cut.npz"], "cut.npz: "),
        ("trajectory", ["trajectory.raster_us=0"], "trajectory.raster_us is 0.0, expected a pos"),
    ],
)
def test_wrong_configurations_are_refused_by_field(jaxrecon, folder, kind, changes, said):
    np.savez(folder / "empty.npz", x=np.stack([np.ones((16, 16)), np.zeros((16, 16))]))
    np.savez(folder / "words.npz", x=np.full((2, 16, 16), "a"))
    (folder / "cut.npz").write_bytes((folder / "heads.npz").read_bytes()[:300])
    done = jaxrecon("design", config(folder, kind), *sets(*changes))
    assert done.status == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (folder / "run").exists()


def test_a_loss_that_is_not_finite_stops_at_the_last_good_pattern(jaxrecon, folder):
    """An image so faint that its square is zero: the loss is NaN at the step that draws it."""
    path = config(folder, "lines")
    with np.load(folder / "heads.npz") as file:
        heads = file["x"].copy()
    heads[3] *= 1e-30
    np.savez(folder / "faint.npz", x=heads)
    often = ["design.batch=1", "design.n_steps=20", "design.picture_every=20"]
    changes = sets("data.train=faint.npz", *often, "design.validate_every=20", "design.seed=3")
    done = jaxrecon("design", path, *changes)
    assert done.status == 2
    assert "the loss or its gradient was not finite at step" in done.err
    results, arrays = outcome(folder)
    assert 0 < results["steps"] < 20
    assert np.isfinite(results["losses"]).all()
    assert "not finite" in results["status"]
    assert arrays["mask"].shape == (1, 16)
    assert arrays["mask"].sum() == 4
    assert arrays["mask"][0, 7:9].all()
    check_pictures(folder)


def test_the_gaussian_mean_is_that_of_the_dense_covariance(folder):
    """Reconstruction of views: against dense algebra with C = L Lᵀ + ε in double precision."""
    path = config(folder, "views")
    exact = ["reconstruction.n_iter=500", "reconstruction.tol=1e-6"]
    plan = build(read_config(path, exact), path)
    doses = jnp.array([0.0, 2.0, 0, 0, 0.5, 0, 0, 0.5])
    image, key = plan.images.validation[1], jax.random.key(3)
    got = plan.reconstruct(doses, image, key)

    from jaxrecon.core import materialise
    from jaxrecon.physics import ct, gaussian_noise

    prior = gaussian_prior(plan.images.train, 3)
    flat = np.asarray(plan.images.train, float).reshape(len(plan.images.train), -1)
    expected = np.linalg.eigvalsh(np.cov(flat.T))[-3:][::-1]
    np.testing.assert_allclose(prior.variances, expected, rtol=1e-4)
    modes = np.asarray(prior.modes, float).reshape(3, -1)
    C = modes.T @ np.diag(np.asarray(prior.variances, float)) @ modes
    C += float(prior.rest) * np.eye(256)
    weight, order = jax.lax.top_k(doses, 3)
    scan = ct.parallel_beam(order * jnp.pi / 8, (16, 16), 25, pixel=1.0)
    A = np.asarray(materialise(scan), float)
    sigma = 0.01 * np.abs(_all_views(prior.mean)).mean() / np.sqrt(np.asarray(weight, float))
    y = np.asarray(gaussian_noise(key, scan(image), jnp.asarray(sigma)[:, None]), float).ravel()
    mean = np.asarray(prior.mean, float).ravel()
    S = A @ C @ A.T + np.diag(np.repeat(sigma, 25) ** 2)
    truth = mean + C @ A.T @ np.linalg.solve(S, y - A @ mean)
    wrong = np.linalg.norm(np.asarray(got).ravel() - truth) / np.linalg.norm(truth)
    assert wrong < 5e-3


def _all_views(image):
    from jaxrecon.physics import ct

    return np.asarray(ct.parallel_beam(jnp.arange(8) * jnp.pi / 8, (16, 16), 25, pixel=1.0)(image))


def test_pictures_in_characters():
    mask = np.zeros((2, 3), bool)
    mask[0, 0] = mask[1, 1] = mask[0, 2] = mask[1, 2] = True
    assert text_picture(mask) == "▀▄█"
    lines = np.broadcast_to(np.arange(4) % 2 == 0, (12, 4))
    assert text_picture(lines) == "\n".join(["█ █ "] * 4)
    half = np.arange(300)[:, None] < np.full(200, 150)
    large = text_picture(half).splitlines()
    assert large == ["█" * 64] * 10 + [" " * 64] * 10
    corner = text_picture(np.array([[[-1.0, -1.0]]])).splitlines()
    assert corner[0][0] == "⠁"
    assert set("".join(corner)[1:]) == {chr(0x2800)}


def test_views_are_kept_by_halves():
    assert halved(60, 8) == [60, 30, 15, 8]
    assert halved(4, 4) == [4]


def test_the_example_is_a_configuration(jaxrecon, folder):
    (folder / "a.toml").write_text(jaxrecon("design", "--example").out)
    read = read_config(folder / "a.toml")
    assert read.scan.kind == "lines"
    assert read.mask.calibration is None
    assert "design needs CONFIG" in jaxrecon("design").err
