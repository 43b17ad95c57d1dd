"""Broken, truncated and lying files: always a ScanError of one line that names the file."""

import random
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jaxrecon import io
from tests.io import makers


def message(path: Path, **options: Any) -> str:
    """The error that reading gives; fails on success and on any other exception."""
    with pytest.raises(io.ScanError) as caught:
        io.read(path, **options)
    return judged(path, caught.value)


def judged(path: Path, error: io.ScanError) -> str:
    """The text of an error: one line, names the file, hides no fault of our own."""
    assert not isinstance(error.__cause__, (TypeCheckError, NameError, AttributeError))
    text = str(error)
    assert "\n" not in text
    assert path.stem in text
    return text


def read_or_refuse(path: Path) -> None:
    """Reading may succeed; a `ScanError` is the only other way out."""
    try:
        io.read(path)
    except io.ScanError as error:
        judged(path, error)


@pytest.mark.parametrize("name", makers.MAKERS)
def test_truncated_anywhere(tmp_path, name):
    path = makers.MAKERS[name](tmp_path)
    whole = path.read_bytes()
    offsets = {0, 1, 3, 7, 8, len(whole) // 2, len(whole) - 1}
    offsets |= set(random.Random(3).sample(range(len(whole)), min(40, len(whole))))
    for offset in sorted(offsets):
        path.write_bytes(whole[:offset])
        message(path)


@pytest.mark.parametrize("name", makers.MAKERS)
def test_flipped_bytes_raise_nothing_else(tmp_path, name):
    path = makers.MAKERS[name](tmp_path)
    whole = path.read_bytes()
    rng = random.Random(4)
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        path.write_bytes(broken)
        read_or_refuse(path)


@pytest.mark.parametrize("name", ["tooth", "neutron", "monitored", "fan", "cartesian", "full"])
def test_flipped_bytes_of_array_headers_raise_nothing_else(tmp_path, name):
    """Checksums are right here, so that numpy's headers are what is broken."""
    path = makers.MAKERS[name](tmp_path)
    with zipfile.ZipFile(path) as file:
        members = {member: file.read(member) for member in file.namelist()}
    rng = random.Random(5)
    for _ in range(60):
        broken = {member: bytearray(data) for member, data in members.items()}
        array = broken[rng.choice(list(broken))]
        for _ in range(rng.choice((1, 2, 8))):
            array[rng.randrange(128)] = rng.choice(b"\0\xff0123456789(),<>fciO'{}")
        with zipfile.ZipFile(path, "w") as file:
            for member, data in broken.items():
                file.writestr(member, bytes(data))
        read_or_refuse(path)


def test_flipped_bytes_of_a_bart_header_raise_nothing_else(tmp_path):
    path = makers.bart(tmp_path)
    header = path.with_suffix(".hdr")
    whole = header.read_bytes()
    rng = random.Random(6)
    for _ in range(100):
        broken = bytearray(whole)
        for _ in range(rng.choice((1, 2, 4))):
            broken[rng.randrange(len(broken))] = rng.choice(b"0123456789 -#.\n\xff")
        header.write_bytes(broken)
        read_or_refuse(path)


@pytest.mark.parametrize("name", ["tooth", "neutron", "monitored", "fan", "cartesian"])
def test_every_array_missing_or_of_a_wrong_kind(tmp_path, name):
    """Each array in turn: left out, empty, text, objects, complex or real, reshaped, not finite."""
    path = makers.MAKERS[name](tmp_path)
    with np.load(path) as file:
        arrays = dict(file)
    for key, value in arrays.items():
        numbers = value.astype(complex if value.dtype.kind == "c" else float)
        wrong = [
            None,
            value[:0] if value.ndim else None,
            np.full(value.shape, "text"),
            np.full(value.shape, None),
            numbers.real if value.dtype.kind == "c" else numbers * 1j,
            value[..., None, None, None],
            value.reshape(-1)[:1],
            value.repeat(2, axis=-1) if value.ndim else value,
            np.full_like(numbers, np.nan),
            np.full_like(numbers, np.inf),
            np.zeros_like(value),
            -value if value.dtype.kind == "f" else value,
        ]
        for replacement in wrong:
            makers.save(path, arrays | {key: replacement})
            read_or_refuse(path)


@pytest.mark.parametrize("name", ["dxchange", "fastmri", "singlecoil"])
def test_every_dataset_missing_or_of_a_wrong_kind(tmp_path, name):
    path = makers.MAKERS[name](tmp_path)
    whole = path.read_bytes()
    with h5py.File(path) as file:
        keys: list[str] = []
        file.visititems(lambda key, item: keys.append(key) if hasattr(item, "shape") else None)
    assert keys
    for key in keys:
        for kind in range(6):
            path.write_bytes(whole)
            with h5py.File(path, "r+") as file:
                value = file[key][()]  # type: ignore[index]
                del file[key]
                array = np.zeros(3) if isinstance(value, bytes) else np.asarray(value)
                if kind == 1:
                    file[key] = "text"
                elif kind == 2:
                    file[key] = h5py.SoftLink("/nowhere")
                elif kind == 3:
                    file[key] = h5py.Empty("f4")
                elif kind == 4:
                    file[key] = np.full(array.shape, np.nan, array.dtype)
                elif kind == 5:
                    file[key] = array[..., :1]
            read_or_refuse(path)


def test_missing_file_folder_and_empty_file(tmp_path):
    assert "no such file" in message(tmp_path / "nothing.h5")
    assert "folder" in message(tmp_path)
    (tmp_path / "empty.npz").touch()
    assert "empty" in message(tmp_path / "empty.npz")


def test_hdf5_without_the_dataset_says_what_there_is(tmp_path):
    path = makers.dxchange(tmp_path, data=None)
    text = message(path)
    assert "exchange/data" in text
    assert "exchange/theta" in text


def test_hdf5_that_was_never_written_is_not_zeros(tmp_path):
    path = makers.dxchange(tmp_path, data=None)
    with h5py.File(path, "r+") as file:
        file.create_dataset("exchange/data", (9, 3, 16), "f4")
    assert "never written" in message(path)


def test_hdf5_whose_values_are_in_a_lost_file(tmp_path):
    path = makers.dxchange(tmp_path, data=None)
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout((9, 3, 16), "f4")
        layout[:] = h5py.VirtualSource("lost.h5", "data", (9, 3, 16))
        file.create_virtual_dataset("exchange/data", layout)
    assert "lost.h5" in message(path)


@pytest.mark.parametrize(
    ("make", "changes", "field", "says"),
    [
        ("tooth", {"theta_deg": np.arange(8.0)}, "theta_deg", "9 views"),
        ("tooth", {"theta_deg": None}, "theta_deg", "not in the file"),
        ("tooth", {"theta_deg": np.zeros(9)}, "theta_deg", "never written"),
        ("tooth", {"theta_deg": np.full(9, np.nan)}, "theta_deg", "not finite"),
        ("tooth", {"flat": np.ones((3, 2, 16))}, "flat", "(3, 16)"),
        ("tooth", {"cor": np.float64(99)}, "cor", "outside"),
        ("tooth", {"proj": np.ones((9, 3, 16), complex)}, "proj", "complex"),
        ("tooth", {"proj": np.full((9, 3, 16), "x")}, "proj", "dtype"),
        ("tooth", {"proj": np.full((9, 3, 16), None)}, "proj", "object"),
        ("tooth", {"proj": np.zeros((9, 3, 16))}, "proj", "zero"),
        ("tooth", {"proj": np.ones((9, 0, 16))}, "proj", "empty"),
        ("monitored", {"monitor": np.zeros((9, 3, 16))}, "monitor", "not positive"),
        ("monitored", {"monitor": None}, "monitor", "not in the file"),
        ("monitored", {"monitor": np.ones((9, 3))}, "monitor", "(9,)"),
        ("fan", {"sod_mm": 600.0}, "sdd_mm", "expected 0 < sod_mm < sdd_mm"),
        ("fan", {"sdd_mm": None}, "sdd_mm", "not in the file"),
        ("fan", {"det_pixel_mm": None}, "det_pixel_mm", "no scale"),
        ("fan", {"det_pixel_mm": -1.0}, "det_pixel_mm", "positive"),
        ("cartesian", {"mask": np.ones((8, 5), bool)}, "mask", "(8, 6)"),
        ("cartesian", {"mask": np.full((8, 6), 0.5)}, "mask", "other than 0 and 1"),
        ("cartesian", {"ksp": np.ones((2, 8, 6))}, "ksp", "complex"),
        ("cartesian", {"ksp": np.zeros((2, 8, 6), complex)}, "ksp", "all zeros"),
        ("cartesian", {"ksp": np.full((2, 8, 6), np.nan + 0j)}, "ksp", "NaN"),
        ("cartesian", {"maps": np.ones((3, 8, 6), complex)}, "maps", "(2, 8, 6)"),
        ("dxchange", {"theta": np.arange(8.0)}, "exchange/theta", "9 views"),
        ("dxchange", {"units": "furlongs"}, "exchange/theta@units", "furlongs"),
        ("dxchange", {"data": np.ones((9, 3, 16), complex)}, "exchange/data", "complex"),
        ("fastmri", {"kspace": np.ones((3, 2, 8, 6))}, "kspace", "complex"),
        ("fastmri", {"kspace": np.ones((8, 6), complex)}, "kspace", "(slice, coil, y, x)"),
        ("fastmri", {"mask": np.ones(5)}, "mask", "(6,)"),
        ("fastmri", {"ismrmrd_header": b"<a><b></a>"}, "ismrmrd_header", "broken"),
    ],
)
def test_message_names_the_field(tmp_path, make, changes, field, says):
    text = message(getattr(makers, make)(tmp_path, **changes))
    assert f"`{field}`" in text
    assert says in text


def test_a_blind_view_is_refused_and_named(tmp_path):
    data = makers.counts()["data"]
    data[4, 1] = 0
    assert "view 4 " in message(makers.tooth(tmp_path, proj=data))


def test_cfl_and_header_that_contradict_each_other(tmp_path):
    path = makers.bart(tmp_path)
    header = path.with_suffix(".hdr")
    for text in (
        "# Dimensions\n8 6 1 3\n",
        "# Dimensions\n8 -6 1 2\n",
        "8 6 1 2\n",
        "# Dimensions",
    ):
        header.write_text(text)
        assert "Dimensions" in message(path)
    header.unlink()
    assert "bart.hdr" in message(path)


def test_npy_member_that_claims_another_shape(tmp_path):
    path = makers.fan(tmp_path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["sino.npy"] = members["sino.npy"].replace(b"(9, 16)", b"(9, 99)")
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    assert "`sino`" in message(path)


@pytest.mark.parametrize("slices", [3, -4, [0, 7], [], slice(5, 9)])
def test_slices_out_of_range(tmp_path, slices):
    assert "`slices`" in message(makers.dxchange(tmp_path), slices=slices)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"fdg": 1.0, "mu": 1.0, "voxel_mm": 1.0}, "PET"),
        ({"img": 1j}, "coil images"),
        ({"img": 1, "spacing_mm": 1.0}, "volume"),
        ({"hu": 1, "spacing_mm": 1.0}, "volume"),
        ({"data": 1j, "lin": 1, "rep": 1}, "Siemens"),
        ({"images": 1j, "TE_s": 1.0}, "multi-echo"),
        ({"image": 1.0, "provenance": "{}"}, "jaxrecon wrote"),
        ({"something": 1.0}, "something"),
    ],
)
def test_other_npz_are_refused_by_name(tmp_path, arrays, says):
    assert says in message(makers.save(tmp_path / "other.npz", arrays))


SHAPE = makers.spiral_trajectory().shape


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("coord", np.ones((4, 200)), "(4, 200), expected (shot, sample, 2)"),
        ("coord", np.ones((4, 200, 3)), "three-dimensional trajectory"),
        ("coord", np.ones((4, 200, 4)), "(4, 200, 4), expected (shot, sample, 2)"),
        ("coord", 1.0, "expected (shot, sample, 2)"),
        ("coord", np.full(SHAPE, np.nan), "800 of 800 points"),
        ("coord", 16 * makers.spiral_trajectory(), "reaches 7.84, expected cycles per pixel"),
        ("coord", np.zeros(SHAPE), "zero everywhere"),
        ("coord", makers.spiral_trajectory() + 0j, "complex"),
        ("data", np.ones((3, 4, 199), complex), "(3, 4, 199), which does not match `coord`"),
        ("data", np.ones((1, 1, 3, 4, 200), complex), "does not match `coord`"),
        ("data", np.ones((3, 4, 200)), "expected complex numbers"),
        ("data", np.full((3, 4, 200), np.nan + 0j), "2400 of 2400 values are NaN"),
        ("data", np.zeros((3, 4, 200), complex), "all zeros"),
        ("data", None, "is not in the file"),
        ("dcf", np.ones((4, 199)), "(4, 199), `coord` needs (4, 200)"),
        ("dcf", -np.ones((4, 200)), "negative"),
        ("dcf", np.zeros((4, 200)), "only zeros"),
        ("N", 0, "expected the image's size"),
        ("N", 16.5, "whole"),
        ("N", [16, 16, 16], "expected the image's size"),
        ("maps", np.ones((2, 16, 16), complex), "the k-space has 3 coils"),
    ],
)
def test_fields_of_a_spiral(tmp_path, field, value, says):
    text = message(makers.spiral(tmp_path, **{field: value}))
    assert says in text
    assert f"`{field}`" in text


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"\x00\x00\x00\x00\x01\x00\x00\x00" + b"\x07" * 8 + b"\x00\x28" + b"\x00" * 30, "Siemens"),
        (b"\x00" * 128 + b"DICM" + b"\x00" * 20, "DICOM"),
        (b"\x00" * 344 + b"n+1\x00", "NIfTI"),
        (b"\x93NUMPY\x01\x00", "npy"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"II*\x00", "TIFF"),
        (b"MATLAB 5.0 MAT-file", "MATLAB"),
        (b"what is this", "no format jaxrecon knows"),
    ],
)
def test_other_formats_are_refused_by_name(tmp_path, start, says):
    (tmp_path / "raw.dat").write_bytes(start)
    assert says in message(tmp_path / "raw.dat")


def test_ismrmrd_is_refused_by_name(tmp_path):
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["dataset/xml"], file["dataset/data"] = "<x/>", np.zeros(3)
    assert "ISMRMRD" in message(tmp_path / "raw.h5")


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((8, 6, 4, 2), "three-dimensional"),
        ((1, 8, 6, 2), "non-Cartesian"),
        ((8, 6, 1, 2, 2), "sets of maps"),
        ((8, 6, 1, 2, 1, 3), "echo time"),
    ],
)
def test_bart_dimensions_beyond_ours_are_refused_by_name(tmp_path, shape, says):
    assert says in message(makers.bart(tmp_path, np.ones(shape, np.complex64)))


def test_maps_file_is_judged_like_the_rest(tmp_path):
    path = makers.cartesian(tmp_path)
    wrong = makers.bart(tmp_path, np.ones((8, 6, 1, 3), np.complex64), "three")
    assert "(2, 8, 6)" in message(path, maps=wrong)
    with pytest.raises(io.ScanError, match="nowhere"):
        io.read(path, maps=tmp_path / "nowhere.npz")
    with pytest.raises(io.ScanError, match=r"`maps`.*complex"):
        io.read(path, maps=makers.save(tmp_path / "real.npz", {"maps": np.ones((2, 8, 6))}))
    assert "no coils" in message(makers.fan(tmp_path), maps=wrong)


def test_missing_library_names_the_extra(tmp_path, monkeypatch):
    path = makers.dxchange(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    assert 'pip install "jaxrecon[io]"' in message(path)
