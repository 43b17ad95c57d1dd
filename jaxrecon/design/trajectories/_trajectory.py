"""Trajectories to be designed: the coefficients are data, order and knots are static.

Several shots, each with its own coefficients; or few interleaves, each played at several angles.
k-space is in cycles per field of view, −N/2 ... N/2, the last axis in the image's order.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxrecon.core import pytree, static
from jaxrecon.design.trajectories._readout import Readout, basis, sampling_matrix, taps
from jaxrecon.physics.mri.trajectories import Scanner
from jaxrecon.physics.mri.trajectories._angles import Order, shot_angles
from jaxrecon.physics.mri.trajectories._scanner import field_of_view

__all__ = ["Trajectory", "fit", "interleaved"]


@pytree
class Trajectory:
    """A pattern for `design.optimise`, whose only leaf is the coefficients.

    Attributes:
        coefficients: control points of the raster, or of the readout's B-spline, in cycles per
            field of view.
        readout: timing and family of curves.
        angles: in radians, x towards y, at which every interleaf is played; none to play each once
            as it is.
    """

    coefficients: Float[Array, "interleaf coefficient axis"]
    readout: Readout = static()
    angles: tuple[float, ...] = static(default=())

    @property
    def interleaves(self) -> Float[Array, "interleaf control axis"]:
        """Control points before rotation."""
        if self.readout.n_coefficients is None:
            return self.coefficients
        return times(basis(self.readout), self.coefficients)

    @property
    def control(self) -> Float[Array, "shot control axis"]:
        """Control points of all shots, interleaf by interleaf."""
        points = self.interleaves
        if not self.angles:
            return points
        turns = jnp.asarray(rotations(self.angles, points.shape[-1]), points.dtype)
        turned = jnp.einsum("ade,ine->iand", turns, points, precision=lax.Precision.HIGHEST)
        return turned.reshape(-1, *points.shape[1:])

    @property
    def samples(self) -> Float[Array, "shot sample axis"]:
        """k-space at the times of the ADC, in cycles per field of view; exact between ticks."""
        first, weights = taps(self.readout, self.readout.sample_times)
        control = self.control
        parts = [
            jnp.asarray(w, control.dtype)[None, :, None] * control[:, first + i]
            for i, w in enumerate(weights.T)
        ]
        return parts[0] + parts[1] + parts[2]

    def gradients(self, scanner: Scanner) -> Float[Array, "shot tick axis"]:
        """At the ticks of the raster, in mT/m; linear in between."""
        control = self.control
        fov = jnp.asarray(field_of_view(scanner, control.shape[-1]), control.dtype)
        scale = 1e6 / (scanner.gamma * self.readout.raster)
        return jnp.diff(control, axis=1) * (scale / fov)[None, None]

    def slew_rates(self, scanner: Scanner) -> Float[Array, "shot interval axis"]:
        """In every interval of the raster, in T/m/s."""
        return jnp.diff(self.gradients(scanner), axis=1) * (1e-3 / self.readout.raster)


def fit(k: Any, readout: Readout) -> Trajectory:
    """The trajectory of a readout that is nearest to given samples, in least squares.

    Args:
        k: `(shot, sample, axis)` in cycles per field of view, at times evenly spaced from the
            readout's begin to its end.
        readout: timing and family of curves.

    Returns:
        A trajectory; project it, since it need not keep limits exactly where the samples do.

    Raises:
        ValueError: not three axes, too few samples, or values that are not finite.

    Example:
        >>> from jaxrecon.design.trajectories import readout
        >>> from jaxrecon.physics.mri.trajectories import scanner
        >>> timing = readout(scanner(fov=240, gmax=40, smax=180, dwell=2e-6), 1e-4)
        >>> line = np.linspace(0, 3, 51)[None, :, None] * np.ones(2)
        >>> bool(jnp.allclose(fit(line, timing).samples, line, atol=1e-4))
        True
    """
    points = np.asarray(k, np.float64)
    if points.ndim != 3 or points.shape[1] < 2:
        raise ValueError(f"`k` has shape {points.shape}, expected (shot, sample, axis)")
    if not np.isfinite(points).all():
        raise ValueError("`k` holds values that are not finite")
    when = np.linspace(0, readout.duration, points.shape[1])
    B = basis(readout)
    # Third differences decide what samples leave open: control points that alternate.
    smooth = 1e-6 * np.diff(np.eye(readout.n_control), 3, axis=0)
    rows = np.concatenate([sampling_matrix(readout, when), smooth]) @ B
    sides = np.concatenate([points, np.zeros((len(points), len(smooth), points.shape[2]))], axis=1)
    solved = np.linalg.lstsq(rows, sides.transpose(1, 0, 2).reshape(len(rows), -1), rcond=None)[0]
    shape = (B.shape[1], points.shape[0], points.shape[2])
    return Trajectory(jnp.asarray(solved.reshape(shape).transpose(1, 0, 2)), readout)


def interleaved(
    trajectory: Trajectory, n_shots: int, *, order: Order = "uniform", tiny: int = 7
) -> Trajectory:
    """The same interleaves, each played at several angles: one waveform, rotated.

    Args:
        trajectory: its interleaves are kept; earlier angles are forgotten.
        n_shots: how often each is played.
        order: "uniform", "golden" or "tiny-golden", over the full circle.
        tiny: the index of the tiny golden angle.

    Returns:
        A trajectory of as many coefficients, with n_shots times as many shots; in space, turned
        about the z axis.
    """
    angles = shot_angles(n_shots, order=order, tiny=tiny, span=2 * math.pi)
    turns = tuple(float(a) for a in np.asarray(angles, np.float64))
    return Trajectory(trajectory.coefficients, trajectory.readout, turns)


def rotations(angles: tuple[float, ...], n_axes: int) -> Float[np.ndarray, "angle axis axis"]:
    """Matrices that turn (y, x), or (z, y, x), by angles: x towards y."""
    cos, sin = np.cos(angles), np.sin(angles)
    turns = np.tile(np.eye(n_axes), (len(angles), 1, 1))
    turns[:, -2, -2], turns[:, -2, -1] = cos, sin
    turns[:, -1, -2], turns[:, -1, -1] = -sin, cos
    return turns


def times(matrix: Any, points: Float[Array, "shot n axis"]) -> Float[Array, "shot m axis"]:
    """A matrix applied to every shot."""
    matrix = jnp.asarray(matrix, points.dtype)
    return jnp.einsum("mn,snd->smd", matrix, points, precision=lax.Precision.HIGHEST)
