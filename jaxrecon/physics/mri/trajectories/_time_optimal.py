"""The fastest way along a curve under gradient and slew limits.

In arc length s, with curvature κ(s), speed v and y = v², the acceleration has a tangential part
a = ½ dy/ds and a normal part κ y. The limits |k'| ≤ V = γ gmax and |k''| ≤ A = γ smax are

    y ≤ V²,       a² + κ² y² ≤ A².                                                           (1)

The largest y(s) that keeps (1) is found in the phase plane: from rest, accelerate as much as (1)
allows up to the bound y ≤ min(V², A/κ); then go backwards from the end in the same way, below that
result, so that the speed is down in time where the curve bends more sharply ahead. Time is
∫ ds/√y. The limit is on the magnitude of vectors, so the result may be rotated freely.

Discretised, (1) holds at both ends of every cell of constant a: the larger root a of
a² + κ²(y + 2ah)² = A² at its far end is a closed form. The curve is sampled so finely that it turns
by at most 0.02 rad in a cell, and its derivatives are fourth-order differences, all in double
precision on the host: how many samples a trajectory has depends on the limits, so nothing here can
be traced. What remains is within `MARGIN`, by which the limits are kept. Differences on the dwell
raster are averages of k' and k'' and so keep the limits too, from the first sample on.

Sources: Lustig, Kim and Pauly, "A fast method for designing time-optimal gradient waveforms for
arbitrary k-space trajectories", IEEE Trans. Med. Imaging 27 (2008); Hargreaves' variable-density
spirals for the step-by-step view.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.physics.mri.trajectories._scanner import Scanner, field_of_view, require_concrete

__all__ = ["time_optimal"]

Curve = Callable[[np.ndarray], np.ndarray]
"""From parameters u in [0, 1], `(point,)`, to points `(point, axis)`, in double precision."""

MARGIN = 1e-4
"""Relative distance kept from both limits."""

_TURN = 0.02
_FEWEST, _MOST = 1 << 10, 1 << 21


def time_optimal(
    curve: Curve, scanner: Scanner, *, ends_at_rest: bool = False
) -> Float[Array, "sample axis"]:
    """Samples along a curve, traversed from rest as fast as the limits allow.

    Runs on the host in double precision; not traceable. The first sample is the curve's start, at
    time zero and at rest; the last is its end, reached exactly (time is stretched to a whole number
    of dwell times, at most by one of them).

    Args:
        curve: function of parameters u in [0, 1], a float64 NumPy array `(point,)`, that returns
            points `(point, axis)` in cycles per field of view. Smooth, and never standing still.
        scanner: the limits, field of view, dwell time and nucleus.
        ends_at_rest: whether the gradient is zero again at the end.

    Returns:
        The samples in cycles per field of view.

    Raises:
        ValueError: the curve has a corner or a cusp, stands still or is not finite, or the scanner
            is traced.

    Example:
        >>> from jaxrecon.physics.mri.trajectories import check_limits, scanner
        >>> system = scanner(fov=240, gmax=40, smax=150, dwell=4e-6)
        >>> circle = lambda u: 20 * np.stack([1 - np.cos(6 * u), np.sin(6 * u)], axis=-1)
        >>> k = time_optimal(circle, system, ends_at_rest=True)
        >>> k.shape, check_limits(k[None], system).ok
        ((203, 2), True)
    """
    require_concrete(scanner)
    plan = plan_timing(curve, scanner, ends_at_rest=ends_at_rest)
    return jnp.asarray(play(plan, n_intervals(plan, scanner)))


class Plan(NamedTuple):
    """When the fastest traversal is where, on a fine grid of the curve.

    Attributes:
        curve: the curve.
        parameter: u at the grid points.
        pace: |dk/du| there, in cycles per mm.
        arc: arc length from the start, in cycles per mm.
        speed: ds/dt, in cycles per mm and second.
        time: in seconds.
    """

    curve: Curve
    parameter: np.ndarray
    pace: np.ndarray
    arc: np.ndarray
    speed: np.ndarray
    time: np.ndarray


def plan_timing(curve: Curve, scanner: Scanner, *, ends_at_rest: bool = False) -> Plan:
    """The fastest traversal of a curve from rest.

    Raises:
        ValueError: the curve is not smooth, not regular or not finite.
    """
    u, first, second = _resolve(curve, scanner)
    pace = np.linalg.norm(first, axis=-1)
    tangential = np.sum(first * second, axis=-1) / pace
    normal = np.sqrt(np.maximum(np.sum(second**2, axis=-1) - tangential**2, 0))
    # The trapezium rule with its end correction (Euler and Maclaurin): fourth order.
    h = u[1]
    cells = h / 2 * (pace[1:] + pace[:-1]) - h**2 / 12 * np.diff(tangential)
    speed = _fastest(cells, normal / pace**2, scanner, ends_at_rest)
    time = np.concatenate([[0], np.cumsum(2 * cells / (speed[1:] + speed[:-1]))])
    return Plan(curve, u, pace, np.concatenate([[0], np.cumsum(cells)]), speed, time)


def n_intervals(plan: Plan, scanner: Scanner) -> int:
    """The dwell times that the traversal takes, rounded up."""
    return math.ceil(plan.time[-1] / float(scanner.dwell))


def play(plan: Plan, n: int) -> Float[np.ndarray, "sample axis"]:
    """The curve at n + 1 equidistant times from start to end."""
    t = np.linspace(0, plan.time[-1], n + 1)
    cell = np.clip(np.searchsorted(plan.time, t, side="right") - 1, 0, len(plan.time) - 2)
    since, length = t - plan.time[cell], plan.arc[cell + 1] - plan.arc[cell]
    v0, v1 = plan.speed[cell], plan.speed[cell + 1]
    gone = v0 * since + (v1**2 - v0**2) / (4 * length) * since**2
    x = np.clip(gone / length, 0, 1)
    # u(s) in the cell: cubic Hermite interpolation with du/ds = 1/pace.
    step = plan.parameter[1]
    d0, d1 = length / plan.pace[cell] / step, length / plan.pace[cell + 1] / step
    inside = x * (d0 + x * (3 - 2 * d0 - d1 + x * (d0 + d1 - 2)))
    return plan.curve(np.clip(plan.parameter[cell] + inside * step, 0, 1))


def _resolve(curve: Curve, scanner: Scanner):
    """A grid on which the curve turns little from point to point, and its derivatives there."""
    n, turn = _FEWEST, math.inf
    while n <= _MOST:
        u = np.linspace(0, 1, n + 1)
        points = np.asarray(curve(u), np.float64)
        _check_points(points, n)
        points = points / np.asarray(field_of_view(scanner, points.shape[1]), np.float64)
        chords = np.diff(points, axis=0)
        lengths = np.linalg.norm(chords, axis=-1)
        if lengths.min() <= 1e-9 * lengths.max():
            raise ValueError(f"`curve` stands still at u = {u[np.argmin(lengths)]:.6g}")
        turn = np.linalg.norm(np.diff(chords / lengths[:, None], axis=0), axis=-1).max()
        if turn <= _TURN:
            return u, *_derivatives(points, u[1])
        n *= 2
    raise ValueError(
        f"`curve` turns by {turn:.2g} rad between points 1/{_MOST} apart: it has a corner or a cusp"
    )


def _check_points(points: np.ndarray, n: int) -> None:
    if points.ndim != 2 or points.shape[0] != n + 1:
        raise ValueError(f"`curve` returned shape {points.shape}, expected ({n + 1}, axis)")
    if not np.isfinite(points).all():
        raise ValueError("`curve` returned values that are not finite")


def _derivatives(points: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative by differences of five neighbours, one-sided at the ends."""
    rows = np.arange(len(points))
    window = np.clip(rows - 2, 0, len(points) - 5)
    powers = np.arange(5)
    # Column m of the inverse of V[m, j] = (j − place)^m holds the weights of f^(m)/m!.
    weights = [np.linalg.inv((powers - place) ** powers[:, None] * 1.0) for place in range(5)]
    table = np.stack(weights)[rows - window]
    first = sum(table[:, j, 1, None] * points[window + j] for j in range(5))
    second = sum(table[:, j, 2, None] * points[window + j] for j in range(5))
    return np.asarray(first) / step, 2 * np.asarray(second) / step**2


def _fastest(cells, curvature, scanner: Scanner, ends_at_rest: bool) -> np.ndarray:
    """The largest speed at each grid point: two passes through the phase plane."""
    # cycles per mm and second, and per second²
    reach = scanner.gamma * float(scanner.gmax) * 1e-6 * (1 - MARGIN)
    accel = scanner.gamma * float(scanner.smax) * 1e-3 * (1 - MARGIN)
    with np.errstate(divide="ignore"):
        bound = np.minimum(reach**2, accel / curvature)
    bound[0] = 0
    ahead = _pass(cells, curvature, bound, accel)
    if ends_at_rest:
        ahead[-1] = 0
    return np.sqrt(_pass(cells[::-1], curvature[::-1], ahead[::-1], accel)[::-1])


def _pass(cells, curvature, bound, accel: float) -> np.ndarray:
    """The squared speed, accelerated from cell to cell as limits and bound allow."""
    kappa2, bounds = (curvature**2).tolist(), bound.tolist()
    limit, y = accel * accel, bounds[0]
    squares = [y]
    for i, h in enumerate(cells.tolist()):
        far, near = kappa2[i + 1], limit - kappa2[i] * y * y
        spread = 1 + 4 * far * h * h
        root = limit * spread - far * y * y
        a = (math.sqrt(root) - 2 * far * y * h) / spread if root > 0 else 0.0
        a = min(a, math.sqrt(near) if near > 0 else 0.0)
        y = min(max(y + 2 * a * h, 0.0), bounds[i + 1])
        squares.append(y)
    return np.array(squares)
