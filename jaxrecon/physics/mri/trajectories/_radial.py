"""Radial trajectories in the plane and as a stack of stars.

A spoke at angle θ runs along (kx, ky) = (cos θ, sin θ), as the detector of a CT view at θ does. Its
samples, in cycles per field of view along an axis with N pixels, are evenly spaced by Δ = N/n for
n samples:

    readout         position of sample i        reaches
    "centred"       (i − n//2) Δ                −N/2 ... N/2 − Δ (n even); k = 0 is sampled
    "symmetric"     (i − (n−1)/2) Δ             ±(N − Δ)/2; k = 0 is not sampled if n is even
    "centre-out"    i Δ/2                       0 ... N/2 − Δ/2; half a spoke from k = 0

"centred" is the readout of a Cartesian line and of the FFT; twice oversampled means n = 2N. Where
the image is not square its pixels are, so spokes end on an ellipse with half axes N_d/2.

BART's `traj -r` is `radial(..., readout="symmetric", start=π/2, span=-π)`, its `-G` adds
order="golden", its `-s7` order="tiny-golden": it turns clockwise from 90°.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.physics.mri.trajectories._angles import GOLDEN_RATIO, Order, shot_angles
from jaxrecon.physics.mri.trajectories._scanner import image_sizes

__all__ = ["Readout", "radial", "spokes", "stack_of_stars"]

Readout = Literal["centred", "symmetric", "centre-out"]
"""Where the samples of a spoke lie."""


def radial(
    n_spokes: int,
    n_samples: int,
    shape: int | tuple[int, int],
    *,
    order: Order = "uniform",
    tiny: int = 7,
    readout: Readout = "centred",
    span: int | float | None = None,
    start: int | float | Float[Array, ""] = 0.0,
    first: int = 0,
) -> Float[Array, "shot sample 2"]:
    """Spokes in the plane.

    Args:
        n_spokes: number of spokes.
        n_samples: samples in each.
        shape: pixels of the image, (y, x) or one number.
        order: "uniform", "golden" or "tiny-golden"; see `shot_angles`.
        tiny: the index of the tiny golden angle.
        readout: where samples lie: "centred", "symmetric" or "centre-out".
        span: range of angles in radians; π by default, 2π for half spokes from the centre.
        start: angle of the first spoke; differentiable.
        first: index of the first spoke, for a later frame of one golden-angle scan.

    Returns:
        (ky, kx) in cycles per field of view.

    Raises:
        ValueError: an unknown option, or a number out of range.

    Example:
        >>> radial(2, 4, 8)[0, :, 1].tolist()
        [-4.0, -2.0, 0.0, 2.0]
    """
    span = _default_span(span, readout)
    angles = shot_angles(n_spokes, order=order, tiny=tiny, span=span, start=start, first=first)
    return spokes(angles, n_samples, shape, readout=readout)


def spokes(
    angles: Float[Array, " shot"],
    n_samples: int,
    shape: int | tuple[int, int],
    *,
    readout: Readout = "centred",
) -> Float[Array, "shot sample 2"]:
    """Spokes at given angles, differentiable in them.

    Args:
        angles: in radians; see the module's text for the direction.
        n_samples: samples in each spoke.
        shape: pixels of the image, (y, x) or one number.
        readout: where samples lie: "centred", "symmetric" or "centre-out".

    Returns:
        (ky, kx) in cycles per field of view.

    Raises:
        ValueError: an unknown readout, or a size below one.

    Example:
        >>> spokes(jnp.array([jnp.pi / 2]), 3, (6, 8), readout="symmetric")[0, :, 0].tolist()
        [-2.0, 0.0, 2.0]
    """
    return along(jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1), n_samples, shape, readout)


def stack_of_stars(
    n_spokes: int,
    n_samples: int,
    shape: tuple[int, int, int],
    *,
    order: Order = "uniform",
    tiny: int = 7,
    rotation: Literal["none", "golden"] = "none",
    partitions: Sequence[int] | None = None,
    readout: Readout = "centred",
    span: int | float | None = None,
    start: int | float | Float[Array, ""] = 0.0,
    first: int = 0,
) -> Float[Array, "shot sample 3"]:
    """Spokes in the plane, on a Cartesian grid along z.

    Rotation "golden" turns partition p against the first by p/φ times the angular gap span/n_spokes
    (φ the golden ratio), so that undersampled partitions fill each other's gaps: Zhou et al.,
    "Golden-ratio rotated stack-of-stars acquisition for improved volumetric MRI", MRM 78 (2017).

    Args:
        n_spokes: spokes in each partition.
        n_samples: samples in each spoke.
        shape: voxels of the image, (z, y, x).
        order: of the spokes in a partition; see `shot_angles`.
        tiny: the index of the tiny golden angle.
        rotation: "none" (all partitions alike) or "golden".
        partitions: indices from 0 to Nz − 1 of the partitions sampled, all by default; index Nz//2
            is kz = 0.
        readout: where samples lie in a spoke.
        span: range of angles in radians.
        start: angle of the first spoke; differentiable.
        first: index of the first spoke in each partition.

    Returns:
        (kz, ky, kx) in cycles per field of view; the shots of a partition follow each other:
        `.reshape(n_partitions, n_spokes, n_samples, 3)`.

    Raises:
        ValueError: an unknown option, or a number out of range.

    Example:
        >>> stack_of_stars(5, 16, (4, 16, 16)).shape
        (20, 16, 3)
    """
    n_partitions, height, width = image_sizes(shape, 3)
    index = np.arange(n_partitions) if partitions is None else np.asarray(partitions)
    if index.size == 0 or index.min() < 0 or index.max() >= n_partitions:
        raise ValueError(
            f"`partitions` is {partitions}, expected indices from 0 to {n_partitions - 1}"
        )
    if rotation not in ("none", "golden"):
        raise ValueError(f"`rotation` is {rotation!r}, expected 'none' or 'golden'")
    span = _default_span(span, readout)
    turn = span / n_spokes * ((index / GOLDEN_RATIO) % 1) * (rotation == "golden")
    angles = shot_angles(n_spokes, order=order, tiny=tiny, span=span, start=start, first=first)
    angles = (jnp.asarray(turn)[:, None] + angles[None]).reshape(-1)
    plane = spokes(angles, n_samples, (height, width), readout=readout)
    kz = jnp.asarray(np.repeat(index - n_partitions // 2, n_spokes), plane.dtype)
    kz = jnp.broadcast_to(kz[:, None, None], (*plane.shape[:2], 1))
    return jnp.concatenate([kz, plane], axis=-1)


def along(
    directions: Float[Array, "shot axis"],
    n_samples: int,
    shape: int | tuple[int, ...],
    readout: Readout,
) -> Float[Array, "shot sample axis"]:
    """Straight readouts along unit vectors."""
    sizes = image_sizes(shape, directions.shape[1])
    position = jnp.asarray(_positions(n_samples, readout), directions.dtype)
    ends = directions * jnp.asarray(sizes, directions.dtype)[None]
    return position[None, :, None] * ends[:, None]


def _positions(n: int, readout: str) -> Float[np.ndarray, " sample"]:
    """Positions along a spoke in units of N."""
    if n < 1:
        raise ValueError(f"`n_samples` is {n}, expected at least one sample")
    match readout:
        case "centred":
            return (np.arange(n) - n // 2) / n
        case "symmetric":
            return (np.arange(n) - (n - 1) / 2) / n
        case "centre-out":
            return np.arange(n) / (2 * n)
    raise ValueError(f"`readout` is {readout!r}, expected 'centred', 'symmetric' or 'centre-out'")


def _default_span(span: int | float | None, readout: str) -> float:
    if span is None:
        return 2 * math.pi if readout == "centre-out" else math.pi
    return float(span)
