"""What a training is: a TOML file of four tables, with overrides from the command line.

    [data]                     [scan]               [model]             [training]
    train = "heads.npz"        kind = "ct"          name = "pgd"        folder = "run"
    validation = "other.npz"   views = 60           n_iter = 8          n_steps = 2000

Every field has a type; whatever is unknown, missing or of another type is refused by its name.
"""

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal


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
    try:
        tables = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: not a configuration: {error}") from None
    for text in overrides:
        _override(tables, text)
    return parse(tables, str(path))


def parse(tables: dict[str, Any], source: str) -> Config:
    """A configuration from its tables.

    Raises:
        ValueError: names the source and the field.
    """
    parts = {f.name: f.type for f in dataclasses.fields(Config)}
    unknown = sorted(set(tables) - set(parts))
    if unknown:
        raise ValueError(f"{source}: unknown table [{unknown[0]}], expected {', '.join(parts)}")
    filled = {name: _table(cls, tables.get(name, {}), name, source) for name, cls in parts.items()}
    return Config(**filled)


EXAMPLE = {"train": "heads.npz", "validation": "others.npz", "name": "pgd", "folder": "run"}


def example() -> str:
    """A configuration with every field; those without a default are examples."""
    lines = []
    for table in dataclasses.fields(Config):
        lines.append(f"[{table.name}]")
        for field in dataclasses.fields(typing.cast(Any, table.type)):
            value = EXAMPLE.get(field.name, field.default)
            text = json.dumps(value)  # as TOML writes them
            unset = value is None
            lines.append(f"# {field.name} =" if unset else f"{field.name} = {text}")
        lines.append("")
    return "\n".join(lines)


def _table(cls: Any, values: Any, name: str, source: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{source}: {name} is {values!r}, expected a table [{name}]")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        names = ", ".join(fields)
        raise ValueError(f"{source}: unknown field {name}.{unknown[0]}, expected one of {names}")
    for field in fields.values():
        if field.name not in values and field.default is dataclasses.MISSING:
            raise ValueError(f"{source}: field {name}.{field.name} is missing")
    typed = {k: _typed(v, fields[k].type, f"{source}: {name}.{k}") for k, v in values.items()}
    return cls(**typed)


def _typed(value: Any, wanted: Any, where: str) -> Any:
    """The value, an int for a float made one; refused if it is of another type."""
    if typing.get_origin(wanted) is Literal:
        if value not in typing.get_args(wanted):
            raise ValueError(f"{where} is {value!r}, expected one of {typing.get_args(wanted)}")
        return value
    kinds = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) not in kinds:
        names = " or ".join("none" if k is types.NoneType else k.__name__ for k in kinds)
        raise ValueError(f"{where} is {value!r}, expected {names}")
    return value


def _override(tables: dict[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    table, _, field = name.strip().partition(".")
    if not equals or not field:
        raise ValueError(f"`--set` is {text!r}, expected table.field=value, as model.width=64")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = None if value.strip() == "none" else value.strip()  # a word without its quotes
    tables.setdefault(table, {})[field] = parsed
