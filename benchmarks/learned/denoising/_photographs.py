"""Photographs to train denoisers on and to judge them by: BSD400, BSD68, Set12, grey, in [0, 1]."""

import dataclasses
from pathlib import Path
from typing import SupportsIndex

import numpy as np

N_VALIDATION, CROP = 20, 128


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


@dataclasses.dataclass(frozen=True)
class Patches:
    """Square patches of photographs, flipped and turned: a source of ``{"image": patch}``.

    The same place gives the same patch, whoever reads it and when.
    """

    images: np.ndarray
    side: int
    seed: int
    n: int = 2**20

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.seed, int(index)))
        image = self.images[rng.integers(len(self.images))]
        y, x = rng.integers(np.asarray(image.shape) - self.side + 1)
        patch = np.rot90(image[y : y + self.side, x : x + self.side], rng.integers(4))
        return {"image": unit(patch[:, ::-1] if rng.integers(2) else patch)}


def middles(images: np.ndarray) -> np.ndarray:
    """The middle of each photograph."""
    top, left = ((n - CROP) // 2 for n in images.shape[1:])
    return images[:, top : top + CROP, left : left + CROP]


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
