"""Angles of spokes and interleaves: uniform, golden, tiny golden.

With span S (π for spokes through the centre, 2π for shots that start there) and the golden ratio
φ = (1 + √5)/2, angle i of n is

    uniform         i S / n                                                        (1)
    golden          i ψ_1,     ψ_N = S / (φ + N − 1)                               (2)
    tiny golden     i ψ_N,     N = `tiny`

so ψ_1 = 111.246° for spokes (S = π) and 222.492° ≡ −137.508° for S = 2π; ψ_7 = 23.628°. Angles are
reduced modulo a full circle, not modulo S: with golden order the spokes change direction as they
do on the scanner. Only where S is less than half a circle (a limited-angle scan) are golden angles
reduced modulo S.

Sources: Winkelmann et al., "An optimal radial profile order based on the golden ratio for
time-resolved MRI", IEEE Trans. Med. Imaging 26 (2007); Wundrak et al., "Golden ratio sparse MRI
using tiny golden angles", MRM 75 (2016).
"""

import math
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["Order", "golden_angle", "shot_angles"]

Order = Literal["uniform", "golden", "tiny-golden"]
"""How angles follow each other."""

GOLDEN_RATIO = (1 + math.sqrt(5)) / 2


def golden_angle(tiny: int = 1, *, span: int | float = math.pi) -> float:
    """The golden angle (N = 1) or a tiny golden angle, equation (2), in radians.

    Args:
        tiny: the index N, from 1.
        span: π for spokes through the centre, 2π for shots that start there.

    Returns:
        ψ_N.

    Raises:
        ValueError: the index is below 1.

    Example:
        >>> [round(math.degrees(golden_angle(n)), 3) for n in (1, 2, 7)]
        [111.246, 68.754, 23.628]
    """
    if tiny < 1:
        raise ValueError(f"`tiny` is {tiny}, expected an index from 1 (the golden angle)")
    return span / (GOLDEN_RATIO + tiny - 1)


def shot_angles(
    n_shots: int,
    *,
    order: Order = "uniform",
    tiny: int = 7,
    span: int | float = math.pi,
    start: int | float | Float[Array, ""] = 0.0,
    first: int = 0,
) -> Float[Array, " shot"]:
    """Angles of consecutive spokes or interleaves, equations (1) and (2), in radians.

    Args:
        n_shots: how many.
        order: "uniform", "golden" or "tiny-golden".
        tiny: the index N of the tiny golden angle.
        span: the range S of angles; π, 2π, or less for a partial angle. Negative turns the other
            way.
        start: the first angle; may be traced, and differentiable.
        first: index of the first shot, for a later frame of one golden-angle scan.

    Returns:
        The angles: x towards y.

    Raises:
        ValueError: an unknown order, no shots, or an index or span out of range.

    Example:
        >>> jnp.degrees(shot_angles(3, order="golden")).round().tolist()
        [0.0, 111.0, 222.0]
    """
    if n_shots < 1:
        raise ValueError(f"`n_shots` is {n_shots}, expected at least one shot")
    if not 0 < abs(span) <= 2 * math.pi * (1 + 1e-12):
        raise ValueError(f"`span` is {span}, expected radians, at most a full circle and not zero")
    # In double precision on the host: i ψ loses its angle in float32 after some thousand shots.
    index = first + np.arange(n_shots)
    match order:
        case "uniform":
            angles = index * (span / n_shots)
        case "golden" | "tiny-golden":
            step = golden_angle(tiny if order == "tiny-golden" else 1, span=span)
            limited = abs(span) < math.pi * (1 - 1e-12)
            angles = np.fmod(index * step, span if limited else 2 * math.pi)
        case _:
            raise ValueError(f"`order` is {order!r}, expected 'uniform', 'golden' or 'tiny-golden'")
    return jnp.asarray(angles) + start
