"""What a raw-data file comes to: a scan of its kind, and the one error that reading raises.

Plain frozen records of numpy arrays on the host. Axes, units and signs are the library's: line
integrals are dimensionless with axes (slice, view, bin), angles radians, lengths millimetres;
k-space is centred with axes (slice, coil, y, x), or (slice, coil, shot, sample) along a trajectory.
Every record carries, in words, what was
*understood* of the file, what had to be *assumed* because the file does not say, and what was
*repaired*.
"""

import dataclasses
import os
from typing import Literal, NoReturn

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64

Pathlike = str | os.PathLike[str]


class ScanError(ValueError):
    """A file that cannot be read or written as asked: one line naming the file and the field."""


def refuse(path: Pathlike, field: str | None, problem: str) -> NoReturn:
    """Raises `ScanError` with the project's one form: ``file: `field`: problem``."""
    where = f"{os.fspath(path)}: " + (f"`{field}`: " if field else "")
    raise ScanError(where + " ".join(problem.split()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CTScan:
    """A corrected CT scan, ready for a projector.

    Attributes:
      kind: "parallel" or "fan" (flat detector).
      line_integrals: minus log of the transmission; values without information are interpolated
        along the bins.
      weights: relative statistical weights (inverse variances, largest 1 in each slice); 0 where
        there is no information, so that a weighted method never sees the filled-in values.
      angles: view angles in radians, in the order of the views.
      bin_pitch: detector bin in mm, or None where the file does not say (see `pitch`).
      center: bin index (from 0, fractional) on which the rotation axis projects; None if unknown.
      source_origin: source to rotation axis in mm (fan only).
      origin_detector: rotation axis to detector in mm (fan only).
      slices: a name for each slice.
      understood: lines that say what was read.
      assumed: lines that say what the file does not, and what was taken instead.
      repaired: lines that count zero, negative, non-finite and dead values and say what was done.
    """

    kind: Literal["parallel", "fan"]
    line_integrals: Float32[np.ndarray, "slice view bin"]
    weights: Float32[np.ndarray, "slice view bin"]
    angles: Float64[np.ndarray, " view"]
    bin_pitch: float | None = None
    center: float | None = None
    source_origin: float | None = None
    origin_detector: float | None = None
    slices: tuple[str, ...]
    understood: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()

    @property
    def pitch(self) -> float:
        """`bin_pitch`, or 1 where it is unknown: lengths are then in bins, attenuation in 1/bin."""
        return 1.0 if self.bin_pitch is None else self.bin_pitch


@dataclasses.dataclass(frozen=True, kw_only=True)
class MRIScan:
    """A Cartesian MRI scan, ready for `jaxrecon.physics.mri`.

    Attributes:
      kspace: centred k-space; exactly 0 where `mask` is False.
      mask: which samples of (y, x) were acquired, for all slices and coils.
      maps: coil maps that came with the data, or None.
      recon_shape: (y, x) to which the image is to be cropped, or None for the k-space's own.
      slices: a name for each slice.
      understood: lines that say what was read.
      assumed: lines that say what the file does not, and what was taken instead.
      repaired: lines that count what was left out and why.
    """

    kspace: Complex64[np.ndarray, "slice coil y x"]
    mask: Bool[np.ndarray, "y x"]
    maps: Complex64[np.ndarray, "coil y x"] | None = None
    recon_shape: tuple[int, int] | None = None
    slices: tuple[str, ...]
    understood: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class NonCartesianScan:
    """An MRI scan along a trajectory: spirals, spokes, anything in the plane.

    Attributes:
      kspace: the samples, all finite.
      trajectory: (ky, kx) of the samples in cycles per pixel, within ±0.5: multiplied by an image's
        size they are the cycles per field of view of `jaxrecon.physics.mri`.
      density: the file's density compensation in a scale of its own, or None.
      maps: coil maps that came with the data, or None; their (y, x) is not checked here.
      shape: (y, x) of the image that the file asks for, or None.
      slices: a name for each slice.
      understood: lines that say what was read.
      assumed: lines that say what the file does not, and what was taken instead.
      repaired: lines that count what was left out and why.
    """

    kspace: Complex64[np.ndarray, "slice coil shot sample"]
    trajectory: Float32[np.ndarray, "shot sample 2"]
    density: Float32[np.ndarray, "shot sample"] | None = None
    maps: Complex64[np.ndarray, "coil y x"] | None = None
    shape: tuple[int, int] | None = None
    slices: tuple[str, ...]
    understood: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()


Scan = CTScan | MRIScan | NonCartesianScan
