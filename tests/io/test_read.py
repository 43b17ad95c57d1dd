"""What `read` makes of good files: values, units, selection, assumptions and repairs, in words."""

import dataclasses
import tracemalloc

import h5py
import numpy as np
import pytest

from jaxrecon import io
from tests.io import makers

FLOAT32 = 2e-5  # relative: exp and log of counts in single precision


def said(scan: io.CTScan | io.MRIScan) -> str:
    return "\n".join((*scan.understood, *scan.assumed, *scan.repaired))


def ct(path, **options) -> io.CTScan:
    scan = io.read(path, **options)
    assert isinstance(scan, io.CTScan)
    return scan


def mri(path, **options) -> io.MRIScan:
    scan = io.read(path, **options)
    assert isinstance(scan, io.MRIScan)
    return scan


@pytest.mark.parametrize("name", ["tooth", "dxchange", "monitored", "neutron", "fan"])
def test_line_integrals_are_those_the_file_was_made_from(tmp_path, name):
    scan = ct(makers.MAKERS[name](tmp_path))
    truth = makers.attenuation(len(scan.slices))
    tolerance = 1e-4 if name == "neutron" else FLOAT32  # its counts are whole numbers
    np.testing.assert_allclose(scan.line_integrals, truth, atol=tolerance)
    turn = -1 if name == "fan" else 1  # the layout with ASTRA's angles
    np.testing.assert_allclose(scan.angles, turn * np.deg2rad(makers.degrees()))
    assert scan.repaired == ()


def test_weights_are_inverse_variances_of_poisson_counts(tmp_path):
    c = makers.counts()
    scan = ct(makers.tooth(tmp_path))
    n, dark = c["data"].transpose(1, 0, 2), c["dark"].mean(0)[:, None]
    expected = (n - dark) ** 2 / n
    np.testing.assert_allclose(
        scan.weights, expected / expected.max(axis=(1, 2), keepdims=True), rtol=1e-4
    )


def test_weights_count_photons_whatever_their_unit(tmp_path):
    """A monitor takes the beam's changes out of the values, not out of their variances."""
    with np.load(makers.monitored(tmp_path)) as file:
        n = file["transmitted"].transpose(1, 0, 2)
        for unit in (1.0, 1e-22):
            path = makers.monitored(tmp_path, transmitted=file["transmitted"] * unit)
            expected = n / n.max(axis=(1, 2), keepdims=True)
            np.testing.assert_allclose(ct(path).weights, expected, rtol=1e-4)


def test_fan_geometry(tmp_path):
    scan = ct(makers.fan(tmp_path))
    assert scan.kind == "fan"
    assert (scan.source_origin, scan.bin_pitch) == (410.66, 0.2)
    assert scan.origin_detector == pytest.approx(143.08)
    np.testing.assert_allclose(scan.weights, np.exp(-scan.line_integrals), rtol=1e-5)


def test_parallel_geometry_and_what_is_not_known(tmp_path):
    scan = ct(makers.tooth(tmp_path))
    assert (scan.kind, scan.center, scan.bin_pitch, scan.pitch) == ("parallel", 7.5, None, 1.0)
    assert "lengths are in bins" in said(scan)
    assert ct(makers.tooth(tmp_path, det_pixel_mm=0.25)).pitch == 0.25
    assert ct(makers.tooth(tmp_path, cor=None)).center is None


def test_dxchange_resolution_is_the_bin_pitch(tmp_path):
    path = makers.dxchange(tmp_path)
    with h5py.File(path, "r+") as file:
        file["measurement/instrument/detection_system/objective/resolution"] = 1.3
        item = file["measurement/instrument/detection_system/objective/resolution"]
        item.attrs["units"] = "microns"
    assert ct(path).bin_pitch == pytest.approx(1.3e-3)


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({}, 180, "in degrees"),
        ({"units": b"rad", "theta": np.deg2rad(makers.degrees())}, 180, "in radians"),
        ({"units": None}, 180, "degrees, judged by its range"),
        ({"theta": None}, 180, "equally spaced over 180 degrees"),
    ],
)
def test_dxchange_angles(tmp_path, changes, expected, words):
    scan = ct(makers.dxchange(tmp_path, **changes))
    np.testing.assert_allclose(scan.angles, np.deg2rad(makers.degrees()), atol=1e-12)
    assert words in said(scan)


def test_dxchange_axes_attribute_is_obeyed(tmp_path):
    path = makers.dxchange(tmp_path, data=makers.counts()["data"].transpose(1, 0, 2))
    with h5py.File(path, "r+") as file:
        file["exchange/data"].attrs["axes"] = "y:theta:x"
    np.testing.assert_allclose(ct(path).line_integrals, makers.attenuation(), atol=FLOAT32)
    only = ct(path, slices=2).line_integrals
    np.testing.assert_allclose(only, makers.attenuation()[2:], atol=FLOAT32)


def test_without_dark_and_flat_the_edges_are_air(tmp_path):
    data = makers.counts()["data"] - makers.counts()["dark"].mean(0)
    path = makers.dxchange(tmp_path, data=data, data_dark=None, data_white=None)
    scan = ct(path)
    beam = 20000 + 50.0 * np.arange(makers.N_BINS)
    expected = makers.attenuation() + np.log(beam[-1] / beam)
    np.testing.assert_allclose(scan.line_integrals, expected, atol=FLOAT32)
    assert "no flat field" in said(scan)
    assert "no dark field" in said(scan)


def test_edges_that_are_not_air_are_suspected(tmp_path):
    assert "wider than the view" not in said(ct(makers.neutron(tmp_path)))
    narrow = np.exp(-makers.attenuation(1)[0])[:, 4:12]
    narrow[:, 4] = 1.0
    scan = ct(makers.neutron(tmp_path, sino_transmission=narrow, cor=None))
    assert "wider than the view" in said(scan)


def test_bad_values_are_counted_filled_and_weightless(tmp_path):
    data = makers.counts()["data"]
    data[2, 0, 5], data[3, 0, 6:8], data[4, 1, 3], data[5, 2, 0] = 0, -5, np.nan, np.inf
    data[6, 0, 9] = 50  # below the dark field
    data[:, 2, 12] = 0  # a dead bin
    bad = ~(data.transpose(1, 0, 2) > 101) | ~np.isfinite(data.transpose(1, 0, 2))
    scan = ct(makers.tooth(tmp_path, proj=data))
    assert (scan.weights == 0).sum() == bad.sum() == 15
    assert (scan.weights[bad] == 0).all()
    good = makers.attenuation()
    np.testing.assert_allclose(scan.line_integrals[~bad], good[~bad], atol=FLOAT32)
    middle = (good[0, 2, 4] + good[0, 2, 6]) / 2
    np.testing.assert_allclose(scan.line_integrals[0, 2, 5], middle, atol=FLOAT32)
    text = "\n".join(scan.repaired)
    for words in (
        "2 values not finite",
        "10 values zero",
        "2 values negative",
        "1 values not above",
    ):
        assert words in text
    assert "1 dead bins: [12]" in text


def test_dead_bin_of_the_flat_field(tmp_path):
    flat = makers.counts()["flat"]
    flat[:, 1, 4] = 0
    scan = ct(makers.tooth(tmp_path, flat=flat))
    assert (scan.weights[1, :, 4] == 0).all()
    assert np.isfinite(scan.line_integrals).all()
    assert "1 dead bins: [4]" in said(scan)


@pytest.mark.parametrize("name", ["tooth", "dxchange", "monitored", "fastmri", "singlecoil"])
@pytest.mark.parametrize(
    "slices", [1, -1, slice(None, None, 2), [2, 0], [1, 1], slice(None, None, -1)]
)
def test_slices_are_those_of_the_whole(tmp_path, name, slices):
    path = makers.MAKERS[name](tmp_path)
    whole, part = io.read(path), io.read(path, slices=slices)
    index = [slices] if isinstance(slices, int) else slices
    for field in ("line_integrals", "weights", "kspace"):
        if hasattr(whole, field):
            np.testing.assert_array_equal(getattr(part, field), getattr(whole, field)[index])
    assert part.slices == tuple(np.array(whole.slices)[index])


def peak_memory(read) -> int:
    tracemalloc.start()
    read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_only_the_wanted_slices_of_hdf5_are_read(tmp_path):
    n, c = 100_000, makers.counts()
    path = tmp_path / "huge.h5"
    with h5py.File(path, "w") as file:
        file["exchange/theta"] = makers.degrees()
        for name, frames in {
            "data": c["data"],
            "data_dark": c["dark"],
            "data_white": c["flat"],
        }.items():
            shape, chunks = (len(frames), n, makers.N_BINS), (len(frames), 1, makers.N_BINS)
            data = file.create_dataset(f"exchange/{name}", shape, "f4", chunks=chunks)
            data[:, 70_000] = frames[:, 1]
    assert peak_memory(lambda: ct(path, slices=70_000)) < 2e6 < 9 * n * 16 * 4
    scan = ct(path, slices=70_000)
    np.testing.assert_allclose(scan.line_integrals, makers.attenuation()[1:2], atol=FLOAT32)
    assert scan.slices == ("row 70000",)


def test_only_the_wanted_slices_of_npz_are_held(tmp_path):
    data = np.tile(makers.kspace(1), (40, 4, 16, 16))
    path = makers.save(tmp_path / "stack.npz", {"ksp": data})
    assert peak_memory(lambda: mri(path, slices=[3])) < data.nbytes / 4


def test_cartesian_npz(tmp_path):
    scan = mri(makers.cartesian(tmp_path))
    assert scan.kspace.dtype == np.complex64
    np.testing.assert_array_equal(scan.kspace[0], makers.kspace(1)[0] * makers.mask())
    np.testing.assert_array_equal(scan.mask, makers.mask())
    assert scan.maps is None
    assert scan.recon_shape is None


def test_samples_outside_the_mask_are_left_out_and_counted(tmp_path):
    scan = mri(makers.cartesian(tmp_path, ksp=makers.kspace(1)[0]))
    assert (scan.kspace[:, :, ~makers.mask()] == 0).all()
    assert f"{(~makers.mask()).sum()} samples outside `mask`" in said(scan)


def test_without_a_mask_zeros_were_not_acquired(tmp_path):
    scan = mri(makers.cartesian(tmp_path, mask=None))
    np.testing.assert_array_equal(scan.mask, makers.mask())
    assert "no `mask`" in said(scan)
    assert mri(makers.full(tmp_path)).mask.all()


def test_one_dimensional_mask_holds_for_every_row(tmp_path):
    columns = np.array([1, 0, 1, 1, 0, 1])
    scan = mri(makers.cartesian(tmp_path, ksp=makers.kspace(1)[0], mask=columns))
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(columns == 1, (8, 6)))


def test_few_samples_that_are_not_finite_are_left_out(tmp_path):
    ksp = makers.kspace(1)[0]
    ksp[1, 3, 2] = np.nan
    scan = mri(makers.full(tmp_path, ksp=ksp))
    assert not scan.mask[3, 2]
    assert (scan.kspace[:, :, 3, 2] == 0).all()
    assert scan.mask.sum() == 47
    assert "1 samples with NaN" in said(scan)


def test_fastmri_multicoil_and_singlecoil(tmp_path):
    multi = mri(makers.fastmri(tmp_path))
    assert multi.kspace.shape == (3, 2, 8, 6)
    assert multi.recon_shape == (6, 4)
    assert multi.mask.sum() == 8 * 4
    assert "multicoil" in said(multi)
    single = mri(makers.singlecoil(tmp_path))
    np.testing.assert_array_equal(single.kspace, makers.kspace()[:, :1])
    assert single.recon_shape == makers.RSS
    assert "singlecoil" in said(single)


def test_fastmri_padding_is_not_measured_zeros(tmp_path):
    kspace = makers.kspace()
    kspace[..., 5] = 0
    scan = mri(makers.fastmri(tmp_path, kspace=kspace, mask=np.ones((1, 6))))
    assert not scan.mask[:, 5].any()
    assert "8 samples that are zero in every coil" in said(scan)


def test_fastmri_without_sizes_and_with_too_large_ones(tmp_path):
    assert mri(makers.fastmri(tmp_path, ismrmrd_header=None)).recon_shape is None
    images = np.ones((3, 9, 4), np.float32)
    scan = mri(makers.fastmri(tmp_path, reconstruction_rss=images))
    assert scan.recon_shape == (8, 4)
    assert "(9, 4)" in said(scan)


@pytest.mark.parametrize("suffix", [".cfl", ".hdr", ""])
def test_bart_by_either_name_or_the_stem(tmp_path, suffix):
    path = makers.bart(tmp_path).with_suffix(suffix)
    np.testing.assert_array_equal(mri(path).kspace, makers.kspace(1))


def test_bart_slices_and_second_phase_encoding(tmp_path):
    stack = makers.kspace()
    data = np.zeros((8, 1, 6, 2, *[1] * 9, 3), np.complex64)
    data[:, 0, :, :, 0, 0, 0, 0, 0, 0, 0, 0, 0] = stack.transpose(2, 3, 1, 0)
    path = makers.bart(tmp_path, data)
    np.testing.assert_array_equal(mri(path).kspace, stack)
    np.testing.assert_array_equal(mri(path, slices=[2, 0]).kspace, stack[[2, 0]])


def test_maps_from_cfl_from_npz_and_from_the_same_file(tmp_path):
    maps = makers.kspace(2)[1]
    scan = makers.cartesian(tmp_path)
    as_cfl = makers.bart(tmp_path, maps.transpose(1, 2, 0)[:, :, None], "maps")
    as_npz = makers.save(tmp_path / "maps.npz", {"maps": maps, "other": 1.0})
    for given in (as_cfl, as_npz):
        np.testing.assert_array_equal(mri(scan, maps=given).maps, maps)
    np.testing.assert_array_equal(mri(makers.full(tmp_path, maps=maps)).maps, maps)


def test_content_decides_not_the_suffix(tmp_path):
    for name in ("tooth", "dxchange"):
        path = makers.MAKERS[name](tmp_path)
        assert ct(path.rename(path.with_suffix(".raw"))).understood


def test_extra_arrays_are_ignored_even_objects(tmp_path):
    path = makers.fan(tmp_path, note=np.array({"a": 1}), more=np.array("text"))
    assert ct(path).kind == "fan"


def test_scans_are_frozen_and_keyword_only(tmp_path):
    scan = ct(makers.fan(tmp_path))
    with pytest.raises(dataclasses.FrozenInstanceError):
        scan.center = 3.0  # type: ignore[misc]
    assert dataclasses.replace(scan, center=3.0).center == 3.0


@pytest.mark.data
class TestRealMeasurements:
    def test_tooth_is_the_same_from_both_files(self, shared_data):
        original = ct(shared_data / "ct/tooth_aps_original.h5")
        npz = ct(shared_data / "ct/parallel_tooth_aps.npz")
        np.testing.assert_array_equal(original.line_integrals, npz.line_integrals)
        assert npz.line_integrals.shape == (2, 181, 640)
        assert (npz.center, original.center) == (295.5, None)
        assert abs(np.median(npz.line_integrals[..., :20])) < 0.02

    def test_neutron_zeros_are_repaired(self, shared_data):
        scan = ct(shared_data / "ct/parallel_neutron_360.npz")
        assert "214 values zero" in said(scan)
        assert np.isfinite(scan.line_integrals).all()
        assert abs(np.median(scan.line_integrals[..., :15])) < 0.02

    def test_i18_monitor(self, shared_data):
        scan = ct(shared_data / "ct/parallel_i18_stxm_52x7x101.npz")
        assert scan.line_integrals.shape == (7, 52, 101)
        assert np.median(scan.line_integrals[..., 45:60]) > 0.2
        assert np.percentile(scan.line_integrals, 1) > -0.1

    def test_fan(self, shared_data):
        scan = ct(shared_data / "ct/fan_htc2022_solid_disc_30deg.npz")
        assert (scan.kind, scan.line_integrals.shape) == ("fan", (1, 61, 560))

    def test_fan_turns_as_the_organisers_reconstruction_says(self, shared_data):
        """The disc's centre, fitted to its shadow, is where their image has it."""
        scan = ct(shared_data / "ct/fan_htc2022_solid_disc_30deg.npz")
        assert scan.source_origin is not None
        assert scan.origin_detector is not None
        shadow = scan.line_integrals[0] > 0.3
        bins = np.arange(560) - 279.5
        middle = np.array([(bins[row].min() + bins[row].max()) / 2 for row in shadow]) * scan.pitch
        magnification = (scan.source_origin + scan.origin_detector) / scan.source_origin
        rays = np.stack([np.cos(scan.angles), np.sin(scan.angles)], axis=1)
        x, y = np.linalg.lstsq(rays, middle / magnification)[0]
        with np.load(shared_data / "ct/fan_htc2022_solid_disc_reference_fbp.npz") as file:
            disc = file["recon"] > 0.003
        rows, columns = np.nonzero(disc)
        pixel = scan.pitch / magnification
        expected = (columns.mean() - 255.5) * pixel, (rows.mean() - 255.5) * pixel
        np.testing.assert_allclose((x, y), expected, atol=0.1)

    def test_brain_with_barts_maps(self, shared_data):
        scan = mri(
            shared_data / "mri/cart_brain8ch_poisson_sigpy.npz",
            maps=shared_data / "reference/bart08_brain8ch_sigpy.npz",
        )
        assert scan.maps is not None
        assert scan.maps.shape == (8, 230, 180)
        assert scan.mask.mean() == pytest.approx(0.124, abs=1e-3)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("mri/twix_gre2ch_phantom.dat", "Siemens"),
            ("mri/coilimages_brain4ch.npz", "coil images"),
            ("pet/stir_thorax_fdg_ctac_phantom.npz", "PET"),
            ("volumes/ct_head_invesalius_hu.npz", "volume"),
        ],
    )
    def test_others_are_refused_by_name(self, shared_data, name, words):
        with pytest.raises(io.ScanError, match=words):
            io.read(shared_data / name)
