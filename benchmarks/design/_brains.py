"""Heads for `trajectories.py`: slices and volumes, their coils, and what a full scan shows of them.

An object and its coil maps are on a grid 1.5 times finer than the image's. Patients train, tune and
test apart.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _quality.medical import fourier_crop, pyradiomics_brains, squared, studyforrest
from _quality.shared import evenly
from _settings import axial

from jaxrecon.core import centered_fft
from jaxrecon.physics import mri

N_COILS = 8
N_THICK = 37  # slices of the test patients, 6.5 mm apart, in the field of view
MNI = "volumes/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
COLIN = "volumes/mr_t1_colin27_ch2.nii.gz"


class Heads(NamedTuple):
    """Objects on the fine grid, and what a full scan shows of them on the coarse one."""

    fine: np.ndarray
    truth: np.ndarray


# ----------------------------------------------------------------------------------------- patients


def slices(folder: Path, n: int, quick: bool) -> dict[str, Heads]:
    """Training, validation and test, by patient."""
    fine, count = n * 3 // 2, 2 if quick else 8
    forrest, mni, colin = (
        studyforrest(folder)[160:340],
        axial(folder / MNI)[40:140],
        axial(folder / COLIN)[60:120],
    )
    parts = {
        "train": prepared(forrest, 3 * count, fine) + prepared(mni, count, fine),
        "tune": prepared(colin, max(2, count // 3), fine),
        "test": pyradiomics_brains(folder, fine, count),
    }
    return {name: with_truth(np.stack(part), n) for name, part in parts.items()}


def prepared(volume: np.ndarray, count: int, n: int) -> list[np.ndarray]:
    top = np.float32(np.percentile(volume, 99.9))
    return [fourier_crop(squared(volume[z]), n) / top for z in evenly(0, len(volume) - 1, count)]


def volumes(folder: Path, n: int) -> dict[str, Heads]:
    """Two heads and their mirror images to train on, one to tune on, two patients to test."""
    fine = n * 3 // 2
    train = [cube(studyforrest(folder), fine), cube(axial(folder / MNI), fine)]
    with np.load(folder / "volumes/mr_brain_pyradiomics.npz") as file:
        patients = [file["brain1"].astype(np.float32), file["brain2"].astype(np.float32)]
    parts = {
        "train": [image for head in train for image in (head, head[..., ::-1])],
        "tune": [cube(axial(folder / COLIN), fine)],
        "test": [thick(patient, fine) for patient in patients],
    }
    return {name: with_truth(np.stack(part), n) for name, part in parts.items()}


def cube(volume: np.ndarray, n: int) -> np.ndarray:
    """A volume of equal spacing in a cube of n³, without the k-space beyond."""
    side = max(volume.shape)
    planes = np.stack([resampled(padded(z, side, (0, 1)), n, (0, 1)) for z in volume])
    image = np.abs(resampled(padded(planes, side, (0,)), n, (0,))).astype(np.float32)
    return image / np.percentile(image, 99.9)


def thick(volume: np.ndarray, n: int) -> np.ndarray:
    """Thick slices as a cube of n³."""
    planes = padded(np.stack([resampled(z, n, (0, 1)) for z in volume]), N_THICK, (0,))
    image = np.abs(resampled(planes, n, (0,))).astype(np.float32)
    return image / np.percentile(image, 99.9)


def padded(image: np.ndarray, side: int, axes: tuple[int, ...]) -> np.ndarray:
    """Zeros on both sides of some axes."""
    short = [side - image.shape[a] if a in axes else 0 for a in range(image.ndim)]
    return np.pad(image, [(s // 2, s - s // 2) for s in short])


def resampled(image: np.ndarray, n: int, axes: tuple[int, ...]) -> np.ndarray:
    """The central n of k-space along some axes, zero where there is none, as an image."""
    kspace = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(image, axes), axes=axes), axes)
    for a in axes:
        m = image.shape[a]
        if m > n:
            kspace = np.take(kspace, range(m // 2 - n // 2, m // 2 - n // 2 + n), axis=a)
        before = max(n // 2 - m // 2, 0)
        margins = [
            (before, max(n - m, 0) - before) if b == a else (0, 0) for b in range(image.ndim)
        ]
        kspace = np.pad(kspace, margins) * (n / m)
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(kspace, axes), axes=axes), axes)


# -------------------------------------------------------------------------------------------- scans


def with_truth(images: np.ndarray, n: int) -> Heads:
    """Objects with a smooth phase, and the coils' full k-space combined by the coarse maps."""
    n_axes = images.ndim - 1
    axes = np.meshgrid(*n_axes * [np.linspace(-1, 1, images.shape[-1])], indexing="ij")[::-1]
    mixed = [a * b for i, a in enumerate(axes) for b in axes[i + 1 :]]
    terms = np.stack([np.ones_like(axes[0]), *axes, *mixed, *(a**2 for a in axes)])
    drawn = np.random.default_rng(0).standard_normal((len(images), len(terms)))
    phase = (drawn @ terms.reshape(len(terms), -1)).reshape(images.shape)
    phase /= np.abs(phase).max(axis=tuple(range(1, images.ndim)), keepdims=True)
    objects = jnp.asarray(images * np.exp(1j * phase), jnp.complex64)
    combine = mri.sense(coil_maps(n, n_axes), jnp.ones((1,) * n_axes, bool)).H

    def full(image):
        m = image.shape[-1]
        kspace = centered_fft(coil_maps(m, n_axes) * image, tuple(range(1, n_axes + 1)))
        middle = slice(m // 2 - n // 2, m // 2 - n // 2 + n)
        return combine((n / m) ** (n_axes / 2) * kspace[(slice(None), *n_axes * [middle])])

    return Heads(np.asarray(objects), np.asarray(jax.lax.map(full, objects)))


@functools.cache
def coil_maps(n: int, n_axes: int = 2) -> jax.Array:
    """A ring of eight; in space two rings of four, turned by half their pitch."""
    with jax.ensure_compile_time_eval():  # kept, so not of a program that is being traced
        if n_axes == 2:
            return mri.normalise_maps(mri.birdcage_maps(N_COILS, (n, n)))
        rings = []
        for i, centre in enumerate((-0.5, 0.5)):
            ring = mri.birdcage_maps(N_COILS // 2, (n, n), rotation=i * np.pi / 4)
            along = jnp.exp(-0.5 * (jnp.linspace(-1, 1, n) - centre) ** 2)
            rings.append(ring[:, None] * along[:, None, None])
        maps = jnp.concatenate(rings)
        return maps / jnp.sqrt(jnp.sum(jnp.abs(maps) ** 2, axis=0))
