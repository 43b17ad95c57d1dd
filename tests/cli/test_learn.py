"""`train`, `evaluate` and `export` at toy size, and what they refuse."""

import json

import jax
import jax.export
import numpy as np
import pytest

from jaxrecon import data
from jaxrecon.cli.learn._config import read_config

CONFIG = """
[data]
train = "heads.npz"
validation = "heads.npz"
[scan]
kind = "{kind}"
views = 9
coils = 2
calibration = 4
[model]
name = "{name}"
n_iter = 1
width = 3
[training]
folder = "run"
n_steps = 4
batch = 2
validate_every = 2
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with images."""
    shapes = [data.modified_shepp_logan(half_width=w) for w in (5.0, 6.0, 7.0)]
    heads = np.stack([np.asarray(data.area_average(s, (16, 16))) for s in shapes])
    np.savez(tmp_path / "heads.npz", x=heads)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_network_is_trained_judged_and_exported(jaxrecon, folder):
    (folder / "ct.toml").write_text(CONFIG.format(kind="ct", name="pgd"))
    done = jaxrecon("train", "ct.toml")
    assert done.status == 0, done.err
    assert "completed at step 4" in done.out
    assert {"config.json", "weights.npz", "log.jsonl"} <= {p.name for p in folder.glob("run/*")}
    assert list(folder.glob("run/pictures/*.png"))

    done = jaxrecon("train", "ct.toml", "--set", "model.width=4")
    assert done.status == 2
    assert "another configuration" in done.err
    kept = (folder / "run/config.json").read_text()
    done = jaxrecon("train", "ct.toml", "--no-resume", "--set", "model.width=4")
    assert done.status == 2
    assert "has checkpoints" in done.err
    assert (folder / "run/config.json").read_text() == kept

    assert jaxrecon("evaluate", "run").status == 0
    figures = json.loads((folder / "run" / "evaluation.json").read_text())
    assert figures["n"] == len(figures["each"]["psnr"]) == 3

    done = jaxrecon("export", "run", "--out", "net.bin")
    assert done.status == 0, done.err
    exported = jax.export.deserialize(bytearray((folder / "net.bin").read_bytes()))
    (struct,) = exported.in_avals
    assert exported.call(np.ones(struct.shape, struct.dtype)).shape == (16, 16)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["model.nme=3"], "unknown field model.nme"),
        (["model.width=wide"], "model.width is 'wide', expected int"),
        (["scan.kind=pet"], "scan.kind is 'pet'"),
        (["model.name=resnet"], "model.name is 'resnet', expected one of unet"),
        (["training.loss=l3"], "training.loss is 'l3'"),
        (["data.train=none.npz"], "none.npz"),
        (["data.array=y"], "no array 'y', but x"),
        (["noise=3"], "`--set` is 'noise=3'"),
        (["other.a=3"], "unknown table [other]"),
    ],
)
def test_wrong_configurations_are_refused_by_field(jaxrecon, folder, changes, said):
    (folder / "a.toml").write_text(CONFIG.format(kind="mri", name="modl"))
    done = jaxrecon("train", "a.toml", *(part for c in changes for part in ("--set", c)))
    assert done.status == 2
    assert said in done.err
    assert not (folder / "run").exists()


def test_files_that_are_no_configurations(jaxrecon, folder):
    (folder / "a.toml").write_text("[data\n")
    assert "a.toml: not a configuration" in jaxrecon("train", "a.toml").err
    (folder / "a.toml").write_text("[data]\ntrain = 'heads.npz'\n")
    assert "a.toml: field data.validation is missing" in jaxrecon("train", "a.toml").err
    assert "no training is here" in jaxrecon("evaluate", "run").err
    assert "primal-dual" in jaxrecon("train", "--list-models").out


def test_the_example_is_a_configuration(jaxrecon, folder):
    (folder / "a.toml").write_text(jaxrecon("train", "--example").out)
    config = read_config(folder / "a.toml")
    assert config.model.name == "pgd"
    assert config.training.ema == 0.999
