"""Slices of heads to train, choose and judge a prior by, as the MRI benchmark splits them.

Axial T1 slices, upright, the magnitude of what a scan of n × n points shows, 1 the 99.9th
percentile of the volume. The studyforrest volume and the MNI average train, Colin27 validates, two
patients test, whose contrast is another.
"""

from pathlib import Path

import numpy as np
from _quality.medical import fourier_crop, pyradiomics_brains, squared, studyforrest
from _quality.shared import evenly
from _settings import axial

N_VALIDATION, N_TEST = 12, 12


def training_slices(folder: Path, n: int) -> np.ndarray:
    """180 slices of one volume and 50 of an average, each with its mirror image."""
    forrest = studyforrest(folder)[160:340]
    mni = axial(folder / "volumes/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
    slices = _slices(forrest, range(180), n) + _slices(mni, range(40, 140, 2), n)
    return np.stack([*slices, *(x[:, ::-1] for x in slices)])


def validation_slices(folder: Path, n: int) -> np.ndarray:
    """Of Colin27."""
    colin = axial(folder / "volumes/mr_t1_colin27_ch2.nii.gz")
    return np.stack(_slices(colin, evenly(60, 120, N_VALIDATION), n))


def test_slices(folder: Path, n: int) -> np.ndarray:
    """Of two patients."""
    return np.stack(pyradiomics_brains(folder, n, N_TEST))


def _slices(volume: np.ndarray, places: range | list[int], n: int) -> list[np.ndarray]:
    top = np.float32(np.percentile(volume, 99.9))
    return [fourier_crop(squared(volume[z]), n) / top for z in places]
