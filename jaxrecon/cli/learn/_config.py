"""What a training is: a TOML file of four tables, with overrides from the command line.

    [data]                     [scan]               [model]             [training]
    train = "heads.npz"        kind = "ct"          name = "pgd"        folder = "run"
    validation = "other.npz"   views = 60           n_iter = 8          n_steps = 2000

What is wrong is refused by the name of its field, see `jaxrecon.cli._config`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jaxrecon.cli import _config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Images: an `.npz` file, or a folder of image files.

    Attributes:
        train: trained on.
        validation: chosen by; other patients, if you can.
        array: the name of the images ``(n, y, x)`` in `.npz` files.
    """

    train: str
    validation: str
    array: str = "x"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scan:
    """How images are measured, anew at every visit.

    Attributes:
        kind: "ct", parallel beams over 180 degrees, or "mri", multi-coil Cartesian.
        views: CT: how many.
        pixel: CT: side of a pixel, mm; images are attenuations in 1/mm.
        photons: CT: I₀ of each bin; Gaussian noise if absent.
        noise: of the mean magnitude of line integrals (CT), or of the images' maximum in k-space's
            real and imaginary parts (MRI).
        coils: MRI: birdcage coils, given to the network.
        acceleration: MRI: of random masks, denser at the centre, one for each example.
        calibration: MRI: side of the sampled centre.
    """

    kind: Literal["ct", "mri"] = "ct"
    views: int = 60
    pixel: float = 1.0
    photons: float | None = None
    noise: float = 0.01
    coils: int = 8
    acceleration: float = 4.0
    calibration: int = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """Which network.

    Attributes:
        name: see `jaxrecon train --list-models`.
        n_iter: iterations of those that iterate.
        width: channels of the first level (U-Nets) or between convolutions.
        depth: levels of U-Nets, convolutions of others.
        shared: whether iterations share their weights.
        precision: of activations; weights and FFTs stay in single precision.
    """

    name: str
    n_iter: int = 8
    width: int = 32
    depth: int = 3
    shared: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How long, how fast, and where to.

    Attributes:
        folder: of checkpoints, logs, pictures and weights.
        n_steps: steps.
        batch: examples in a step, of all devices together.
        learning_rate: of AdamW, warmed up and falling along a cosine.
        loss: see `jaxrecon train --list-models`.
        ema: decay of the weights' moving average.
        parts: a batch is worked off in so many.
        validate_every: steps from one validation, picture and checkpoint to the next.
        patience: validations without progress before the end.
        augment: whether images are turned, mirrored and shifted.
        seed: of everything.
    """

    folder: str
    n_steps: int = 2000
    batch: int = 8
    learning_rate: float = 1e-3
    loss: str = "l2"
    ema: float | None = 0.999
    parts: int = 1
    validate_every: int = 500
    patience: int | None = None
    augment: bool = True
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All of it."""

    data: Data
    scan: Scan
    model: Model
    training: Training


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a file, with overrides such as ``model.width=64``.

    Raises:
        ValueError: names the file and the field.
    """
    return _config.read_config(Config, path, overrides)


EXAMPLE = {
    "data.train": "heads.npz",
    "data.validation": "others.npz",
    "model.name": "pgd",
    "training.folder": "run",
}


def example() -> str:
    """A configuration with every field; those without a default are examples."""
    return _config.example(Config, EXAMPLE)
