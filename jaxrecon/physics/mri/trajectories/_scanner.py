"""What a scanner and a protocol allow: field of view, gradient amplitude, slew rate, dwell time.

Units, here and in the whole package: lengths in mm, gradients in mT/m, slew rates in T/m/s (the
same number in mT/m/ms), times in seconds, γ/2π in Hz/T. k-space coordinates are cycles per field
of view, so that a coordinate k_d along an axis with field of view L_d is k_d/L_d cycles per mm.
"""

import math
from typing import Any

import numpy as np
from jax.core import Tracer

from jaxrecon.core import pytree, static

__all__ = ["GYROMAGNETIC_RATIO", "Scanner", "scanner"]

_PROTON = 42.577478461e6
"""γ/2π of the proton in Hz/T, CODATA 2022."""

GYROMAGNETIC_RATIO = {
    "1H": _PROTON,
    "2H": 0.15350609 * _PROTON,
    "3He": 0.76179437 * _PROTON,
    "7Li": 0.38863797 * _PROTON,
    "13C": 0.25145020 * _PROTON,
    "17O": 0.13556457 * _PROTON,
    "19F": 0.94094011 * _PROTON,
    "23Na": 0.26451900 * _PROTON,
    "31P": 0.40480742 * _PROTON,
    "129Xe": 0.27810186 * _PROTON,
}
"""|γ|/2π in Hz/T. Ratios to the proton: Harris et al., "NMR nomenclature. Nuclear spin properties
and conventions for chemical shifts", Pure Appl. Chem. 73 (2001). The sign (negative for 3He, 17O
and 129Xe) only reverses the gradients and is left out."""


@pytree
class Scanner:
    """Limits of the gradient system and the scales that turn k-space into gradients.

    Build one with `scanner`, which checks the values. Everything but the nucleus is data: one may
    differentiate with respect to it and batch over it.

    Attributes:
        fov: field of view in mm, one number or one for each axis in the image's order, (y, x) or
            (z, y, x).
        gmax: largest gradient amplitude in mT/m.
        smax: largest slew rate in T/m/s.
        dwell: time from one sample to the next in seconds. Gradients are judged on this raster.
        nucleus: a key of `GYROMAGNETIC_RATIO`.
    """

    fov: Any
    gmax: Any
    smax: Any
    dwell: Any
    nucleus: str = static(default="1H")

    @property
    def gamma(self) -> float:
        """|γ|/2π in Hz/T."""
        return GYROMAGNETIC_RATIO[self.nucleus]


def scanner(
    *,
    fov: int | float | tuple[int | float, ...],
    gmax: int | float,
    smax: int | float,
    dwell: int | float,
    nucleus: str = "1H",
) -> Scanner:
    """A scanner's limits.

    Args:
        fov: field of view in mm, one number or one for each axis in the image's order.
        gmax: largest gradient amplitude in mT/m. Where trajectories are rotated freely, that of
            one axis.
        smax: largest slew rate in T/m/s.
        dwell: time between samples in seconds, for example 4e-6.
        nucleus: a key of `GYROMAGNETIC_RATIO`.

    Returns:
        The limits.

    Raises:
        ValueError: a value is not positive and finite, `dwell` is not in seconds, or the nucleus is
            unknown.

    Example:
        >>> scanner(fov=240, gmax=40, smax=150, dwell=4e-6)
        Scanner(fov=240.0, gmax=40.0, smax=150.0, dwell=4e-06, nucleus='1H')
    """
    lengths = tuple(_positive("fov", f) for f in (fov if isinstance(fov, tuple) else (fov,)))
    if nucleus not in GYROMAGNETIC_RATIO:
        raise ValueError(
            f"`nucleus` is {nucleus!r}, expected one of {', '.join(GYROMAGNETIC_RATIO)}"
        )
    if _positive("dwell", dwell) > 0.01:
        raise ValueError(f"`dwell` is {dwell} s, expected seconds: pass {dwell}e-6 for {dwell} µs")
    return Scanner(
        fov=lengths if isinstance(fov, tuple) else lengths[0],
        gmax=_positive("gmax", gmax),
        smax=_positive("smax", smax),
        dwell=float(dwell),
        nucleus=nucleus,
    )


def _positive(name: str, value: Any) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` is {value}, expected a positive number")
    return float(value)


def field_of_view(scanner: Scanner, n_axes: int) -> tuple[Any, ...]:
    """The field of view along each of `n_axes` axes, in mm.

    Raises:
        ValueError: the scanner has another number of axes.
    """
    lengths = scanner.fov if isinstance(scanner.fov, tuple) else (scanner.fov,) * n_axes
    if len(lengths) != n_axes:
        raise ValueError(
            f"`scanner.fov` has {len(lengths)} values, but k-space has {n_axes} axes: pass one "
            "number, or one for each axis in the image's order"
        )
    return lengths


def image_sizes(shape: Any, n_axes: int) -> tuple[int, ...]:
    """The pixels along each axis, from one number or one for each.

    Raises:
        ValueError: another number of axes, or sizes that are not positive integers.
    """
    sizes = tuple(shape) if np.ndim(shape) else (shape,) * n_axes
    if len(sizes) != n_axes or any(int(n) != n or n < 1 for n in sizes):
        raise ValueError(f"`shape` is {shape}, expected {n_axes} positive integers or one")
    return tuple(int(n) for n in sizes)


def require_concrete(scanner: Scanner) -> None:
    """Refuses a traced scanner.

    Raises:
        ValueError: a value is traced.
    """
    lengths = scanner.fov if isinstance(scanner.fov, tuple) else (scanner.fov,)
    if any(isinstance(v, Tracer) for v in (*lengths, scanner.gmax, scanner.smax, scanner.dwell)):
        raise ValueError(
            "`scanner` is traced, but its values decide how many samples the trajectory has: "
            "design it outside jit, grad and vmap"
        )


def pixel_size(scanner: Scanner, shape: tuple[int, ...]) -> float:
    """The side of the square or cubic pixels in mm.

    Raises:
        ValueError: pixels that are not isotropic, or a traced scanner.
    """
    require_concrete(scanner)
    sides = [length / n for length, n in zip(field_of_view(scanner, len(shape)), shape)]
    if max(sides) > min(sides) * (1 + 1e-6):
        raise ValueError(
            f"`shape` {shape} and `scanner.fov` {scanner.fov} mm make pixels of {sides} mm, "
            "expected the same along every axis: pass one fov for each axis, as a tuple"
        )
    return float(sides[0])
