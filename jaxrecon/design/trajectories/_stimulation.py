"""Peripheral nerve stimulation by gradients that switch, as a law of their slew rate.

A nerve feels the slew rate s of the past through its chronaxie c,

    R_d(t) = 1/s_min ∫₀ᵗ s_d(θ) c / (c + t − θ)² dθ,     s_min = r / α                       (1)

of axis d, with the coil's rheobase r and effective length α, and stimulation is to be expected
where the Euclidean norm of R over the axes exceeds one. The slew rate of a `Trajectory` is constant
between ticks, so that the integral is a sum without error,

    R(t_m) = 1/s_min Σ_{j<m} s_j (c / (c + t_m − t_{j+1}) − c / (c + t_m − t_j))               (2)

linear in the control points: a convex limit, that every fraction of a trajectory keeps too. What
was played before the readout is not counted.

Sources: Schulte and Noeske, "Peripheral nerve stimulation-optimal gradient waveform design", Magn.
Reson. Med. 74 (2015), 518-522; IEC 60601-2-33 (2022), annex AA, has the same response.
"""

import dataclasses
import math
from typing import Any

import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.core import replace
from jaxrecon.design.trajectories._admm import length
from jaxrecon.design.trajectories._trajectory import Trajectory, times
from jaxrecon.physics.mri.trajectories import Scanner

__all__ = ["Nerve", "calmed", "stimulation", "stimulation_penalty"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nerve:
    """What a gradient coil does to nerves. Static.

    The defaults are figures in use for whole-body coils; a scan of people needs those of its
    scanner's maker, and this law is no substitute for the scanner's own supervision.

    Attributes:
        chronaxie: c, in seconds.
        rheobase: r, in T/s.
        coil_length: α, the effective length of the coil in metres.

    Raises:
        ValueError: a figure that is not positive.
    """

    chronaxie: float = 334e-6
    rheobase: float = 23.4
    coil_length: float = 0.333

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not 0 < value < math.inf:
                raise ValueError(f"`{field.name}` is {value}, expected a positive number")

    @property
    def least_slew(self) -> float:
        """s_min in T/m/s: what stimulates if it lasts."""
        return self.rheobase / self.coil_length


def stimulation(
    trajectory: Trajectory, scanner: Scanner, nerve: Nerve | None = None
) -> Float[Array, "shot tick"]:
    """The norm of equation (2) at every tick of the raster: 1 is the limit.

    Args:
        trajectory: the shots as they are played.
        scanner: its field of view and nucleus.
        nerve: of the coil; by default a whole-body coil's.

    Returns:
        Fractions of the limit, differentiable in the trajectory.

    Example:
        >>> from jaxrecon.design import trajectories as designed
        >>> from jaxrecon.physics.mri.trajectories import scanner
        >>> system = scanner(fov=240, gmax=40, smax=180, dwell=2e-6)
        >>> spokes = designed.radial(4, 64, system, designed.readout(system, 6e-4))
        >>> bool(designed.stimulation(spokes, system).max() < 1)
        True
    """
    nerve = Nerve() if nerve is None else nerve
    response = _response(trajectory.readout.n_intervals, trajectory.readout.raster, nerve)
    return length(times(response, trajectory.slew_rates(scanner)))


def stimulation_penalty(
    trajectory: Trajectory, scanner: Scanner, nerve: Nerve | None = None, *, most: Any = 0.8
) -> Float[Array, ""]:
    """The mean squared excess over a fraction of the limit: zero exactly where it is kept.

    To be added to a criterion, with a weight that grows; `calmed` then removes what is left.

    Args:
        trajectory: the shots as they are played.
        scanner: its field of view and nucleus.
        nerve: of the coil; by default a whole-body coil's.
        most: the fraction, 0.8 for the normal operating mode.

    Raises:
        ValueError: a fraction that is not positive.
    """
    _check_fraction(most)
    excess = jnp.maximum(stimulation(trajectory, scanner, nerve) / most - 1, 0)
    return jnp.mean(excess**2)


def calmed(
    trajectory: Trajectory, scanner: Scanner, nerve: Nerve | None = None, *, most: Any = 0.8
) -> Trajectory:
    """The trajectory, every shot scaled towards k = 0 until it keeps a fraction of the limit.

    Exact, and it keeps the limits of `limits` where they were kept; a designed trajectory should
    need next to none of it.

    Args:
        trajectory: the shots as they are played.
        scanner: its field of view and nucleus.
        nerve: of the coil; by default a whole-body coil's.
        most: the fraction, 0.8 for the normal operating mode.

    Raises:
        ValueError: a fraction that is not positive.

    Example:
        >>> from jaxrecon.design import trajectories as designed
        >>> from jaxrecon.physics.mri.trajectories import scanner
        >>> system = scanner(fov=240, gmax=40, smax=180, dwell=2e-6)
        >>> spokes = designed.radial(4, 64, system, designed.readout(system, 4e-4))
        >>> calm = designed.calmed(spokes, system, most=0.2)
        >>> round(float(designed.stimulation(calm, system).max()), 3)
        0.2
    """
    _check_fraction(most)
    worst = jnp.max(stimulation(trajectory, scanner, nerve), axis=1)
    interleaf = jnp.max(worst.reshape(len(trajectory.coefficients), -1), axis=1)
    shrunk = trajectory.coefficients / jnp.maximum(interleaf / most, 1)[:, None, None]
    return replace(trajectory, coefficients=shrunk)


def _check_fraction(most: Any) -> None:
    if not isinstance(most, jax.core.Tracer) and not 0 < float(most) < math.inf:
        raise ValueError(f"`most` is {most}, expected a positive fraction of the limit")


def _response(n: int, raster: float, nerve: Nerve) -> Float[np.ndarray, "tick interval"]:
    """Equation (2) as a matrix, of slew rates in T/m/s."""
    ticks = np.arange(n + 1) * raster
    since = np.maximum(ticks[:, None] - ticks[None, :], 0)
    felt = nerve.chronaxie / (nerve.chronaxie + since)
    # Of intervals that are still to come both are 1.
    return (felt[:, 1:] - felt[:, :-1]) / nerve.least_slew
