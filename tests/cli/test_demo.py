"""`jaxrecon demo --quick`: pictures, and figures that put the methods in the expected order."""

import json

import numpy as np
import PIL.Image
import pytest

from jaxrecon.cli.methods import methods_of
from tests.cli.conftest import Command


@pytest.fixture
def results(jaxrecon: Command, tmp_path) -> dict[tuple[str, str], dict]:
    """The records of one run, its files checked; skipped without the packages of the anatomy."""
    for package in ("pydicom", "nilearn", "scipy"):
        pytest.importorskip(package, reason="needs the extra `demo`")
    done = jaxrecon("demo", "--quick", "--out", tmp_path / "new" / "demo")
    assert done.status == 0, done.err
    folder = tmp_path / "new" / "demo"
    assert {file.name for file in folder.iterdir()} == {"ct.png", "mri.png", "results.json"}
    for name in ("ct.png", "mri.png"):
        picture = np.asarray(PIL.Image.open(folder / name).convert("L"))
        assert min(picture.shape) > 300
        assert picture.std() > 10
        assert str(folder / name) in done.out
    records = json.loads((folder / "results.json").read_text())
    return {(record["modality"], record["method"]): record for record in records}


def test_quick_demo(results):
    """Every method but those that draw samples, which take minutes."""
    methods = [m for kind in ("ct", "mri") for m in methods_of(kind) if not m.defaults.samples]
    assert list(results) == [(m.modality, m.name) for m in methods]
    for record in results.values():
        assert 10 < record["psnr"] < 60
        assert 0 < record["ssim"] < 1
        assert 0 < record["nrmse"] < 1
        assert record["seconds"] > 0
    for modality, first in (("ct", "fbp"), ("mri", "zero-filled")):
        linear, tv = results[modality, first], results[modality, "tv"]
        assert tv["psnr"] > linear["psnr"] + 1
        assert tv["ssim"] > linear["ssim"]
        assert tv["nrmse"] < linear["nrmse"]
    assert results["mri", "l1-wavelet"]["nrmse"] < results["mri", "cg-sense"]["nrmse"]
