"""The command on real measurements: the figures that the reconstructions must reach.

Two references were made by others: BART's images of the brains, and the organisers' filtered
back-projection of the disc from all of its views.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from tests.cli.conftest import Command

pytestmark = pytest.mark.data


def recon(
    jaxrecon: Command, path: Path, method: str, out: Path, *options: object
) -> tuple[np.ndarray, dict[str, Any]]:
    """The image that the command writes, and its record."""
    done = jaxrecon("recon", path, "--method", method, "--out", out, *options)
    assert done.status == 0, done.err
    with np.load(out) as file:
        image = file["image"]
    assert np.isfinite(image).all()
    return image, json.loads(out.with_name(out.name + ".json").read_text())


def nrmse(image: np.ndarray, reference: np.ndarray) -> float:
    """Error after the one global scale that fits best."""
    scale = np.vdot(image, reference) / np.vdot(image, image)
    return float(np.linalg.norm(scale * image - reference) / np.linalg.norm(reference))


def center_of(record: dict[str, Any]) -> tuple[float, str]:
    """The rotation centre that was used, and how it came about."""
    prefix = "rotation centre at bin "
    (line,) = (f for f in record["parameters"]["model"] if f.startswith(prefix))
    value, _, how = line.removeprefix(prefix).partition(" ")
    return float(value), how


class TestBrain:
    """Eight coils, Poisson disc of 12.4 %: BART's l1-wavelet image of the same samples."""

    scan = "mri/cart_brain8ch_poisson_sigpy.npz"
    bart = "reference/bart08_brain8ch_sigpy.npz"

    def test_l1_wavelet_is_barts_given_barts_maps(self, jaxrecon, shared_data, tmp_path):
        maps = shared_data / self.bart
        out = tmp_path / "x.npz"
        image, record = recon(jaxrecon, shared_data / self.scan, "l1-wavelet", out, "--maps", maps)
        with np.load(maps) as file:
            assert nrmse(image, file["l1wav"]) < 0.08
        assert [file["name"] for file in record["inputs"]] == [Path(self.scan).name, maps.name]

    def test_magnitudes_are_barts_with_our_own_maps(self, jaxrecon, shared_data, tmp_path):
        image, record = recon(jaxrecon, shared_data / self.scan, "l1-wavelet", tmp_path / "x.npz")
        with np.load(shared_data / self.bart) as file:
            assert nrmse(np.abs(image), np.abs(file["l1wav"])) < 0.08
        assert "ESPIRiT from 24 x 24 samples, 1 set" in " ".join(record["parameters"]["model"])


class TestSpiral:
    """A phantom, 60 interleaves, eight coils: BART's least squares of the same samples.

    Its field of view is folded: two bottles reach out of it at the top.
    """

    scan = "mri/spiral_phantom8ch_60il.npz"
    bart = "reference/bart08_spiral_phantom8ch.npz"

    def test_cg_sense_is_barts_given_barts_maps(self, jaxrecon, shared_data, tmp_path):
        maps = shared_data / self.bart
        out = tmp_path / "x.npz"
        image, record = recon(jaxrecon, shared_data / self.scan, "cg-sense", out, "--maps", maps)
        with np.load(maps) as file:
            assert nrmse(image, file["l2"]) < 0.05
            scale = np.linalg.norm(image) / np.linalg.norm(file["l2"])
        assert scale == pytest.approx(1, abs=0.01)
        assert any("60 shots x 1182 samples" in line for line in record["parameters"]["model"])

    @pytest.mark.parametrize("method", ["gridding", "cg-sense", "l1-wavelet"])
    def test_magnitudes_are_barts_with_our_own_maps(self, jaxrecon, shared_data, tmp_path, method):
        path = shared_data / self.scan
        image, record = recon(jaxrecon, path, method, tmp_path / "x.npz")
        with np.load(shared_data / self.bart) as file:
            reference = np.abs(file["l2"])
        inside = reference > 0.1 * np.percentile(reference, 99)
        inside[:40] = False  # what reaches out comes back elsewhere in each image
        assert nrmse(np.abs(image)[inside], reference[inside]) < 0.1  # .07, .04, .07 measured
        facts = " ".join(record["parameters"]["model"])
        assert "ESPIRiT from 24 x 24 samples, 2 set(s), the field of view is folded" in facts


def test_l1_wavelet_beats_cg_sense_on_an_undersampled_brain(jaxrecon, shared_data, tmp_path):
    """Three-fold, field of view folded: two sets of maps; judged by the fully sampled data."""
    with np.load(shared_data / "mri/cart_brain8ch_full_alias.npz") as file:
        ksp = file["ksp"]
    with np.load(shared_data / "reference/bart08_brain8ch_alias.npz") as file:
        mask = np.broadcast_to(file["R3_mask"] > 0, ksp.shape[1:])
    axes = (-2, -1)
    coils = np.fft.ifft2(np.fft.ifftshift(ksp, axes), norm="ortho")
    full = np.fft.fftshift(np.sqrt(np.sum(np.abs(coils) ** 2, axis=0)))
    path = tmp_path / "three_fold.npz"
    np.savez(path, ksp=ksp * mask, mask=mask)
    error = {}
    for method in ("cg-sense", "l1-wavelet"):
        image, record = recon(jaxrecon, path, method, tmp_path / "x.npz")
        assert "2 set(s), the field of view is folded" in record["parameters"]["model"][1]
        assert image.shape == full.shape
        error[method] = np.linalg.norm(np.abs(image) - full) / np.linalg.norm(full)
    assert error["l1-wavelet"] <= 0.9 * error["cg-sense"]
    assert error["l1-wavelet"] < 0.2


def test_tooth_is_the_same_from_both_files(jaxrecon, shared_data, tmp_path):
    """Darks, flats, minus log and the centre, which only one of the files knows."""
    out = tmp_path / "x.npz"
    options = ("--slices", 0, "--size", 320)
    original, record = recon(
        jaxrecon, shared_data / "ct/tooth_aps_original.h5", "fbp", out, *options
    )
    center, how = center_of(record)
    assert abs(center - 295.5) < 1
    assert how == "(found)"
    npz = shared_data / "ct/parallel_tooth_aps.npz"
    _, record = recon(jaxrecon, npz, "fbp", out, *options)
    assert center_of(record)[0] == 295.5
    image, record = recon(jaxrecon, npz, "fbp", out, *options, "--center", center)
    assert nrmse(image, original) < 1e-3  # the centre is printed with two decimals
    tooth = image > threshold_otsu(image)
    y, x = np.indices(image.shape) - 159.5
    air = image[np.hypot(x, y) > 155]
    level = np.median(image[tooth])
    assert 0.05 < tooth.mean() < 0.5
    assert 0.004 < level < 0.012  # 1/bin
    assert abs(np.median(air)) < 0.05 * level


def test_neutron_scan_over_360_degrees(jaxrecon, shared_data, tmp_path):
    path = shared_data / "ct/parallel_neutron_360.npz"
    image, record = recon(jaxrecon, path, "fbp", tmp_path / "x.npz", "--size", 250)
    assert abs(center_of(record)[0] - 245.2) < 1
    assert any("214 values zero" in line for line in record["repaired"])
    y, x = np.indices(image.shape) - 124.5
    rim = image[np.hypot(x, y) > 0.97 * 125]
    dense = np.percentile(image, 99)
    assert dense > 0.01
    assert abs(np.median(rim)) < 0.05 * dense
    assert record["quality"]["data residual |Ax-y|/|y|"] < 0.2


def test_i18_scan_with_its_monitor(jaxrecon, shared_data, tmp_path):
    """All seven slices; the centre used explains the data at least as well as the file's."""
    path = shared_data / "ct/parallel_i18_stxm_52x7x101.npz"
    image, record = recon(jaxrecon, path, "fbp", tmp_path / "x.npz")
    assert image.shape == (7, 101, 101)
    assert any("monitor" in line for line in record["understood"])
    assert (np.percentile(image, 99, axis=(1, 2)) > 0.005).all()
    assert (np.abs(np.percentile(image, 10, axis=(1, 2))) < 0.002).all()
    _, files = recon(jaxrecon, path, "fbp", tmp_path / "y.npz", "--center", 54)
    residual = [r["quality"]["data residual |Ax-y|/|y|"] for r in (record, files)]
    assert residual[0] < 0.8 * residual[1]
    center, how = center_of(record)
    assert abs(center - 54) > 5
    assert "the file says 54.00" in how


def test_disc_over_30_degrees_of_fan_beam(jaxrecon, shared_data, tmp_path):
    """TV finds the shape that the organisers see with all views; FBP does not."""
    with np.load(shared_data / "ct/fan_htc2022_solid_disc_reference_fbp.npz") as file:
        full = file["recon"].reshape(256, 2, 256, 2).mean(axis=(1, 3))
    expected = full > threshold_otsu(full)
    path = shared_data / "ct/fan_htc2022_solid_disc_30deg.npz"
    overlap = {}
    for method in ("tv", "fbp"):
        # 280 pixels on 560 bins: the reference's field, 512 pixels of one bin, is the centre.
        image, _ = recon(jaxrecon, path, method, tmp_path / "x.npz", "--size", 280)
        image = image[12:-12, 12:-12]
        found = image > threshold_otsu(image)
        moved = [np.roll(found, (i, j), (0, 1)).ravel() for i in range(-2, 3) for j in range(-2, 3)]
        overlap[method] = max(np.corrcoef(shape, expected.ravel())[0, 1] for shape in moved)
    assert overlap["tv"] > 0.8
    assert overlap["tv"] > overlap["fbp"] + 0.1
