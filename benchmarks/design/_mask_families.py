"""Masks of few parameters, tuned, for `masks.py`: equispaced, variable density, Poisson disc.

All have just `budget` positions, the calibration region among them. A kind is "1D", lines `(1, n)`,
or "2D", points `(n, n)`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxrecon.physics import mri

CALIBRATION = {("1D", 4): (5, 7, 10), ("1D", 8): (4, 5, 6)}
CALIBRATION |= {("2D", 4): (8, 12, 16), ("2D", 8): (6, 10, 14)}
LATTICES = ((1, 2, 0), (2, 2, 1), (1, 3, 0), (2, 3, 1), (2, 4, 2))
COVERED = (0.4, 0.55, 0.75, 1.0)  # by equispaced lines
POWERS = (2.0, 4.0, 7.0)
RATIOS = (1.0, 2.5, 5.0)
N_DRAWS = 3


class Mask(NamedTuple):
    """A mask, the side of its calibration region, and where it comes from."""

    values: Array
    calibration: int
    parameter: float | tuple


class Kind(NamedTuple):
    """Lines or points, and how many of them."""

    name: str  # "1D" or "2D"
    acceleration: int
    n: int

    @property
    def shape(self) -> tuple[int, int]:
        """Of a mask."""
        return (1 if self.name == "1D" else self.n, self.n)

    @property
    def budget(self) -> int:
        """Positions."""
        return self.shape[0] * self.n // self.acceleration

    @property
    def sides(self) -> tuple[int, ...]:
        """Of calibration regions to choose from."""
        found = CALIBRATION[self.name, self.acceleration]
        return tuple(c for c in found if np.prod(self.square(c)) < self.budget)

    def square(self, side: int) -> tuple[int, int]:
        """The calibration region of a mask."""
        return (1, side) if self.name == "1D" else (side, side)

    def centre(self, side: int) -> np.ndarray:
        """The same as a mask."""
        mask = np.zeros(self.shape, bool)
        mri.central_region(mask, self.square(side))[:] = True
        return mask

    def region(self, side: int) -> tuple[int, int]:
        """The samples that maps are estimated from: of lines, the middle."""
        return (min(24, self.n), side) if self.name == "1D" else (side, side)


def best(family: str, kind: Kind, score: Callable[[Mask], float], key: Array) -> Mask:
    """Of all parameters, then of some draws with these."""
    keys = jax.random.split(key, N_DRAWS)
    first = max(FAMILIES[family](kind, keys[0]), key=score)
    others = [
        mask
        for k in (keys[1:] if family in DRAWN else ())
        for mask in FAMILIES[family](kind, k)
        if mask[1:] == first[1:]
    ]
    return max([first, *others], key=score)


def equispaced(kind: Kind, key: Array) -> Iterator[Mask]:
    """Lines over a part of k-space; lattices, the samples next to the centre of k-space."""
    del key
    for side in kind.sides:
        if kind.name == "1D":
            found = {covered: spread(kind, side, covered) for covered in COVERED}
        else:
            found = {lattice: cut(kind, side, lattice) for lattice in LATTICES}
        for parameter, mask in found.items():
            if mask.sum() == kind.budget:
                yield Mask(jnp.asarray(mask), side, parameter)


def spread(kind: Kind, side: int, covered: float) -> np.ndarray:
    """Equal gaps on both sides of the calibration lines, as nearly as they go."""
    mask = kind.centre(side)
    outside = np.flatnonzero(~mask[0] & (distance(kind)[0] <= covered))
    places = (np.arange(kind.budget - side) + 0.5) * len(outside) / max(kind.budget - side, 1)
    mask[0, outside[places.astype(int)]] = True
    return mask


def cut(kind: Kind, side: int, lattice: tuple[int, int, int]) -> np.ndarray:
    """The innermost samples of a lattice."""
    *spacing, shift = lattice
    regular = mri.lattice_mask(kind.shape, tuple(spacing), shift=shift, calibration=0)
    always = kind.centre(side)
    order = np.where(always, -1.0, np.where(np.asarray(regular), distance(kind), np.inf))
    chosen = np.argsort(order, axis=None, kind="stable")[: kind.budget]
    mask = np.zeros(kind.shape, bool)
    mask.flat[chosen] = np.isfinite(order.flat[chosen])
    return mask


def variable_density(kind: Kind, key: Array) -> Iterator[Mask]:
    """Random, of density (1 − ρ)^power."""
    for side in kind.sides:
        for power in POWERS:
            draw = mri.random_lines_mask if kind.name == "1D" else mri.random_mask
            mask = draw(key, kind.shape, kind.acceleration, calibration=side, power=power)
            yield Mask(mask, side, power)


def poisson(kind: Kind, key: Array) -> Iterator[Mask]:
    """Poisson discs, which grow outwards."""
    for side in kind.sides:
        for ratio in RATIOS:
            options = {"calibration": kind.square(side), "ratio": ratio}
            mask = mri.poisson_disc_mask(key, kind.shape, kind.acceleration, **options)
            yield Mask(mask, side, ratio)


def distance(kind: Kind) -> np.ndarray:
    """From the centre of k-space, in halves of its width; x is sampled always."""
    axes = [(np.arange(n) - n // 2) / max(n / 2, 1) for n in kind.shape]
    return np.hypot(axes[0][:, None], axes[1])


FAMILIES = {"equispaced": equispaced, "variable density": variable_density, "Poisson disc": poisson}
DRAWN = ("variable density", "Poisson disc")
