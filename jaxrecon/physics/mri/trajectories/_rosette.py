"""Rosettes: petals through the centre of k-space.

A shot of P petals is, with φ from 0 to π P and the frequency ratio q = ω_2/ω_1,

    k(φ) = (N/2) sin φ · exp(i q φ)      (real part kx, imaginary part ky)                   (1)

Petal j points to the angle π (q (j + ½) + j). By default q = 1 − 2/P: consecutive petals are
neighbours, the P petals are evenly spaced and the curve closes. Noll's rosettes have constant
frequencies; here the same curve is traversed in the shortest time from rest, see `time_optimal`,
so that it crosses the centre quickly.

Source: Noll, "Multishot rosette trajectories for spectrally selective MR imaging", IEEE Trans. Med.
Imaging 16 (1997).
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.core import replace
from jaxrecon.physics.mri.trajectories._scanner import Scanner, image_sizes, pixel_size
from jaxrecon.physics.mri.trajectories._spiral import rotate
from jaxrecon.physics.mri.trajectories._time_optimal import Curve, n_intervals, plan_timing, play

__all__ = ["rosette"]


def rosette(
    n_shots: int,
    n_petals: int,
    shape: int | tuple[int, int],
    scanner: Scanner,
    *,
    frequency_ratio: int | float | None = None,
    ends_at_rest: bool = False,
) -> Float[Array, "shot sample 2"]:
    """Rosettes under gradient and slew limits, from rest at k = 0, back to k = 0.

    Runs on the host in double precision, so not traceable. The limits hold from the first sample on
    and for any rotation.

    Args:
        n_shots: number of shots, turned so that all petals are evenly spaced.
        n_petals: petals of each shot, at least three.
        shape: pixels of the image, (y, x) or one number; they must be square.
        scanner: the limits, field of view, dwell time and nucleus.
        frequency_ratio: q, by default 1 − 2/P. Close to zero, petals are narrow with sharp tips.
        ends_at_rest: whether the gradient is zero again at the end.

    Returns:
        (ky, kx) in cycles per field of view, on the raster of the dwell time.

    Raises:
        ValueError: an option out of range, pixels that are not square, or a traced scanner.

    Example:
        >>> from jaxrecon.physics.mri.trajectories import check_limits, scanner
        >>> system = scanner(fov=240, gmax=40, smax=150, dwell=4e-6)
        >>> k = rosette(4, 8, 64, system)
        >>> k.shape, check_limits(k, system).ok
        ((4, 1141, 2), True)
    """
    sizes = image_sizes(shape, 2)
    side = pixel_size(scanner, sizes)
    if n_shots < 1:
        raise ValueError(f"`n_shots` is {n_shots}, expected at least one")
    if n_petals < 3:
        raise ValueError(f"`n_petals` is {n_petals}, expected at least three")
    ratio = 1 - 2 / n_petals if frequency_ratio is None else float(frequency_ratio)
    if ratio == 0 or not math.isfinite(ratio):
        raise ValueError(f"`frequency_ratio` is {ratio}, expected a number that is not zero")
    square = replace(scanner, fov=side * max(sizes))
    plan = plan_timing(_petals(max(sizes) / 2, n_petals, ratio), square, ends_at_rest=ends_at_rest)
    turns = np.arange(n_shots) / (n_petals * n_shots)
    shots = rotate(play(plan, n_intervals(plan, scanner)), 2 * math.pi * turns)
    return jnp.asarray(shots * (np.asarray(sizes) / max(sizes)))


def _petals(r_max: float, n_petals: int, ratio: float) -> Curve:
    def curve(u):
        phase = math.pi * n_petals * u
        turn = np.stack([np.sin(ratio * phase), np.cos(ratio * phase)], axis=-1)
        return r_max * np.sin(phase)[:, None] * turn

    return curve
