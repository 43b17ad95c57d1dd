"""Radial trajectories in space, the "kooshball".

Spokes through the centre cover the half sphere of directions with kz ≥ 0, half spokes from the
centre all of it. The polar axis is z: with height h = cos(polar angle) and azimuth α,
(kz, ky, kx) = (h, √(1−h²) sin α, √(1−h²) cos α). Both orders sample directions uniformly: h is
uniform, as Archimedes' hat box theorem asks.

"golden-means": the two-dimensional golden means, any number of consecutive spokes nearly uniform,

    h_m = {m φ_1},  α_m = 2π {m φ_2},  φ_2³ + φ_2 = 1,  φ_1 = φ_2²  (0.6823, 0.4656)           (1)

Source: Chan et al., "Temporal stability of adaptive 3D radial MRI using multidimensional golden
means", MRM 61 (2009).

"spiral-phyllotaxis": from the pole to the equator (to the other pole, for half spokes),

    1 − h_m = (m + ½)/n,   α_m = 2π m (1 − 1/φ)  (137.508° each)                               (2)

played as interleaves of every `n_interleaves`-th spoke, which go smoothly from pole to equator if
that is a Fibonacci number. Source: Piccini et al., "Spiral phyllotaxis: the natural way to
construct a 3D radial trajectory in MRI", MRM 66 (2011). They take the polar angle ∝ √m, which
samples the equator 1.6 times as densely as the pole; (2) is uniform.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.physics.mri.trajectories._angles import GOLDEN_RATIO
from jaxrecon.physics.mri.trajectories._radial import Readout, along

__all__ = ["koosh"]

# The real root of x³ + x = 1.
_MEAN = float(np.cbrt(0.5 + np.sqrt(31 / 108)) + np.cbrt(0.5 - np.sqrt(31 / 108)))


def koosh(
    n_spokes: int,
    n_samples: int,
    shape: int | tuple[int, int, int],
    *,
    order: Literal["golden-means", "spiral-phyllotaxis"] = "golden-means",
    n_interleaves: int = 1,
    readout: Readout = "centred",
    first: int = 0,
) -> Float[Array, "shot sample 3"]:
    """Spokes in space, their directions uniform on the sphere.

    Args:
        n_spokes: number of spokes.
        n_samples: samples in each.
        shape: voxels of the image, (z, y, x) or one number.
        order: "golden-means" or "spiral-phyllotaxis".
        n_interleaves: for "spiral-phyllotaxis", the number of interleaves, a divisor of
            `n_spokes`; best a Fibonacci number. The spokes of an interleave follow each other.
        readout: where samples lie: "centred", "symmetric" or "centre-out".
        first: for "golden-means", index of the first spoke, for a later frame.

    Returns:
        (kz, ky, kx) in cycles per field of view.

    Raises:
        ValueError: an unknown option, or a number out of range.

    Example:
        >>> k = koosh(100, 32, 32, readout="centre-out")
        >>> k.shape, bool((jnp.linalg.norm(k, axis=-1) < 16).all())
        ((100, 32, 3), True)
    """
    if n_spokes < 1:
        raise ValueError(f"`n_spokes` is {n_spokes}, expected at least one spoke")
    match order:
        case "golden-means":
            height, turns = _golden_means(n_spokes, first)
        case "spiral-phyllotaxis":
            height, turns = _phyllotaxis(n_spokes, n_interleaves)
        case _:
            raise ValueError(
                f"`order` is {order!r}, expected 'golden-means' or 'spiral-phyllotaxis'"
            )
    height = 2 * height - 1 if readout == "centre-out" else height
    radius, azimuth = np.sqrt(1 - height**2), 2 * np.pi * turns
    directions = np.stack([height, radius * np.sin(azimuth), radius * np.cos(azimuth)], axis=-1)
    return along(jnp.asarray(directions), n_samples, shape, readout)


def _golden_means(n_spokes: int, first: int):
    index = first + np.arange(n_spokes)
    return (index * _MEAN**2) % 1, (index * _MEAN) % 1


def _phyllotaxis(n_spokes: int, n_interleaves: int):
    if n_interleaves < 1 or n_spokes % n_interleaves:
        raise ValueError(
            f"`n_interleaves` is {n_interleaves}, expected a divisor of `n_spokes` {n_spokes}"
        )
    index = np.arange(n_spokes).reshape(-1, n_interleaves).T.reshape(-1)
    return 1 - (index + 0.5) / n_spokes, (index * (1 - 1 / GOLDEN_RATIO)) % 1
