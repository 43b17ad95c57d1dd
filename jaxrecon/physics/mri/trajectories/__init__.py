"""Non-Cartesian trajectories, and whether a scanner can play them.

A trajectory is `(shot, sample, axis)` in cycles per field of view, −N/2 ... N/2, its last axis in
the image's order, (ky, kx) or (kz, ky, kx). Straight readouts (`radial`, `koosh`, `stack_of_stars`)
are pure JAX functions of their angles; curved ones (`spiral`, `cones`, `rosette`, or any curve
through `time_optimal`) are designed on the host, since the limits decide how many samples they
have. `gradients` and `slew_rates` are differentiable in the trajectory and the scanner;
`check_limits` says in words where limits are broken.
"""

from jaxrecon.physics.mri.trajectories._angles import golden_angle, shot_angles
from jaxrecon.physics.mri.trajectories._cones import cones
from jaxrecon.physics.mri.trajectories._koosh import koosh
from jaxrecon.physics.mri.trajectories._limits import (
    Breach,
    LimitsReport,
    check_limits,
    gradients,
    slew_rates,
)
from jaxrecon.physics.mri.trajectories._radial import radial, spokes, stack_of_stars
from jaxrecon.physics.mri.trajectories._rosette import rosette
from jaxrecon.physics.mri.trajectories._scanner import GYROMAGNETIC_RATIO, Scanner, scanner
from jaxrecon.physics.mri.trajectories._spiral import spiral
from jaxrecon.physics.mri.trajectories._time_optimal import time_optimal

__all__ = [
    "GYROMAGNETIC_RATIO",
    "Breach",
    "LimitsReport",
    "Scanner",
    "check_limits",
    "cones",
    "golden_angle",
    "gradients",
    "koosh",
    "radial",
    "rosette",
    "scanner",
    "shot_angles",
    "slew_rates",
    "spiral",
    "spokes",
    "stack_of_stars",
    "time_optimal",
]
