"""k-space trajectories designed by gradient, within what the scanner can play.

A `Trajectory` has control points, or B-spline coefficients, for its only leaf. `radial`, `spiral`,
`cones`, `koosh` and `fit` make one to start from; `limits` is the convex set of what a scanner can
play, and the projection onto it; `stimulation` says what nerves feel of it. `SenseError`,
`DensityMatch` and `sidelobe_energy` say how good one is; `save_waveforms` and `pulseq` write it.

Units: k in cycles per field of view, −N/2 ... N/2, axes as the image's; gradients in mT/m, slew
rates in T/m/s, times in seconds.
"""

from jaxrecon.design.trajectories._criteria import SenseError, cg_sense
from jaxrecon.design.trajectories._density import (
    DensityMatch,
    density_match,
    point_spread,
    radial_density,
    sidelobe_energy,
)
from jaxrecon.design.trajectories._export import load_waveforms, pulseq, save_waveforms
from jaxrecon.design.trajectories._limits import (
    Limits,
    Usage,
    limits,
    penalty,
    project,
    projected,
    usage,
)
from jaxrecon.design.trajectories._readout import Readout, readout
from jaxrecon.design.trajectories._starts import cones, koosh, radial, spiral
from jaxrecon.design.trajectories._stimulation import (
    Nerve,
    calmed,
    stimulation,
    stimulation_penalty,
)
from jaxrecon.design.trajectories._trajectory import Trajectory, fit, interleaved

__all__ = [
    "DensityMatch",
    "Limits",
    "Nerve",
    "Readout",
    "SenseError",
    "Trajectory",
    "Usage",
    "calmed",
    "cg_sense",
    "cones",
    "density_match",
    "fit",
    "interleaved",
    "koosh",
    "limits",
    "load_waveforms",
    "penalty",
    "point_spread",
    "project",
    "projected",
    "pulseq",
    "radial",
    "radial_density",
    "readout",
    "save_waveforms",
    "sidelobe_energy",
    "spiral",
    "stimulation",
    "stimulation_penalty",
    "usage",
]
