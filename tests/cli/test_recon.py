"""`jaxrecon recon` and the options of the command on tiny files of every format."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import nibabel
import numpy as np
import PIL.Image
import pydicom
import pytest
import tifffile

import jaxrecon as package
from jaxrecon import io
from jaxrecon.cli.methods import METHODS, methods_of
from tests.cli.conftest import Command, Done
from tests.io import makers

pytestmark = pytest.mark.usefixtures("quick")

ROOT = Path(__file__).resolve().parents[2]
CT = ("tooth", "neutron", "monitored", "fan", "dxchange")
MRI = ("cartesian", "full", "fastmri", "singlecoil", "bart")
# Methods with networks are in test_models.py.
CASES = [(make, m.name) for make in CT for m in methods_of("ct") if not m.network]
CASES += [(make, m.name) for make in MRI for m in methods_of("mri") if not m.network]
CASES += [("spiral", m.name) for m in methods_of("mri", "non-Cartesian") if not m.network]


def recon(jaxrecon: Command, path: Path, method: str, out: Path, *options: object) -> Done:
    done = jaxrecon("recon", path, "--method", method, "--out", out, *options)
    assert done.status == 0, done.err
    return done


def image(path: Path) -> np.ndarray:
    with np.load(path) as file:
        return file["image"]


def cfl(path: Path) -> np.ndarray:
    header = path.with_suffix(".hdr").read_text().splitlines()
    sizes = [int(n) for n in header[1].split()]
    return np.fromfile(path, np.complex64).reshape(sizes[::-1]).T.squeeze()


def record(path: Path) -> dict:
    return json.loads(path.with_name(path.name + ".json").read_text())


def few_iterations(modality: str, method: str) -> tuple[object, ...]:
    return ("--iterations", 2) if METHODS[modality, method].defaults.n_iter else ()


def coil_maps(folder: Path) -> Path:
    return makers.save(folder / "maps.npz", {"maps": makers.kspace(2)[1]})


@pytest.mark.parametrize("arguments", [("--version",), ("recon", "--list-methods"), ("--help",)])
def test_what_needs_no_file(jaxrecon, arguments):
    done = jaxrecon(*arguments)
    assert (done.status, done.err) == (0, "")
    assert done.out.strip()


def test_version(jaxrecon):
    assert jaxrecon("--version").out == f"jaxrecon {package.__version__}\n"


def test_list_methods_shows_the_whole_table(jaxrecon):
    printed = jaxrecon("recon", "--list-methods").out.splitlines()[1:]
    lines = [line for line in printed if not line.startswith(" ")]  # the rest is wrapped text
    rows = [line.replace(",", "").split()[:2] for line in lines]
    assert rows == [[name, modality.upper()] for modality, name in METHODS]
    for line, method in zip(lines, METHODS.values(), strict=True):
        assert method.scope in line
        assert ("Cartesian" in line) == (method.sampling is not None)
    assert {name for _, name in METHODS} == {
        *("fbp", "cgls", "tv", "pnp", "learned", "posterior"),
        *("zero-filled", "gridding", "cg-sense", "l1-wavelet", "tv"),
    }


@pytest.mark.parametrize(("make", "method"), CASES)
def test_every_format_by_every_method(jaxrecon, tmp_path, make, method):
    out = tmp_path / "x.npz"
    path = makers.MAKERS[make](tmp_path)
    # The samples of these files are noise: they have no coil maps of their own.
    maps = coil_maps(tmp_path) if make in MRI and make != "singlecoil" else None
    scan = io.read(path, maps=maps)
    options = few_iterations("ct" if make in CT else "mri", method)
    if isinstance(scan, io.MRIScan) and make != "singlecoil":
        maps = coil_maps(tmp_path)  # these samples are noise: they have none
        scan = io.read(makers.MAKERS[make](tmp_path), maps=maps)
        options += ("--maps", maps)
    done = recon(jaxrecon, makers.MAKERS[make](tmp_path), method, out, *options)
    shape = (makers.N_BINS,) * 2
    if isinstance(scan, io.NonCartesianScan):
        shape = (makers.N, makers.N)
    if isinstance(scan, io.MRIScan):
        shape = scan.recon_shape or scan.mask.shape
    n = len(scan.slices)
    assert image(out).shape == (shape if n == 1 else (n, *shape))
    assert np.isfinite(image(out)).all()
    assert np.abs(image(out)).max() > 0
    for line in (*scan.understood, *scan.assumed, *scan.repaired):
        assert line in done.out
    assert "data residual" in done.out
    assert str(out) in done.out


def disc_scan(folder: Path, attenuation: float = 0.02, radius: float = 20.0) -> Path:
    """A disc off the axis, 64 bins of 1 mm, 90 views over 180 degrees, Poisson counts."""
    degrees = np.arange(0, 180, 2.0)
    theta = np.deg2rad(degrees)[:, None]
    distance = np.arange(64) - 31.5 - (3 * np.cos(theta) - 4 * np.sin(theta))
    chord = 2 * np.sqrt(np.clip(radius**2 - distance**2, 0, None))
    counts = 50 + np.random.default_rng(1).poisson(1e5 * np.exp(-attenuation * chord))
    frames = {"dark": np.full((2, 1, 64), 50.0), "flat": np.full((2, 1, 64), 1e5 + 50)}
    arrays = {"proj": counts[:, None], "theta_deg": degrees, "det_pixel_mm": 1.0, **frames}
    return makers.save(folder / "disc.npz", arrays)


@pytest.mark.parametrize("method", ["fbp", "cgls", "tv"])
def test_the_image_is_that_of_the_object(jaxrecon, tmp_path, method):
    """Attenuation in 1/mm, at its place: x to the right, y downwards, the centre found."""
    out = tmp_path / "x.npz"
    options = ("--iterations", 60) if method == "tv" else ()
    recon(jaxrecon, disc_scan(tmp_path), method, out, *options)
    y, x = np.indices((64, 64)) - 31.5
    distance = np.hypot(x - 3, y + 4)
    disc = image(out)
    np.testing.assert_allclose(np.mean(disc[distance < 17]), 0.02, rtol=0.02)
    assert abs(np.mean(disc[(distance > 23) & (np.hypot(x, y) < 31)])) < 0.0005
    assert np.abs(disc - 0.02)[distance < 17].mean() < 0.002


def test_fully_sampled_kspace_comes_back(jaxrecon, tmp_path):
    maps = np.ones((2, 8, 6), np.complex64) / np.sqrt(2)
    truth = makers.kspace(1)[0, 0]
    axes = (-2, -1)
    shifted = np.fft.fftn(np.fft.ifftshift(truth, axes), axes=axes, norm="ortho")
    kspace = np.fft.fftshift(shifted, axes) * maps
    path = makers.full(tmp_path, ksp=kspace.astype(np.complex64), maps=maps)
    recon(jaxrecon, path, "zero-filled", tmp_path / "x.npz")
    np.testing.assert_allclose(image(tmp_path / "x.npz"), truth, atol=1e-5)


def spiral_maps(folder: Path) -> Path:
    return makers.save(folder / "maps.npz", {"maps": makers.coil_sensitivities()})


@pytest.mark.parametrize(
    ("method", "error"),
    [("gridding", 0.08), ("cg-sense", 0.02), ("l1-wavelet", 0.06), ("tv", 0.06)],
)
def test_a_spiral_gives_the_object(jaxrecon, tmp_path, method, error):
    """In its place, with its phase and scale: no factor is fitted."""
    out = tmp_path / "x.npz"
    done = recon(jaxrecon, makers.spiral(tmp_path), method, out, "--maps", spiral_maps(tmp_path))
    truth = makers.spiral_object()
    assert np.linalg.norm(image(out) - truth) < error * np.linalg.norm(truth)
    for words in ("3 coil(s), 4 shots x 200 samples", "image 16 x 16", "covered to 98.0%"):
        assert words in done.out
    assert "computed (Pipe's iteration); coil maps: given" in done.out


def test_a_spiral_without_maps_gives_the_objects_magnitude(jaxrecon, tmp_path):
    out = tmp_path / "x.npz"
    done = recon(jaxrecon, makers.spiral(tmp_path), "gridding", out, "--map-sets", 1)
    truth = np.abs(makers.spiral_object())
    inside = truth > 0.3 * truth.max()
    difference = (np.abs(image(out)) - truth)[inside]
    assert np.linalg.norm(difference) < 0.1 * np.linalg.norm(truth[inside])
    assert "ESPIRiT from 11 x 13" in done.out


def test_a_spirals_own_weights_may_have_any_scale(jaxrecon, tmp_path):
    k = np.linalg.norm(makers.spiral_trajectory(), axis=-1)  # arms with equal steps of angle
    out, images = tmp_path / "x.npz", []
    for scale in (1e-30, 1e6):
        path = makers.spiral(tmp_path, dcf=scale * k)
        done = recon(jaxrecon, path, "gridding", out, "--maps", spiral_maps(tmp_path))
        assert "the file's, scaled to the data" in done.out
        images.append(image(out))
    np.testing.assert_allclose(*images, atol=1e-5)
    truth = makers.spiral_object()
    assert np.linalg.norm(images[0] - truth) < 0.15 * np.linalg.norm(truth)


def test_a_larger_image_of_a_spiral_has_the_same_pixels(jaxrecon, tmp_path):
    out = tmp_path / "x.npz"
    path = makers.spiral(tmp_path, data=one_coil(tmp_path), N=None)
    recon(jaxrecon, path, "gridding", out, "--size", 20)
    inner = np.abs(image(out)[2:-2, 2:-2])
    truth = np.abs(makers.spiral_object() * makers.coil_sensitivities()[0])
    # The transform is orthonormal on its own grid, where the file's was on 16 x 16 pixels.
    assert np.linalg.norm(inner * 16 / 20 - truth) < 0.15 * np.linalg.norm(truth)


def one_coil(folder: Path) -> np.ndarray:
    with np.load(makers.spiral(folder)) as file:
        return file["data"][0]


def test_slices_are_those_of_the_whole(jaxrecon, tmp_path):
    path, out = makers.dxchange(tmp_path), tmp_path / "x.npz"
    # One centre for all: it is found from the middle of the slices that are read.
    recon(jaxrecon, path, "fbp", out, "--center", 7.5)
    whole = image(out)
    for text, index in (("1", 1), ("1:", [1, 2]), ("2,0", [2, 0]), ("-1", -1)):
        recon(jaxrecon, path, "fbp", out, "--center", 7.5, "--slices", text)
        np.testing.assert_allclose(image(out), whole[index], rtol=1e-5, atol=1e-6)


def test_center_and_size_are_obeyed_and_said(jaxrecon, tmp_path):
    path, out = makers.tooth(tmp_path), tmp_path / "x.npz"
    done = recon(jaxrecon, path, "fbp", out, "--center", 8.25, "--size", 20)
    assert image(out).shape == (3, 20, 20)
    assert "rotation centre at bin 8.25 (given)" in done.out
    assert "7.50 (from the file" in recon(jaxrecon, path, "fbp", out).out
    assert "(found)" in recon(jaxrecon, makers.dxchange(tmp_path), "fbp", out).out


def test_maps_are_taken_from_a_file(jaxrecon, tmp_path):
    maps = coil_maps(tmp_path)
    path, out = makers.cartesian(tmp_path), tmp_path / "x.npz"
    done = recon(jaxrecon, path, "zero-filled", out, "--maps", maps)
    assert "coil maps: given" in done.out
    assert [file["name"] for file in record(out)["inputs"]] == ["cartesian.npz", "maps.npz"]


def test_bad_readings_are_reported(jaxrecon, tmp_path):
    data = makers.counts()["data"]
    data[2, 0, 5], data[3, 0, 6], data[:, 1, 12] = 0, -5, 0
    out = tmp_path / "x.npz"
    done = recon(jaxrecon, makers.tooth(tmp_path, proj=data), "fbp", out)
    for words in ("10 values zero", "1 values negative", "1 dead bins: [12]"):
        assert words in done.out
        assert any(words in line for line in record(out)["repaired"])
    assert np.isfinite(image(out)).all()


@pytest.mark.parametrize(
    ("suffix", "load"),
    [
        (".npz", image),
        (".cfl", cfl),
        (".png", lambda path: np.asarray(PIL.Image.open(path))),
        (".nii.gz", lambda path: np.asarray(nibabel.Nifti1Image.load(path).dataobj).T.squeeze()),
        (".tif", tifffile.imread),
        (".dcm", lambda path: pydicom.dcmread(path).pixel_array),
    ],
)
def test_every_suffix(jaxrecon, tmp_path, suffix, load):
    out = tmp_path / f"x{suffix}"
    for path, method, options, shape in (
        (makers.neutron(tmp_path), "fbp", (), (16, 16)),
        (makers.bart(tmp_path), "zero-filled", ("--maps", coil_maps(tmp_path)), (8, 6)),
    ):
        recon(jaxrecon, path, method, out, *options)
        assert load(out).shape == shape
        assert np.ptp(np.abs(load(out))) > 0
        assert path.name in [file["name"] for file in record(out)["inputs"]]
        assert f"x{suffix}" in [file["name"] for file in record(out)["output"]["files"]]


def test_provenance_record(jaxrecon, tmp_path):
    path, out = makers.tooth(tmp_path), tmp_path / "x.npz"
    options = ("--iterations", 3, "--strength", 0.01, "--slices", "0:2")
    recon(jaxrecon, path, "tv", out, *options)
    written = record(out)
    data = path.read_bytes()
    assert written["inputs"] == [
        {"name": "tooth.npz", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    ]
    parameters = written["parameters"]
    assert parameters["method"] == "tv"
    assert parameters["settings"]["n_iter"] == 3
    assert parameters["settings"]["strength"] == 0.01
    assert parameters["settings"]["tol"] == METHODS["ct", "tv"].defaults.tol
    assert any("rotation centre at bin 7.50" in line for line in parameters["model"])
    assert written["versions"]["jaxrecon"] == package.__version__
    assert written["versions"]["jax"] == jax.__version__
    assert written["versions"]["numpy"] == np.__version__
    assert written["command"].startswith("jaxrecon recon ")
    assert "--strength 0.01" in written["command"]
    assert any("2 of 3 slices, 9 views, 16 bins" in line for line in written["understood"])
    assert 0 < written["quality"]["data residual |Ax-y|/|y|"] < 1
    assert written["quality"]["iterations"] == [3, 3]
    assert written["seconds"] > 0
    assert written["output"]["shape"] == [2, 16, 16]
    image_hash = hashlib.sha256(out.read_bytes()).hexdigest()
    assert written["output"]["files"][0]["sha256"] == image_hash


def test_pixel_size_is_written_where_it_is_known(jaxrecon, tmp_path):
    out = tmp_path / "x.nii.gz"
    recon(jaxrecon, makers.fan(tmp_path), "fbp", out, "--size", 8)
    pixel = 0.2 * 410.66 / 553.74 * 16 / 8
    np.testing.assert_allclose(record(out)["output"]["spacing_mm"], [pixel, pixel], rtol=1e-6)
    recon(jaxrecon, makers.neutron(tmp_path), "fbp", out)
    assert record(out)["output"]["spacing_mm"] is None


def test_nothing_else_is_left_behind(jaxrecon, tmp_path):
    path = makers.tooth(tmp_path)
    recon(jaxrecon, path, "fbp", tmp_path / "x.cfl")
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"tooth.npz", "x.cfl", "x.hdr", "x.cfl.json"}


def test_standard_output_is_facts_only_in_a_process_of_its_own(tmp_path):
    """Progress goes to standard error, so that the facts can be piped."""
    path = makers.neutron(tmp_path)
    command = "from jaxrecon.cli import main; main()"
    options = ["--method", "cgls", "--out", str(tmp_path / "x.tif"), "--iterations", "2"]
    done = subprocess.run(
        [sys.executable, "-c", command, "recon", str(path), *options],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    labels = [line.split()[0] for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert labels == ["input", "understood", "assumed", "model", "method", "quality", "wrote"]
    assert "2/2" in done.stderr
    assert (tmp_path / "x.tif.json").is_file()
