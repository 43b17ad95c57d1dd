"""Model cards: what a network is, what it was made of and how good it is, as one TOML file."""

import dataclasses
import datetime
import importlib.metadata
import platform
import tomllib
from pathlib import Path
from typing import Any, Literal

from jaxrecon import __version__
from jaxrecon.nets.pretrained._architectures import Architecture
from jaxrecon.nets.pretrained._tables import from_table, to_table, to_toml


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Data that a network was made with.

    Attributes:
        name: of the data.
        use: what for.
        source: who made it, and where it is.
        licence: under which it may be used.
        amount: how much, such as "380 crops of 180 x 180 pixels".
    """

    name: str
    use: Literal["training", "validation", "test"]
    source: str
    licence: str
    amount: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How a network came about.

    Attributes:
        command: that trains it, run in the repository.
        recipe: loss, optimiser, steps, noise and augmentation in a few words.
        seeds: of the runs; the first is the one that is published, the others tell the spread.
        date: when.
        hardware: on what, and for how long.
        versions: of the packages.
    """

    command: str
    recipe: str
    seeds: tuple[int, ...]
    date: datetime.date
    hardware: str
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure on data that training and tuning did not see.

    Attributes:
        metric: such as "PSNR".
        value: its mean.
        spread: a standard deviation; of what stands in `over`.
        unit: such as "dB"; empty for none.
        over: the test: data, noise, sampling; what mean and spread are over.
        beside: the same figure of other methods, by name.
    """

    metric: str
    value: float
    spread: float
    unit: str = ""
    over: str
    beside: dict[str, float] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        value = f"{self.metric} {self.value:.4g} ± {self.spread:.2g} {self.unit}".rstrip()
        return f"{value}, {self.over}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """The file of weights, as `publish` wrote it.

    Attributes:
        sha256: of the file, in hexadecimal.
        n_bytes: its size.
        dtype: of the numbers in it; the network gets them as float32.
        rounding: the largest change of a weight by storing, relative to the largest in its array.
        n_parameters: how many numbers the network has learned.
    """

    sha256: str
    n_bytes: int
    dtype: Literal["float32", "float16", "bfloat16"]
    rounding: float
    n_parameters: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """All that should be known of a network before it is used.

    Attributes:
        name: under which it is published.
        title: in a few words.
        task: "denoising": called ``D(x, sigma)``; "reconstruction": called ``net(A, y)``.
        modality: whose scans it reconstructs, or "any".
        description: what it does and how.
        units: that it expects of images, noise levels and measurements.
        use: what it is meant for.
        limits: what it is not meant for, and where it is known to fail.
        licence: of the weights.
        architecture: the settings that build it.
        training: how it came about.
        data: with which.
        figures: the first is the one that stands for the network in lists.
        stored: the file of weights; None before it is published.
    """

    name: str
    title: str
    task: Literal["denoising", "reconstruction"]
    modality: Literal["any", "ct", "mri"]
    description: str
    units: str
    use: str
    limits: tuple[str, ...]
    licence: str
    architecture: Architecture
    training: Training
    data: tuple[Data, ...]
    figures: tuple[Figure, ...] = ()
    stored: Stored | None = None

    @property
    def headline(self) -> str:
        """The first figure in words."""
        return str(self.figures[0]) if self.figures else "not judged yet"


def versions() -> dict[str, str]:
    """The versions here of what decides a training's outcome, for `Training`.

    Example:
        >>> sorted(versions())
        ['flax', 'jax', 'jaxlib', 'jaxrecon', 'optax', 'python']
    """
    packages = ("flax", "jax", "jaxlib", "optax")
    installed = {name: importlib.metadata.version(name) for name in packages}
    return installed | {"jaxrecon": __version__, "python": platform.python_version()}


def read_card(path: Path) -> Card:
    """The card of a TOML file.

    Raises:
        ValueError: names the file and what is wrong: unreadable, a field that is missing, unknown
            or of another type, or the card of another network than the file's name says.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} is not a model card: {error}") from None
    return card_of(table, str(path), path.stem)


def card_of(table: dict[str, Any], where: str, name: str) -> Card:
    """The card of a parsed file that should hold the one of that name."""
    card = from_table(Card, table, where)
    if card.name != name:
        raise ValueError(f"{where}: name is {card.name!r}: the card of another network")
    return card


def text_of(card: Card) -> str:
    """A card as TOML, from which `card_of` makes the same card."""
    return to_toml(to_table(card))
