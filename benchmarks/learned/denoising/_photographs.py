"""Photographs to train denoisers on and to judge them by: BSD400, BSD68, Set12, grey, in [0, 1]."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

N_VALIDATION = 20


def training_images(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """BSD400's 180² crops in two parts: to train on, and to choose by; the same for every seed."""
    with np.load(folder / "bsd400_180.npz") as file:
        images = file["img"]
    order = np.random.default_rng(0).permutation(len(images))
    return images[order[N_VALIDATION:]], unit(images[order[:N_VALIDATION]])


def test_images(folder: Path) -> dict[str, list[np.ndarray]]:
    """The standard test sets by name. BSD68 stands upright or lies: all 321 × 481."""
    with np.load(folder / "set12.npz") as file:
        set12 = [unit(file[name]) for name in sorted(file.files)]
    with np.load(folder / "bsd68.npz") as file:
        bsd68 = [unit(image) for image in file["img"]]
    return {"Set12": set12, "BSD68": bsd68}


def patches(images: np.ndarray, size: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Endless batches of square patches, flipped and turned at random."""
    rng = np.random.default_rng(seed)
    places = np.asarray(images.shape[1:]) - size + 1
    while True:
        drawn = []
        for i in rng.integers(len(images), size=batch):
            y, x = rng.integers(places)
            patch = np.rot90(images[i, y : y + size, x : x + size], rng.integers(4))
            drawn.append(patch[:, ::-1] if rng.integers(2) else patch)
        yield unit(np.stack(drawn))


def noisy(image: np.ndarray, sigma: float, i: int) -> np.ndarray:
    """The i-th test image with noise that depends on its place and on sigma alone."""
    rng = np.random.default_rng(1000 * round(255 * sigma) + i)
    return image + np.float32(sigma) * rng.standard_normal(image.shape, np.float32)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """In dB, of range 1; nothing is clipped or rounded."""
    return float(-10 * np.log10(np.mean((np.asarray(image) - truth) ** 2)))


def unit(image: np.ndarray) -> np.ndarray:
    """8-bit values as [0, 1]."""
    return image.astype(np.float32) / 255
