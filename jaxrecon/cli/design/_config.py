"""What a design is: a TOML file of tables, with overrides from the command line.

    [data]                     [scan]              [mask]               [design]
    train = "heads.npz"        kind = "lines"      acceleration = 4     folder = "design"
    validation = "other.npz"   noise = 0.01        calibration = 8      n_steps = 200

The table of the pattern is that of its kind: [mask], [trajectory] or [views]; others are not read.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jaxrecon.cli import _config
from jaxrecon.cli.learn._config import Data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scan:
    """What is designed, and how images are measured.

    Attributes:
        kind: "lines" and "points", Cartesian MRI masks of one and two phase encodes; "trajectory",
            2D non-Cartesian MRI; "views", parallel-beam CT over 180 degrees.
        noise: of the images' maximum in k-space's real and imaginary parts (MRI), or of the mean
            line integral of the mean image, at dose one (CT).
        coils: MRI: birdcage coils, known to the reconstruction.
        pixel: CT: side of a pixel, mm; images are attenuations in 1/mm.
    """

    kind: Literal["lines", "points", "trajectory", "views"] = "lines"
    noise: float = 0.01
    coils: int = 8
    pixel: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask:
    """Lines or points: how many, and the probabilities to begin with.

    Attributes:
        acceleration: positions of the grid over those measured, the calibration region included.
        budget: positions measured; instead of the acceleration.
        calibration: lines, or side of the square, always measured at the centre; none if absent.
        axis: lines: the phase encode, along which they are chosen.
        start: density to begin with.
        power: of "power-law".
        width: of "gaussian", in halves of k-space.
        free: whether every position has a probability of its own; else only the density's few
            parameters are designed.
        estimator: of the gradient through a drawn mask.
        temperature: of "gumbel" and "relaxed", at the first step.
        coldest: at the last.
        draws: masks drawn from the pattern at every validation, beside the most probable one; the
            best of all is the outcome.
    """

    acceleration: float = 4.0
    budget: int | None = None
    calibration: int | None = None
    axis: Literal["x", "y"] = "x"
    start: Literal["uniform", "power-law", "gaussian"] = "power-law"
    power: float = 3.0
    width: float = 0.4
    free: bool = True
    estimator: Literal["straight-through", "gumbel", "relaxed"] = "straight-through"
    temperature: float = 1.0
    coldest: float = 0.1
    draws: int = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Shots that a scanner can play.

    Attributes:
        start: "radial", spokes from rest through the centre to rest, or "spiral", from the centre.
        shots: how many.
        readout_ms: of a shot, a whole number of raster intervals.
        samples: of a shot; as many as the readout's time allows if absent.
        coefficients: of the B-splines; every point of the raster is free if absent.
        density: spirals: distance of arms at the edge over that at the centre.
        shared: spirals: whether one interleaf is designed and played at all angles.
        fov: field of view, mm.
        gmax: gradient limit, mT/m.
        smax: slew rate limit, T/m/s.
        dwell_us: from one sample to the next.
        raster_us: of the gradients.
        density_steps: steps towards a density of samples, before those on the images' error.
        cutoff: of that density: radius of its flat centre, as a fraction of k-space's.
        decay: the power with which it falls beyond.
        backend: of the Fourier transforms, see `jaxrecon.physics.nufft`; "finufft" may be faster on
            a CPU, but its threads add in any order: resumed designs are not the same to the bit.
    """

    start: Literal["radial", "spiral"] = "radial"
    shots: int = 16
    readout_ms: float = 1.0
    samples: int | None = None
    coefficients: int | None = None
    density: float = 1.0
    shared: bool = False
    fov: float = 240.0
    gmax: float = 40.0
    smax: float = 180.0
    dwell_us: float = 2.0
    raster_us: float = 10.0
    density_steps: int = 200
    cutoff: float = 0.2
    decay: float = 2.0
    backend: Literal["xla", "finufft", "dft"] = "xla"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
    """Angles out of equally spaced candidates, and the dose of each.

    Attributes:
        candidates: over 180 degrees.
        views: how many are measured; their doses sum to this number.
        choice: "greedy", A-optimal one after the other, then exchanged; or "gradient", doses of all
            candidates, of which fewer and fewer are kept.
        dose: whether doses are designed too; else they are equal.
        modes: principal components of the training images, at most, that stand for the objects.
    """

    candidates: int = 180
    views: int = 16
    choice: Literal["greedy", "gradient"] = "greedy"
    dose: bool = True
    modes: int = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The reconstruction whose error is designed for and judged: CG-SENSE, or the Gaussian mean.

    Attributes:
        weight: MRI: of ‖x‖² beside the data; CT takes the training images' covariance instead.
        n_iter: conjugate gradients, at most; that of a gradient may take longer.
        tol: of both.
    """

    weight: float = 0.05
    n_iter: int = 300
    tol: float = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How long, how fast, and where to.

    Attributes:
        folder: of the pattern, pictures, figures and what is needed to go on.
        n_steps: on the images' error.
        learning_rate: of Adam, in log odds (masks, 0.1 if absent) or cycles per field of view
            (trajectories, 0.5), falling along a cosine; of projected descent in doses (1).
        batch: images drawn for every step; MRI.
        picture_every: steps from one picture, and from one place to go on from, to the next.
        validate_every: steps from one validation to the next; a multiple of `picture_every`.
        seed: of everything.
    """

    folder: str
    n_steps: int = 200
    learning_rate: float | None = None
    batch: int = 4
    picture_every: int = 10
    validate_every: int = 10
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All of it."""

    data: Data
    scan: Scan
    mask: Mask
    trajectory: Trajectory
    views: Views
    reconstruction: Reconstruction
    design: Settings


LEAST = {
    "scan.coils": 1,
    "mask.draws": 0,
    "trajectory.shots": 1,
    "trajectory.density_steps": 0,
    "views.candidates": 2,
    "views.views": 1,
    "views.modes": 1,
    "reconstruction.n_iter": 1,
    "design.n_steps": 0,
    "design.batch": 1,
    "design.picture_every": 1,
    "design.validate_every": 1,
}
POSITIVE = (
    "scan.pixel",
    "reconstruction.tol",
    "design.learning_rate",
    "mask.acceleration",
    "trajectory.readout_ms",
    "trajectory.dwell_us",
    "trajectory.raster_us",
    "trajectory.fov",
    "trajectory.gmax",
    "trajectory.smax",
)
NOT_NEGATIVE = ("scan.noise", "reconstruction.weight")


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a file, its numbers in their ranges.

    Raises:
        ValueError: names the file and the field.
    """
    config = _config.read_config(Config, path, overrides)
    for name, least in LEAST.items():
        _require(path, config, name, lambda v, least=least: v >= least, f"{least} or more")
    for name in POSITIVE:
        _require(path, config, name, lambda v: v > 0, "a positive number")
    for name in NOT_NEGATIVE:
        _require(path, config, name, lambda v: v >= 0, "zero or more")
    every, pictures = config.design.validate_every, config.design.picture_every
    if every % pictures:
        raise ValueError(
            f"{path}: design.validate_every is {every}, expected a multiple of "
            f"design.picture_every, {pictures}"
        )
    return config


def _require(path: object, config: Config, name: str, allowed, expected: str) -> None:
    table, field = name.split(".")
    value = getattr(getattr(config, table), field)
    if value is not None and not allowed(value):
        raise ValueError(f"{path}: {name} is {value}, expected {expected}")


EXAMPLE = {"data.train": "heads.npz", "data.validation": "others.npz", "design.folder": "design"}


def example() -> str:
    """A configuration with every field; those without a default are examples."""
    return _config.example(Config, EXAMPLE)
