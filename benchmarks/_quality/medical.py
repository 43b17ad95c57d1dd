"""CT and MRI scans, simulated from finer grids."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from _quality.shared import Direct, Scan, Sizes, Task, evenly, known_norm, stacked
from jaxrecon import core, data
from jaxrecon.core import LinearOperator
from jaxrecon.physics import ct, mri

BONE = 0.05  # 1/mm, the unit of CT images
N_COILS, MRI_NOISE = 8, 0.01


def sparse_view_ct(folder: Path, sizes: Sizes) -> Task:
    """30 views of a head."""
    attenuation, pixel = head_attenuation(folder)
    factor = attenuation.shape[1] // (2 * sizes.image)
    fine = np.asarray(jax.vmap(lambda x: data.downsample(x, factor))(jnp.asarray(attenuation)))
    slabs = evenly(20, 34, sizes.n_validation), evenly(44, 88, sizes.n_test)
    n_views, photons = 30, 5e4

    def simulate(z, key):
        options = {"key": key, "n_views": n_views, "photons": photons}
        return data.simulate_ct(jnp.asarray(fine[z]), factor * pixel, **options)

    keys = jax.random.split(jax.random.key(1), 2 * max(map(len, slabs))).reshape(2, -1)
    raw = [[simulate(z, k) for z, k in zip(s, ks)] for s, ks in zip(slabs, keys)]
    scan = raw[1][0].operator
    size = known_norm(scan)
    parts = [[ct_scan(s, photons, size) for s in group] for group in raw]
    return Task(
        name="ct",
        title=f"CT, {n_views} views, {photons:g} photons",
        operator=with_norm_one(scan, size),
        noise=1 / (np.sqrt(photons) * BONE * size),
        validation=stacked(parts[0]),
        test=stacked(parts[1]),
        direct=FILTERED,
        n_iter=12,
        facts=(
            *raw[1][0].facts,
            f"slices {slabs[0]} tune, {slabs[1]} test: one patient, two slabs",
        ),
    )


def head_attenuation(folder: Path) -> tuple[np.ndarray, float]:
    """The head CT in 1/mm, and its pixels' side in mm; air is empty."""
    with np.load(folder / "volumes/ct_head_invesalius_hu.npz") as file:
        volume, pixel = file["hu"].astype(np.float32), float(file["spacing_mm"][2])
    attenuation = np.where(volume < -900, 0, data.MU_WATER * (1 + volume / 1000))
    return np.maximum(attenuation, 0), pixel


def with_norm_one(A: ct.Parallel, size: float) -> ct.Parallel:
    """A beam of norm `size` in the unit of length that makes it one."""
    return core.replace(
        A, pixel=A.pixel / size, bin_pitch=A.bin_pitch / size, offset=A.offset / size
    )


def ct_scan(s: data.CTSimulation, photons: float, size: float) -> Scan:
    """A simulated scan in the module's units; `size` is the norm of its operator."""
    first = jnp.maximum(ct.fbp(s.operator, s.line_integrals, window="hann"), 0)
    return Scan(s.line_integrals / (BONE * size), s.weights / photons, first / BONE, s.truth / BONE)


def _filtered(A: LinearOperator, x: Scan, parameters: dict) -> Array:
    sharp, soft = (ct.fbp(A, x.data, window=w).astype(x.data.dtype) for w in ("ramp", "hann"))
    return sharp + parameters["hann"] * (soft - sharp)


FILTERED = Direct("FBP", _filtered, {"hann": (0.0, 0.25, 0.5, 0.75, 1.0)})


# --------------------------------------------------------------------------------------------- MRI


def cartesian_mri(folder: Path, sizes: Sizes, acceleration: int) -> Task:
    """8 coils, random lines; the studyforrest volume tunes."""
    fine = sizes.image * 3 // 2
    volume = studyforrest(folder)
    chosen = volume[evenly(190, 250, sizes.n_validation)]
    tune = [fourier_crop(squared(x), fine) / np.percentile(chosen, 99.9) for x in chosen]
    return brains_task((tune, pyradiomics_brains(folder, fine, sizes.n_test)), sizes, acceleration)


def brains_task(
    groups: tuple[list[np.ndarray], list[np.ndarray]],
    sizes: Sizes,
    acceleration: int,
    n_coils: int = N_COILS,
    sigma: float = MRI_NOISE,
    mask: Array | None = None,
) -> Task:
    """Scans of fine images, of which the first group validates and the second tests."""
    n = sizes.image
    lines = fixed_lines(n, acceleration) if mask is None else mask
    keys = jax.random.split(jax.random.key(3), (2, sizes.n_test))
    options: dict[str, Any] = {"shape": (n, n), "sigma": sigma, "mask": lines, "n_coils": n_coils}
    raw = [
        [data.simulate_mri(jnp.asarray(x), key=k, **options) for x, k in zip(group, ks)]
        for group, ks in zip(groups, keys)
    ]
    A = raw[0][0].operator
    size = known_norm(A)
    pairs = [[_mri_scan(A, s, size) for s in group] for group in raw]
    parts = [[scan for scan, _ in group] for group in pairs]
    scales = [scale for _, scale in pairs[0]]
    return Task(
        name=f"mri{acceleration}",
        title=f"MRI, {acceleration}x random lines, {n_coils} coils",
        operator=(1 / size) * A,
        noise=sigma / float(np.mean(scales)),
        validation=stacked(parts[0]),
        test=stacked(parts[1]),
        direct=Direct("zero-filled", _first, {}),
        n_iter=10,
        facts=(
            *raw[1][0].facts,
            "the maps are given; objects are Fourier-cropped to what the scanner measured",
        ),
    )


def fixed_lines(n: int, acceleration: int) -> Array:
    """The mask of the tasks."""
    return random_lines(jax.random.key(2), n, acceleration)


def random_lines(key: Array, n: int, acceleration: int) -> Array:
    """One row of n lines."""
    calibration = n // (2 * acceleration)
    return mri.random_lines_mask(key, (1, n), acceleration, calibration=calibration)


def _first(A: LinearOperator, x: Scan, parameters: dict) -> Array:
    return x.first


def _mri_scan(A: Any, s: data.MRISimulation, size: float) -> tuple[Scan, float]:
    """The scan, and the unit of its data."""
    first = A.H(s.kspace)
    scale = float(jnp.percentile(jnp.abs(first), 99.9))
    scan = Scan(s.kspace / (scale * size), None, first / scale, s.truth / scale)
    return scan, scale * size


def studyforrest(folder: Path) -> np.ndarray:
    """The volume, axial slices first."""
    with np.load(folder / "volumes/mr_t1_studyforrest.npz") as file:
        return file["img"].astype(np.float32)


def pyradiomics_brains(folder: Path, n: int, n_slices: int) -> list[np.ndarray]:
    """Slices n² of two patients, as many of each."""
    with np.load(folder / "volumes/mr_brain_pyradiomics.npz") as file:
        volumes = [file["brain1"], file["brain2"]]
    images = []
    for volume in volumes:
        top = np.percentile(volume, 99.9)
        chosen = evenly(4, len(volume) - 5, n_slices // 2)
        images += [fourier_crop(volume[z] / top, n) for z in chosen]
    return images


def squared(image: np.ndarray) -> np.ndarray:
    """An image with zeros at its shorter sides."""
    side = max(image.shape)
    margins = [((side - n) // 2, side - n - (side - n) // 2) for n in image.shape]
    return np.pad(image, margins)


def fourier_crop(image: np.ndarray, n: int) -> np.ndarray:
    """The magnitude of an image without the k-space beyond the central n × n."""
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))
    rows, columns = (slice(m // 2 - n // 2, m // 2 - n // 2 + n) for m in image.shape)
    scale = n**2 / image.size
    small = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(scale * kspace[rows, columns])))
    return np.abs(small).astype(np.float32)
