"""Spirals from the centre out, Archimedean or of variable density.

In cycles per field of view L (the largest one if the image is not square) and with ρ = r/r_max, an
interleave of n winds as

    dθ/dr = 2π / (n R(ρ)),     R(ρ) = R_0 + (R_1 − R_0) ρ^p                                  (1)

so that neighbouring arms of all interleaves lie R(ρ) cycles per field of view apart: R = 1 is the
Nyquist distance (an Archimedean spiral), R > 1 undersamples. It ends at r_max = N/2. Time along it
is the shortest that the limits allow, see `time_optimal`.

Sources: Glover, "Simple analytic spiral k-space algorithm", MRM 42 (1999); Kim, Adalsteinsson and
Spielman, "Simple analytic variable density spiral design", MRM 50 (2003); Hargreaves' `vds`, whose
field of view is L/R(ρ).
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.core import replace
from jaxrecon.physics.mri.trajectories._angles import Order, shot_angles
from jaxrecon.physics.mri.trajectories._scanner import Scanner, image_sizes, pixel_size
from jaxrecon.physics.mri.trajectories._time_optimal import Curve, n_intervals, plan_timing, play

__all__ = ["spiral"]


def spiral(
    n_interleaves: int,
    shape: int | tuple[int, int],
    scanner: Scanner,
    *,
    acceleration: int | float | tuple[int | float, int | float] = 1.0,
    power: int | float = 1.0,
    order: Order = "uniform",
    tiny: int = 7,
    start: int | float = 0.0,
    n_shots: int | None = None,
) -> Float[Array, "shot sample 2"]:
    """Interleaved spirals under gradient and slew limits, from rest at k = 0 to the edge.

    Runs on the host in double precision (the number of samples depends on the limits), so not
    traceable. The limits hold from the first sample on and for any rotation.

    Args:
        n_interleaves: the interleaves that together are spaced by equation (1).
        shape: pixels of the image, (y, x) or one number; they must be square.
        scanner: the limits, field of view, dwell time and nucleus.
        acceleration: undersampling R; a pair is R_0 at the centre and R_1 at the edge.
        power: p, how long the density of the centre lasts; from 1.
        order: angles of the interleaves over the full circle; see `shot_angles`.
        tiny: the index of the tiny golden angle.
        start: angle of the first interleave in radians.
        n_shots: how many interleaves to play, `n_interleaves` by default; more or fewer with golden
            order.

    Returns:
        (ky, kx) in cycles per field of view, on the raster of the dwell time.

    Raises:
        ValueError: an option out of range, pixels that are not square, or a traced scanner.

    Example:
        >>> from jaxrecon.physics.mri.trajectories import check_limits, scanner
        >>> system = scanner(fov=240, gmax=40, smax=150, dwell=4e-6)
        >>> k = spiral(16, 256, system)
        >>> k.shape, round(float(jnp.linalg.norm(k[0, -1])), 3)
        ((16, 2469, 2), 128.0)
        >>> check_limits(k, system).ok
        True
    """
    sizes = image_sizes(shape, 2)
    side = pixel_size(scanner, sizes)
    if n_interleaves < 1:
        raise ValueError(f"`n_interleaves` is {n_interleaves}, expected at least one")
    pair = acceleration if isinstance(acceleration, tuple) else (acceleration, acceleration)
    curve = _arm(max(sizes) / 2, n_interleaves, _density(pair, power))
    plan = plan_timing(curve, replace(scanner, fov=side * max(sizes)))
    arm = play(plan, n_intervals(plan, scanner))
    n_shots = n_interleaves if n_shots is None else n_shots
    angles = shot_angles(n_shots, order=order, tiny=tiny, span=2 * math.pi)
    turned = rotate(arm, np.asarray(angles, np.float64) + start)
    return jnp.asarray(turned * (np.asarray(sizes) / max(sizes)))


def rotate(
    arm: Float[np.ndarray, "sample axis"], angles: Float[np.ndarray, " shot"]
) -> Float[np.ndarray, "shot sample axis"]:
    """A shot turned by each angle, x towards y; z, if any, stays."""
    *z, y, x = np.moveaxis(arm, -1, 0)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    still = [np.broadcast_to(line, (len(angles), len(arm))) for line in z]
    return np.stack([*still, cos * y + sin * x, cos * x - sin * y], axis=-1)


def _density(ends: tuple[int | float, int | float], power: int | float):
    """R(ρ), the distance between neighbouring arms in cycles per field of view."""
    if min(ends) <= 0 or not all(map(math.isfinite, ends)):
        raise ValueError(f"`acceleration` is {ends}, expected positive numbers")
    if not power >= 1:
        raise ValueError(f"`power` is {power}, expected at least 1")
    return lambda rho: ends[0] + (ends[1] - ends[0]) * rho**power


def _arm(r_max: float, n_interleaves: int, density) -> Curve:
    """One interleave; the integral of equation (1) by Gauss and Legendre's rule."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    nodes, weights = (nodes + 1) / 2, weights / 2

    def curve(u):
        mean = sum(w / density(x * u) for x, w in zip(nodes, weights))
        angle = 2 * math.pi / n_interleaves * r_max * u * mean
        return (r_max * u)[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=-1)

    return curve
