"""Bad input: exit status 2, one line that names what is wrong, no traceback, nothing written."""

import dataclasses
import importlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxrecon import cli
from jaxrecon.cli import methods
from tests.cli.conftest import Command, Done
from tests.io import makers

ROOT = Path(__file__).resolve().parents[2]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, hidden files too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(done: Done) -> str:
    """The one line on standard error of a command that refused its input."""
    assert done.status == 2, done
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("jaxrecon: ")
    assert "Traceback" not in done.out + done.err
    return lines[0]


def refusal(jaxrecon: Command, folder: Path, *arguments: object) -> str:
    """Runs, expects a refusal and that the folder is as it was before."""
    before = snapshot(folder)
    line = refused(jaxrecon(*arguments))
    assert snapshot(folder) == before
    return line


@pytest.mark.parametrize("method", ["fbp", "tv"])
def test_missing_file(jaxrecon, tmp_path, method):
    out = tmp_path / "x.npz"
    line = refusal(jaxrecon, tmp_path, "recon", tmp_path / "no.h5", "-m", method, "-o", out)
    assert "no.h5: no such file" in line


@pytest.mark.parametrize("name", makers.MAKERS)
def test_truncated_file(jaxrecon, tmp_path, name):
    path = makers.MAKERS[name](tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    line = refusal(jaxrecon, tmp_path, "recon", path, "-m", "tv", "-o", tmp_path / "x.npz")
    assert path.stem in line


@pytest.mark.parametrize(
    ("make", "changes", "field"),
    [
        ("dxchange", {"data": None}, "`/exchange/data`"),
        ("fastmri", {"kspace": None}, "`/exchange/data`"),
        ("dxchange", {"theta": np.arange(8.0)}, "`exchange/theta`"),
        ("tooth", {"theta_deg": np.arange(10.0)}, "`theta_deg`"),
        ("fan", {"angles_deg": np.arange(10.0)}, "`angles_deg`"),
        ("tooth", {"proj": np.full((9, 3, 16), np.nan)}, "`proj`"),
        ("tooth", {"proj": np.zeros((9, 3, 16))}, "`proj`"),
        ("neutron", {"sino_transmission": np.zeros((9, 16), np.uint16)}, "`sino_transmission`"),
        ("fan", {"sino": np.full((9, 16), np.nan, np.float32)}, "`sino`"),
        ("monitored", {"monitor": np.zeros((9, 3, 16))}, "`monitor`"),
        ("cartesian", {"mask": np.ones((8, 5), bool)}, "`mask`"),
        ("fastmri", {"mask": np.ones(5)}, "`mask`"),
        ("full", {"ksp": np.full((2, 8, 6), np.nan + 0j)}, "`ksp`"),
        ("full", {"ksp": np.ones((2, 8, 6))}, "`ksp`"),
        ("tooth", {"proj": np.ones((9, 3, 16), complex)}, "`proj`"),
        ("tooth", {"proj": np.full((9, 3, 16), "x")}, "`proj`"),
        ("tooth", {"cor": np.float64(99)}, "`cor`"),
    ],
)
def test_field_of_a_file(jaxrecon, tmp_path, make, changes, field):
    path = makers.MAKERS[make](tmp_path, **changes)  # type: ignore[call-arg]
    line = refusal(jaxrecon, tmp_path, "recon", path, "-m", "tv", "-o", tmp_path / "x.npz")
    assert path.name in line
    assert field in line


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        ("tooth", ["-m", "fpb"], ["--method", "'fpb'", "--list-methods"]),
        ("tooth", ["-m", "cg-sense"], ["'cg-sense'", "CT", "fbp, cgls, tv"]),
        ("cartesian", ["-m", "fbp"], ["'fbp'", "MRI", "zero-filled, cg-sense, l1-wavelet, tv"]),
        ("tooth", ["-m", "fbp", "--center", "16"], ["`center`", "16", "0 to 15"]),
        ("tooth", ["-m", "fbp", "--center", "nan"], ["`center`", "nan"]),
        ("tooth", ["-m", "fbp", "--size", "1"], ["`size`", "1"]),
        ("tooth", ["-m", "fbp", "--size", "20000000"], ["`--size` 20000000", "GiB"]),
        ("fan", ["-m", "tv", "--size", "20000000"], ["`--size` 20000000", "GiB"]),
        ("tooth", ["-m", "tv", "--iterations", "0"], ["--iterations", "0"]),
        ("tooth", ["-m", "tv", "--strength", "-1"], ["--strength", "-1"]),
        ("tooth", ["-m", "tv", "--strength", "nan"], ["--strength", "nan"]),
        ("tooth", ["-m", "fbp", "--map-sets", "2"], ["`map_sets`", "MRI"]),
        ("tooth", ["-m", "fbp", "--maps", "m.npz"], ["`maps`", "no coils"]),
        ("cartesian", ["-m", "tv", "--size", "8"], ["`size`", "CT"]),
        ("cartesian", ["-m", "gridding"], ["'gridding'", "Cartesian MRI", "zero-filled, cg-sense"]),
        ("spiral", ["-m", "zero-filled"], ["non-Cartesian MRI", "gridding, cg-sense, l1-wavelet"]),
        ("spiral", ["-m", "fbp"], ["'fbp'", "non-Cartesian MRI"]),
        ("spiral", ["-m", "tv", "--size", "1"], ["`size`", "1"]),
        ("spiral", ["-m", "tv", "--size", "20000000"], ["`--size` 20000000", "GiB"]),
        ("spiral", ["-m", "tv", "--center", "3"], ["`center`", "CT"]),
        ("spiral", ["-m", "tv", "--slices", "1"], ["`slices`", "0 to 0"]),
        ("cartesian", ["-m", "tv", "--center", "3"], ["`center`", "CT"]),
        ("cartesian", ["-m", "tv", "--maps", "m.npz"], ["m.npz"]),
        ("tooth", ["-m", "fbp", "--slices", "first"], ["--slices", "'first'"]),
        ("tooth", ["-m", "fbp", "--slices", "1:2:3"], ["--slices", "'1:2:3'"]),
        ("tooth", ["-m", "fbp", "--slices", ""], ["--slices", "''"]),
        ("tooth", ["-m", "fbp", "--slices", "3"], ["`slices`", "3"]),
        ("tooth", ["-m", "fbp", "--slices", "2:2"], ["`slices`"]),
    ],
)
def test_option(jaxrecon, tmp_path, make, options, says):
    path = makers.MAKERS[make](tmp_path)
    line = refusal(jaxrecon, tmp_path, "recon", path, "-o", tmp_path / "x.npz", *options)
    for words in says:
        assert words in line


def fails_with(monkeypatch, error: Exception) -> None:
    """Lets filtered back-projection end with that error."""

    def fail(*_):
        raise error

    row = dataclasses.replace(methods.METHODS["ct", "fbp"], reconstruct=fail)
    monkeypatch.setitem(methods.METHODS, ("ct", "fbp"), row)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "memory ran out"),
        (MemoryError("Unable to allocate 149. GiB for an array"), "149. GiB"),
        (
            jax.errors.JaxRuntimeError(
                "RESOURCE_EXHAUSTED: Out of memory allocating 160000000000 bytes.\nBuffers: many"
            ),
            "160000000000 bytes)",
        ),
    ],
)
def test_memory_that_ran_out(jaxrecon, tmp_path, monkeypatch, error, says):
    fails_with(monkeypatch, error)
    path = makers.tooth(tmp_path)
    done = jaxrecon("recon", path, "-m", "fbp", "-o", tmp_path / "x.npz")
    assert done.status == 2
    bar, line = done.err.splitlines()
    assert bar.startswith("fbp")  # the progress of what was begun
    assert line.startswith("jaxrecon: memory ran out")
    assert "`--size`" in line
    assert says in line
    assert {file.name for file in tmp_path.iterdir()} == {"tooth.npz"}


@pytest.mark.parametrize(
    "error", [jax.errors.JaxRuntimeError("INTERNAL: a bug"), RuntimeError("Out of memory, says I")]
)
def test_other_errors_are_shown_whole(jaxrecon, tmp_path, monkeypatch, error):
    fails_with(monkeypatch, error)
    path = makers.tooth(tmp_path)
    with pytest.raises(type(error), match=str(error)):
        jaxrecon("recon", path, "-m", "fbp", "-o", tmp_path / "x.npz")


@pytest.mark.parametrize("sampled", [np.s_[2:6, 1:5], np.s_[::2]])
def test_calibration_region_too_small_for_coil_maps(jaxrecon, tmp_path, sampled):
    mask = np.zeros((makers.N_Y, makers.N_X), bool)
    mask[sampled] = True
    path = makers.cartesian(tmp_path, ksp=makers.kspace(1)[0] * mask, mask=mask)
    line = refusal(jaxrecon, tmp_path, "recon", path, "-m", "tv", "-o", tmp_path / "x.npz")
    for words in (str(path), "k-space", "coil maps", "`--maps`"):
        assert words in line
    assert "kernel" not in line


def sparse_spiral() -> np.ndarray:
    """One arm of the four: cells of the centre stay empty."""
    return makers.spiral_trajectory()[:1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"N": None}, ["`N`", "--size"]),
        ({"maps": np.ones((3, 8, 8), complex)}, ["`maps`", "(8, 8)", "(16, 16)"]),
        ({"coord": sparse_spiral(), "data": np.ones((3, 1, 200), complex)}, ["--maps", "fully"]),
        ({"data": np.full((3, 4, 200), np.inf + 0j)}, ["`data`", "infinite"]),
        ({"coord": 2 * makers.spiral_trajectory()}, ["`coord`", "0.98", "-0.5 to 0.5"]),
    ],
)
def test_spiral(jaxrecon, tmp_path, changes, says):
    path = makers.spiral(tmp_path, **changes)
    line = refusal(jaxrecon, tmp_path, "recon", path, "-m", "tv", "-o", tmp_path / "x.npz")
    for words in (path.name, *says):
        assert words in line


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("x.jpg", "unknown suffix"),
        ("x", "unknown suffix"),
        ("nowhere/x.npz", "does not exist"),
        ("tooth.npz", "overwrite"),
        (".", ""),
    ],
)
def test_output(jaxrecon, tmp_path, out, says):
    path = makers.tooth(tmp_path)
    line = refusal(jaxrecon, tmp_path, "recon", path, "-m", "fbp", "-o", tmp_path / out)
    assert says in line


def test_maps_that_would_be_overwritten(jaxrecon, tmp_path):
    path = makers.cartesian(tmp_path)
    maps = makers.save(tmp_path / "maps.npz", {"maps": makers.kspace(1)[0]})
    line = refusal(jaxrecon, tmp_path, "recon", path, "-m", "tv", "--maps", maps, "-o", maps)
    assert "overwrite" in line


def test_an_old_image_survives_a_refusal(jaxrecon, tmp_path):
    out = tmp_path / "x.npz"
    out.write_bytes(b"old")
    path = makers.tooth(tmp_path, theta_deg=None)
    refusal(jaxrecon, tmp_path, "recon", path, "-m", "fbp", "-o", out)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "INPUT, --method, --out"),
        (["scan.npz", "-m", "fbp"], "--out"),
        (["scan.npz", "-o", "x.npz"], "--method"),
    ],
)
def test_what_recon_needs(jaxrecon, tmp_path, arguments, says):
    assert says in refusal(jaxrecon, tmp_path, "recon", *arguments)


@pytest.mark.parametrize("option", ["--size", "--center", "--iterations"])
def test_option_that_is_no_number(jaxrecon, tmp_path, option):
    path = makers.tooth(tmp_path)
    out = tmp_path / "x.npz"
    line = refusal(jaxrecon, tmp_path, "recon", path, "-m", "fbp", "-o", out, option, "many")
    assert option in line


@pytest.mark.parametrize("arguments", [["recon", "--nonsense"], ["reconstruct"], ["--nonsense"]])
def test_words_that_are_no_command_or_option(jaxrecon, tmp_path, arguments):
    assert arguments[-1] in refusal(jaxrecon, tmp_path, *arguments)


def test_demo_into_a_file(jaxrecon, tmp_path):
    (tmp_path / "taken").write_text("mine")
    assert "`--out`" in refusal(jaxrecon, tmp_path, "demo", "--out", tmp_path / "taken")


@pytest.mark.parametrize("extra", ["typer", "rich"])
def test_missing_extra_names_it(jaxrecon, monkeypatch, extra):
    importlib.import_module("jaxrecon.cli._app")  # so that typer itself is whole
    monkeypatch.delattr(cli, "_app")
    for name in ("jaxrecon.cli._app", "rich.table"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, extra, None)
    assert "pip install 'jaxrecon[cli]'" in refused(jaxrecon("--version"))


def test_in_a_process_of_its_own(tmp_path):
    """What a shell gets: status 2, one line on standard error, also without a terminal."""
    path = makers.tooth(tmp_path, theta_deg=np.arange(8.0))
    command = "from jaxrecon.cli import main; main()"
    options = ["--method", "fbp", "--out", str(tmp_path / "x.png")]
    done = subprocess.run(
        [sys.executable, "-c", command, "recon", str(path), *options],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    line = refused(Done(done.returncode, done.stdout, done.stderr))
    assert "tooth.npz: `theta_deg`" in line
    assert not (tmp_path / "x.png").exists()
