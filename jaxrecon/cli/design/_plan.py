"""What all kinds of design have in common: a pattern, stages that improve it, ways to judge it.

The pattern is what steps move; an outcome is what a scanner would measure: a mask, a trajectory,
the doses of views. A pattern has one or several outcomes (masks are drawn), each within the budget.
"""

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxrecon.cli._config import naming
from jaxrecon.cli.design._config import Config
from jaxrecon.cli.learn._build import read_images
from jaxrecon.cli.learn._config import Scan as Measured


class Stage(NamedTuple):
    """A part of a design: so many steps of one optimiser on one criterion.

    Attributes:
        name: shown in the list of stages.
        n_steps: may be zero, where `begin` does all.
        begin: ``begin(pattern, best) -> pattern``, from the pattern so far and the best outcome.
        criterion: as `design.optimise` takes it, like the next two.
        project: back to what is allowed.
        optimiser: an optax transformation.
        anew: whether `begin` makes a pattern that was not judged before.
    """

    name: str
    n_steps: int
    begin: Callable[[Any, Any], Any]
    criterion: Any
    project: Any
    optimiser: Any
    anew: bool = False


class Images(NamedTuple):
    """Images to design by and to choose by, both relative to the maximum of the former."""

    train: Array
    validation: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Of an image."""
        return self.train.shape[1], self.train.shape[2]


class Plan(abc.ABC):
    """A kind of design, its arrays built; abstract."""

    images: Images
    start: Any
    stages: tuple[Stage, ...]

    @abc.abstractmethod
    def outcomes(self, pattern: Any) -> list[Any]:
        """What a scanner would measure: pytrees of arrays, of one structure."""

    @abc.abstractmethod
    def reconstruct(self, outcome: Any, image: Array, key: Key[Array, ""]) -> Array:
        """The reconstruction of an image's noisy data."""

    @abc.abstractmethod
    def spread(self, outcome: Any) -> np.ndarray:
        """The magnitude of the point-spread function, `(y, x)`, 1 at its peak."""

    @abc.abstractmethod
    def drawn(self, outcome: Any) -> np.ndarray:
        """How it looks: a mask `(y, x)`, or curves `(curve, point, 2)` of (y, x) in −1 to 1."""

    @abc.abstractmethod
    def facts(self, outcome: Any) -> dict[str, Any]:
        """What it takes of its budget or limits."""

    @abc.abstractmethod
    def save(self, folder: Path, outcome: Any) -> list[Path]:
        """Writes it; the files."""

    def reconstruct_all(self, outcome: Any, key: Key[Array, ""]) -> Array:
        """The reconstructions of all validation images."""
        keys = jax.random.split(key, len(self.images.validation))
        one = lambda pair: self.reconstruct(outcome, *pair)  # noqa: E731
        return jax.lax.map(one, (self.images.validation, keys))


def load_images(config: Config) -> Images:
    """The images of a configuration.

    Raises:
        ValueError: names the file, or the field.
    """
    data = config.data
    measured = Measured(kind="ct" if config.scan.kind == "views" else "mri")
    train, validation = (read_images(p, data, measured) for p in (data.train, data.validation))
    if train.shape != validation.shape:
        raise ValueError(
            f"{data.validation}: images are {validation.shape}, those to design by {train.shape}"
        )
    stacks = []
    for path, images in ((data.train, train), (data.validation, validation)):
        stack = np.stack([images.source[i]["x"] for i in range(len(images.source))])
        empty = np.flatnonzero(~stack.any(axis=(1, 2)))
        if empty.size:
            raise ValueError(f"{path}: image {empty[0]} is zero everywhere: its error is undefined")
        stacks.append(jnp.asarray(stack / stack.dtype.type(train.peak)))
    return Images(stacks[0], stacks[1])


def build(config: Config, path: str) -> Plan:
    """The plan of a configuration.

    Raises:
        ValueError: names the file and the field.
    """
    from jaxrecon.cli.design import _masks, _trajectory, _views

    images = load_images(config)
    kinds = {"trajectory": _trajectory.TrajectoryPlan, "views": _views.ViewsPlan}
    try:
        with naming(**_FIELDS):
            return kinds.get(config.scan.kind, _masks.MaskPlan)(config, images)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


_FIELDS = {
    "budget": "mask.budget",
    "calibration": "mask.calibration",
    "power": "mask.power",
    "width": "mask.width",
    "first": "mask.temperature",
    "last": "mask.coldest",
    "fov": "trajectory.fov",
    "gmax": "trajectory.gmax",
    "smax": "trajectory.smax",
    "dwell": "trajectory.dwell_us",
    "n_samples": "trajectory.samples",
    "n_coefficients": "trajectory.coefficients",
    "n_spokes": "trajectory.shots",
    "n_shots": "trajectory.shots",
    "density": "trajectory.density",
    "cutoff": "trajectory.cutoff",
    "decay": "trajectory.decay",
    "duration": "trajectory.readout_ms",
    "readout": "trajectory.readout_ms",
    "raster": "trajectory.raster_us",
}
