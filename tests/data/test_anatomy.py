"""Anatomy from installed packages: units, orientation, and what happens when it is missing."""

import importlib
import importlib.util

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import data
from jaxrecon.data import _anatomy


def test_ct_slice_is_attenuation_of_a_head():
    head = data.ct_slice()
    values = np.asarray(head.values)
    assert values.shape == (512, 512)
    assert head.pixel == 0.431
    assert np.isfinite(values).all()
    assert values.min() == 0
    # Air all around, brain stem within 40 HU of water, petrous bone above twice water.
    assert not values[:20].any()
    assert not values[:, :20].any()
    np.testing.assert_allclose(values[350:370, 240:270].mean(), data.MU_WATER * 1.03, rtol=0.02)
    assert values.max() > 2 * data.MU_WATER
    # The frontal sinus, air inside the head, is near the top: the nose is up.
    assert values[60:75, 290:330].mean() < 0.1 * values[150:250, 150:220].mean()
    other = data.ct_slice(mu_water=2 * data.MU_WATER)
    np.testing.assert_allclose(other.values, 2 * values, rtol=1e-6)


def test_t1_is_upright_and_radiological():
    nibabel = pytest.importorskip("nibabel")
    volume, brain = data.t1_volume(), data.t1_slice(82)
    assert volume.values.shape == (189, 233, 197)
    assert volume.pixel == brain.pixel == 1.0
    assert float(volume.values.max()) == 1
    assert float(volume.values[0, 0, 0]) == 0
    np.testing.assert_array_equal(brain.values, volume.values[82, 4:228, 2:194])
    # World coordinates of the file: x to the right, y to the front, z upwards.
    nifti = nibabel.load(_anatomy._packaged("nilearn", _anatomy._T1_FILE))
    stored = np.asarray(nifti.dataobj, float)
    z, y, x = 100, 80, 60
    world = [nifti.affine[0, 3] + 196 - x, nifti.affine[1, 3] + 232 - y, nifti.affine[2, 3] + z]
    i, j, k = np.round(np.linalg.solve(nifti.affine, [*world, 1])[:3]).astype(int)
    np.testing.assert_allclose(volume.values[z, y, x], stored[i, j, k] / stored.max(), rtol=1e-6)


def test_t1_slice_refuses_what_is_not_there():
    with pytest.raises(ValueError, match="`index` is 500; expected 0 to 188"):
        data.t1_slice(500)
    with pytest.raises(ValueError, match="`shape` is"):
        data.t1_slice(shape=(300, 100))


@pytest.mark.parametrize(("verb", "package"), [("ct_slice", "pydicom"), ("t1_volume", "nilearn")])
def test_a_missing_package_is_named_with_its_extra(verb, package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf'{package}.*pip install "jaxrecon\[demo\]"'):
        getattr(data, verb)()


def test_a_missing_decoder_or_file_is_named(monkeypatch):
    real = importlib.import_module

    def without_pillow(name, *rest):
        if name == "PIL":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without_pillow)
    with pytest.raises(ImportError, match=r"needs PIL.*jaxrecon\[demo\]"):
        data.ct_slice()
    monkeypatch.setattr(_anatomy, "_T1_FILE", "gone.nii.gz")
    with pytest.raises(ImportError, match=r"nilearn does not carry gone.nii.gz.*jaxrecon\[demo\]"):
        data.t1_volume()


def test_downsample_is_the_mean_of_blocks():
    values = np.random.default_rng(0).normal(size=(6, 4, 8)).astype(np.float32)
    coarse = data.downsample(jnp.asarray(values), 2)
    assert coarse.shape == (3, 2, 4)
    np.testing.assert_allclose(coarse[1, 1, 3], values[2:4, 2:4, 6:8].mean(), rtol=1e-5)
    with pytest.raises(ValueError, match=r"`factor` is 4 .* shape \(6, 4, 8\)"):
        data.downsample(jnp.asarray(values), 4)
