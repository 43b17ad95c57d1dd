"""Images written by `write`, read back by the library of each format; all or nothing."""

import hashlib
import json
import os

import jax.numpy as jnp
import nibabel
import numpy as np
import PIL.Image
import pydicom
import pytest
import tifffile

from jaxrecon import io
from tests.io import makers

SUFFIXES = (".npz", ".cfl", ".hdr", ".png", ".nii.gz", ".nii", ".tif", ".tiff", ".dcm")
RECORD = {"parameters": {"method": "fbp"}}


def volume(n_z: int | None = 3) -> np.ndarray:
    shape = (5, 7) if n_z is None else (n_z, 5, 7)
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def sidecar(path):
    return json.loads(path.with_name(path.name + ".json").read_text())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("n_z", [None, 1, 3])
def test_record_names_the_files_and_their_hashes(tmp_path, suffix, n_z):
    path = tmp_path / f"image{suffix}"
    written = io.write(path, volume(n_z), provenance=RECORD, spacing=0.5)
    assert sorted(tmp_path.iterdir()) == sorted(written)
    record = sidecar(path)
    assert record["parameters"] == {"method": "fbp"}
    for entry, file in zip(record["output"]["files"], written[:-1], strict=True):
        data = (tmp_path / entry["name"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["name"] == file.name


@pytest.mark.parametrize("suffix", [".npz", ".cfl", ".png", ".nii.gz"])
def test_maps_stand_beside_the_image_under_one_record(tmp_path, suffix):
    maps = {"std": io.Map(np.abs(volume(None))), "samples": io.Map(volume(4), (0.0, 1.0))}
    path = tmp_path / f"image{suffix}"
    written = io.write(path, volume(None), provenance=RECORD, spacing=0.5, maps=maps)
    assert sorted(tmp_path.iterdir()) == sorted(written)
    names = [io.map_path(path, name) for name in maps]
    assert {path, *names} <= set(written)
    output = sidecar(path)["output"]
    assert [entry["name"] for entry in output["files"]] == [file.name for file in written[:-1]]
    assert (output["shape"], output["spacing_mm"]) == ([5, 7], [0.5, 0.5])
    assert output["maps"]["std"]["spacing_mm"] == [0.5, 0.5]
    assert (output["maps"]["samples"]["shape"], output["maps"]["samples"]["spacing_mm"]) == (
        [4, 5, 7],
        None,
    )


def test_a_map_never_overwrites_the_raw_data(tmp_path):
    raw = tmp_path / "x-std.npz"
    raw.write_bytes(b"raw")
    with pytest.raises(io.ScanError, match="would overwrite the raw data"):
        io.check_output(tmp_path / "x.npz", inputs=[raw], maps=["std"])


def test_a_map_that_cannot_be_written_leaves_nothing(tmp_path):
    maps = {"std": io.Map(np.full((5, 7), np.nan))}
    with pytest.raises(io.ScanError, match=r"x-std\.png"):
        io.write(tmp_path / "x.png", volume(None), provenance=RECORD, maps=maps)
    assert list(tmp_path.iterdir()) == []


def test_npz_keeps_values_dtype_and_record(tmp_path):
    image = (volume() + 1j * volume()).astype(np.complex128)
    io.write(tmp_path / "x.npz", image, provenance=RECORD, spacing=(2.0, 0.5, 0.25))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["image"], image)
        assert json.loads(str(file["provenance"])) == RECORD
        np.testing.assert_array_equal(file["spacing_mm"], (2.0, 0.5, 0.25))


@pytest.mark.parametrize("n_z", [None, 3])
def test_cfl_is_read_back_by_read(tmp_path, n_z):
    image = (volume(n_z) + 1j * volume(n_z)[..., ::-1]).astype(np.complex64)
    io.write(tmp_path / "x.cfl", image, provenance=RECORD)
    scan = io.read(tmp_path / "x.cfl")
    assert isinstance(scan, io.MRIScan)
    np.testing.assert_array_equal(scan.kspace[:, 0], image.reshape(-1, 5, 7))
    sizes = (tmp_path / "x.hdr").read_text().splitlines()[1].split()
    assert sizes[:2] == ["5", "7"]
    raw = np.fromfile(tmp_path / "x.cfl", np.complex64)
    np.testing.assert_array_equal(raw[:35].reshape(7, 5).T, image.reshape(-1, 5, 7)[0])


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_png_shows_the_window(tmp_path, bits, dtype):
    path = tmp_path / "x.png"
    io.write(path, volume(None), provenance=RECORD, window=(-1.0, 1.0), bits=bits)
    top = 2**bits - 1
    with PIL.Image.open(path) as picture:
        pixels = np.asarray(picture)
        assert json.loads(picture.text["provenance"]) == RECORD  # type: ignore[attr-defined]
    assert pixels.dtype == dtype
    expected = np.clip((volume(None).astype(float) + 1) / 2, 0, 1) * top
    np.testing.assert_allclose(pixels, expected, atol=0.51)
    assert sidecar(path)["output"]["window"] == [-1.0, 1.0]


def test_png_puts_slices_side_by_side(tmp_path):
    image = volume(3)
    io.write(tmp_path / "x.png", image, provenance=RECORD, window=(-4.0, 4.0), bits=16)
    with PIL.Image.open(tmp_path / "x.png") as picture:
        pixels = np.asarray(picture) / 65535 * 8 - 4
    assert pixels.shape == (10, 14)
    for i, (row, column) in enumerate([(0, 0), (0, 7), (5, 0)]):
        np.testing.assert_allclose(pixels[row : row + 5, column : column + 7], image[i], atol=1e-4)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    io.write(path, volume(), provenance=RECORD, spacing=(2.0, 0.5, 0.25))
    read = nibabel.load(path)  # type: ignore[attr-defined]
    assert isinstance(read, nibabel.Nifti1Image)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(read.get_fdata(), volume().transpose(2, 1, 0))
    assert read.header.get_zooms() == (0.25, 0.5, 2.0)
    assert read.header.get_xyzt_units()[0] == "mm"
    assert nibabel.aff2axcodes(read.affine) == ("L", "P", "S")  # type: ignore[attr-defined]
    assert b"Not for diagnostic use" in read.header["descrip"].item()


@pytest.mark.parametrize("n_z", [None, 3])
def test_tiff(tmp_path, n_z):
    path = tmp_path / "x.tif"
    io.write(path, volume(n_z), provenance=RECORD, spacing=0.5)
    with tifffile.TiffFile(path) as file:
        np.testing.assert_array_equal(file.asarray(), volume(n_z))
        tags = file.pages.first.tags
        assert tags["XResolution"].value == (20, 1)
        assert json.loads(file.shaped_metadata[0]["provenance"]) == RECORD  # type: ignore[index]


@pytest.mark.parametrize("n_z", [None, 3])
def test_dicom(tmp_path, n_z):
    path = tmp_path / "x.dcm"
    spacing = (0.5, 0.25) if n_z is None else (2.0, 0.5, 0.25)
    io.write(path, volume(n_z), provenance=RECORD, spacing=spacing)
    data = pydicom.dcmread(path)
    assert data.SOPClassUID.name == "Multi-frame Grayscale Word Secondary Capture Image Storage"
    stored = data.pixel_array.reshape(-1, 5, 7)
    values = stored * float(data.RescaleSlope) + float(data.RescaleIntercept)
    image = volume(n_z).reshape(-1, 5, 7)
    np.testing.assert_allclose(values, image, atol=np.ptp(image) / 65535 * 0.51)
    assert data.NumberOfFrames == len(image)
    assert list(data.PixelSpacing) == [0.5, 0.25]
    assert "not for diagnostic use" in data.ImageComments.lower()
    assert len({data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID}) == 3
    assert all(uid.is_valid for uid in (data.SOPInstanceUID, data.StudyInstanceUID))


@pytest.mark.parametrize("suffix", [".png", ".nii", ".tif", ".dcm"])
def test_complex_images_become_magnitudes_and_say_so(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    io.write(path, volume(None) * np.exp(1j), provenance=RECORD)
    assert "magnitude" in sidecar(path)["output"]["values"]


def test_constant_and_jax_images(tmp_path):
    for suffix in SUFFIXES:
        io.write(tmp_path / f"x{suffix}", jnp.full((4, 3), 2, jnp.bfloat16), provenance=RECORD)
    data = pydicom.dcmread(tmp_path / "x.dcm")
    values = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
    np.testing.assert_allclose(values, 2, rtol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_leaves_the_old_files_and_nothing_else(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"x{suffix}"
    io.write(path, volume(), provenance=RECORD)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(io.ScanError, match="No space left"):
        io.write(path, 2 * volume(), provenance=RECORD)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_crash_between_renames_leaves_no_header_of_other_data(tmp_path, monkeypatch):
    path = tmp_path / "x.cfl"
    io.write(path, volume(), provenance=RECORD)
    real = os.replace

    def crash(source, target):
        if str(target).endswith(".hdr"):
            raise OSError("power cut")
        real(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(io.ScanError, match="power cut"):
        io.write(path, volume(2), provenance=RECORD)
    assert [file.name for file in tmp_path.iterdir()] == ["x.cfl"]
    with pytest.raises(io.ScanError, match=r"x\.hdr"):
        io.read(path)


@pytest.mark.parametrize("name", ["image.jpg", "image", "image.npy", ".npz", "image.gz"])
def test_unknown_suffix_lists_the_known_ones(tmp_path, name):
    with pytest.raises(io.ScanError, match=r"unknown suffix; known are .*\.npz.*\.dcm"):
        io.check_output(tmp_path / name)


def test_output_that_cannot_be_is_refused_beforehand(tmp_path):
    with pytest.raises(io.ScanError, match="does not exist"):
        io.check_output(tmp_path / "nowhere" / "x.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(io.ScanError, match="is a folder"):
        io.check_output(tmp_path / "folder.png")
    raw = makers.fan(tmp_path)
    with pytest.raises(io.ScanError, match="overwrite"):
        io.check_output(raw, inputs=[raw])
    bart = makers.bart(tmp_path)
    with pytest.raises(io.ScanError, match="overwrite"):
        io.check_output(bart.with_suffix(".hdr"), inputs=[bart.with_suffix("")])
    assert io.check_output(tmp_path / "x.png", inputs=[raw]) == tmp_path / "x.png"


@pytest.mark.parametrize("suffix", [".png", ".dcm"])
def test_integers_cannot_hold_nan(tmp_path, suffix):
    image = volume(None)
    image[0, 0] = np.nan
    with pytest.raises(io.ScanError, match="1 of 35 values are not finite"):
        io.write(tmp_path / f"x{suffix}", image, provenance=RECORD)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("image", "options", "field"),
    [
        (np.ones(3), {}, "image"),
        (np.ones((2, 0)), {}, "image"),
        (np.full((2, 2), "x"), {}, "image"),
        (np.ones((2, 2)), {"spacing": (1.0, 1.0, 1.0)}, "spacing"),
        (np.ones((2, 2)), {"spacing": 0.0}, "spacing"),
        (np.ones((2, 2)), {"bits": 12}, "bits"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, image, options, field):
    with pytest.raises(io.ScanError, match=f"`{field}`"):
        io.write(tmp_path / "x.npz", image, provenance=RECORD, **options)


def test_record_of_a_scan(tmp_path):
    path = makers.bart(tmp_path)
    scan = io.read(path)
    record = io.record(
        [path],
        scan,
        parameters={"weight": np.float32(0.5), "n": np.arange(2)},
        quality={"psnr": float("inf")},
        seconds=1.5,
        command="jaxrecon recon",
    )
    assert [entry["name"] for entry in record["inputs"]] == ["bart.hdr", "bart.cfl"]
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["inputs"][1]["sha256"] == expected
    assert record["parameters"] == {"weight": 0.5, "n": [0, 1]}
    assert record["quality"] == {"psnr": "inf"}
    assert record["understood"] == list(scan.understood)
    assert set(record["versions"]) == {"python", "jaxrecon", "jax", "numpy"}
    json.dumps(record, allow_nan=False)
    with pytest.raises(io.ScanError, match="gone"):
        io.record([tmp_path / "gone.npz"], parameters={})
