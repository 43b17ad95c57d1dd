"""Trajectories to start from, as long as the readout: spokes, spirals, cones.

A spoke runs from rest to rest, with its gradient a trapezium on the raster: it ramps for r, then
stays. Over a length ℓ in a duration d, with the slew rate A and the plateau V = A r,

    A r (d − r) = ℓ                                                                          (1)

whose smaller root is the shortest ramp; r is rounded up to the raster. Spirals and cones are those
of `mri.trajectories`, slowed down to the readout's duration.
"""

import math
from typing import Any, NoReturn

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxrecon.core import replace
from jaxrecon.design.trajectories._readout import Readout, fit_matrix
from jaxrecon.design.trajectories._trajectory import Trajectory, fit, interleaved
from jaxrecon.physics.mri import trajectories
from jaxrecon.physics.mri.trajectories import Scanner
from jaxrecon.physics.mri.trajectories._angles import Order
from jaxrecon.physics.mri.trajectories._scanner import (
    field_of_view,
    image_sizes,
    pixel_size,
    require_concrete,
)

__all__ = ["cones", "koosh", "radial", "spiral"]


def radial(
    n_spokes: int,
    shape: int | tuple[int, int],
    scanner: Scanner,
    readout: Readout,
    *,
    order: Order = "uniform",
    start: int | float = 0.0,
) -> Trajectory:
    """Spokes from edge to edge, from rest to rest, through k = 0 at half time.

    Args:
        n_spokes: number of spokes.
        shape: pixels of the image, (y, x) or one number.
        scanner: limits and field of view.
        readout: timing and family of curves.
        order: "uniform", "golden" or "tiny-golden".
        start: angle of the first spoke in radians.

    Returns:
        The trajectory, within limits.

    Raises:
        ValueError: the readout is too short: which limit forbids it, and what would do.

    Example:
        >>> from jaxrecon.design.trajectories import readout
        >>> system = trajectories.scanner(fov=240, gmax=40, smax=180, dwell=2e-6)
        >>> spokes = radial(8, 64, system, readout(system, 5e-4))
        >>> trajectories.check_limits(spokes.samples, system).ok
        True
    """
    sizes = image_sizes(shape, 2)
    pixels = (sizes[0], sizes[1])
    ends = trajectories.radial(n_spokes, 2, pixels, order=order, readout="symmetric", start=start)
    return _spokes(ends, sizes, scanner, readout)


def koosh(
    n_spokes: int, shape: int | tuple[int, int, int], scanner: Scanner, readout: Readout
) -> Trajectory:
    """Spokes in space, golden means: as `radial`.

    Args:
        n_spokes: number of spokes.
        shape: voxels of the image, (z, y, x) or one number.
        scanner: limits and field of view.
        readout: timing and family of curves.

    Returns:
        The trajectory, within limits.

    Raises:
        ValueError: as for `radial`.
    """
    sizes = image_sizes(shape, 3)
    voxels = (sizes[0], sizes[1], sizes[2])
    ends = trajectories.koosh(n_spokes, 2, voxels, readout="symmetric")
    return _spokes(ends, sizes, scanner, readout)


def spiral(
    n_shots: int,
    shape: int | tuple[int, int],
    scanner: Scanner,
    readout: Readout,
    *,
    density: int | float = 1.0,
    power: int | float = 1.0,
    shared: bool = False,
) -> Trajectory:
    """Spirals from k = 0 to the edge, wound as tightly as the readout's duration allows.

    Args:
        n_shots: number of interleaves, at uniform angles.
        shape: pixels of the image, (y, x) or one number; they must be square.
        scanner: limits and field of view.
        readout: timing and family of curves.
        density: distance of arms at the edge over that at the centre; above 1 the centre is sampled
            more densely.
        power: how long the density of the centre lasts; from 1.
        shared: whether one interleaf is designed and played at all angles.

    Returns:
        The trajectory; project it: fitted, it may exceed limits by a fraction.

    Raises:
        ValueError: the readout is too short to reach the edge: which limit forbids it, and what
            would do.

    Example:
        >>> from jaxrecon.design.trajectories import readout
        >>> system = trajectories.scanner(fov=240, gmax=40, smax=180, dwell=2e-6)
        >>> spiral(4, 64, system, readout(system, 1e-3)).samples.shape
        (4, 501, 2)
    """
    require_concrete(scanner)
    if density <= 0:
        raise ValueError(f"`density` is {density}, expected a positive number")
    _check_straight(image_sizes(shape, 2), scanner, readout)
    on_dwell = replace(scanner, dwell=readout.dwell)

    def arm(tightness: float) -> Any:
        ends = (1 / tightness, float(density) / tightness)
        options: dict[str, Any] = {"acceleration": ends, "power": power}
        return trajectories.spiral(n_shots, shape, on_dwell, **options)

    low, high = 1e-4, 64.0  # the first nearly straight
    _check_time(arm(low), "to reach the edge in a straight line", readout)
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (
            (middle, high)
            if _seconds(arm(middle), readout) <= readout.duration
            else (
                low,
                middle,
            )
        )
    arms = arm(low)
    return interleaved(fit(arms[:1], readout), n_shots) if shared else fit(arms, readout)


def cones(
    n_interleaves: int,
    shape: int | tuple[int, int, int],
    scanner: Scanner,
    readout: Readout,
    *,
    acceleration: int | float = 1.0,
    n_cones: int | None = None,
) -> Trajectory:
    """Spirals on cones from k = 0 to the edge, slowed down to the readout's duration.

    Args:
        n_interleaves: of a cone at the equator; more make shorter ones.
        shape: voxels of the image, (z, y, x) or one number; they must be cubes.
        scanner: limits and field of view.
        readout: timing and family of curves.
        acceleration: distance of arms and cones, 1 for Nyquist's.
        n_cones: number of cones.

    Returns:
        The trajectory; project it: fitted, it may exceed limits by a fraction.

    Raises:
        ValueError: the arms take longer than the readout.
    """
    on_dwell = replace(scanner, dwell=readout.dwell)
    options: dict[str, Any] = {"acceleration": acceleration, "n_cones": n_cones}
    arms = trajectories.cones(n_interleaves, shape, on_dwell, **options)
    _check_time(arms, f"with {n_interleaves} interleaves a cone (more are shorter)", readout)
    return fit(arms, readout)


def _seconds(arms: Any, readout: Readout) -> float:
    return (arms.shape[1] - 1) * readout.dwell


def _check_time(arms: Any, what: str, readout: Readout) -> None:
    needed = _seconds(arms, readout)
    if needed > readout.duration:
        raise ValueError(
            f"`readout` lasts {readout.duration:.6g} s, but gradient and slew limits take "
            f"{needed:.6g} s from rest {what}: pass a longer `duration`, or higher limits"
        )


def _spokes(ends: Any, sizes: tuple[int, ...], scanner: Scanner, readout: Readout) -> Trajectory:
    """Spokes along given ones, between ±(N−1)/2."""
    directions = np.asarray(ends, np.float64)[:, 1]
    directions = directions / np.linalg.norm(directions / np.asarray(sizes), axis=-1)[:, None]
    reach = (1 - 1 / max(sizes)) / 2
    fov = np.asarray([float(side) for side in field_of_view(scanner, len(sizes))])
    longest = 2 * reach * float(np.linalg.norm(directions / fov, axis=-1).max())
    profile = reach * _trapezium(longest, scanner, readout)
    control = profile[None, :, None] * directions[:, None]
    if readout.n_coefficients is not None:
        control = np.einsum("mn,snd->smd", fit_matrix(readout), control)
    return Trajectory(jnp.asarray(control), readout)


def _trapezium(length: float, scanner: Scanner, readout: Readout) -> Float[np.ndarray, " control"]:
    """Control points from −1 to 1, equation (1), for a length in cycles per mm.

    Raises:
        ValueError: the limits forbid it.
    """
    require_concrete(scanner)
    d, raster = readout.duration, readout.raster
    accel = scanner.gamma * float(scanner.smax) * 1e-3
    speed = scanner.gamma * float(scanner.gmax) * 1e-6
    square = d**2 - 4 * length / accel
    ramp = (d - math.sqrt(square)) / 2 if square >= 0 else d / 2
    ticks = max(1, math.ceil(ramp / raster - 1e-9))
    most = readout.n_intervals // 2
    if square < 0 or ticks > most:
        _refuse("smax", scanner.smax, 4 * length / d**2 / accel, "T/m/s", _SPOKE, readout)
    plateau = length / (d - ticks * raster)
    if plateau > speed:
        _refuse("gmax", scanner.gmax, plateau / speed, "mT/m", _SPOKE, readout)
    t = np.arange(readout.n_intervals + 1)
    gradient = np.clip(np.minimum(t, readout.n_intervals - t) / ticks, 0, 1)
    path = np.concatenate([[0], np.cumsum(gradient)])
    return 2 * path / path[-1] - 1


def _check_straight(sizes: tuple[int, ...], scanner: Scanner, readout: Readout) -> None:
    """Whether a straight line from rest at k = 0 reaches the edge, ramping all the time it must.

    Raises:
        ValueError: the limit that forbids it, and by how much.
    """
    d, length = readout.duration, pixel_size(scanner, sizes) ** -1 / 2
    accel = scanner.gamma * float(scanner.smax) * 1e-3
    speed = scanner.gamma * float(scanner.gmax) * 1e-6
    square = d**2 - 2 * length / accel
    if square < 0:
        _refuse("smax", scanner.smax, 2 * length / d**2 / accel, "T/m/s", _LINE, readout)
    plateau = accel * (d - math.sqrt(square))
    if plateau > speed:
        _refuse("gmax", scanner.gmax, plateau / speed, "mT/m", _LINE, readout)


_SPOKE, _LINE = "a spoke from rest to rest", "a straight line from rest at k = 0 to the edge"


def _refuse(
    name: str, limit: Any, factor: float, unit: str, what: str, readout: Readout
) -> NoReturn:
    raise ValueError(
        f"`scanner.{name}` is {float(limit):g} {unit}, but {what} within the readout's "
        f"{readout.duration:.6g} s needs {factor * float(limit):.4g}, {factor:.3g} times as much: "
        "pass a longer `duration`, or a higher limit"
    )
