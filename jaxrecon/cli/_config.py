"""Configuration files: TOML with tables, each a frozen dataclass, and overrides from the command.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config:
        data: Data          # a table [data], itself a dataclass of plain fields
        training: Training

Every field has a type; whatever is unknown, missing or of another type is refused by its name.
"""

import contextlib
import dataclasses
import json
import math
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from jaxrecon.core._store import whole_file

CONFIG = "config.json"

C = TypeVar("C")


def read_config(cls: type[C], path: str | Path, overrides: Sequence[str] = ()) -> C:
    """The configuration of a file, with overrides such as ``model.width=64``.

    Raises:
        ValueError: names the file and the field.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: not a configuration: {error}") from None
    for text in overrides:
        _override(tables, text)
    return parse(cls, tables, str(path))


def parse(cls: type[C], tables: dict[str, Any], source: str) -> C:
    """A configuration from its tables.

    Raises:
        ValueError: names the source and the field.
    """
    parts = _tables(cls)
    unknown = sorted(set(tables) - set(parts))
    if unknown:
        raise ValueError(f"{source}: unknown table [{unknown[0]}], expected {', '.join(parts)}")
    filled = {
        name: _table(part, tables.get(name, {}), name, source) for name, part in parts.items()
    }
    return cls(**filled)


def example(cls: type, values: Mapping[str, Any]) -> str:
    """A configuration with every field; those without a default have `values`' ``table.field``."""
    lines = []
    for table, part in _tables(cls).items():
        lines.append(f"[{table}]")
        for field in dataclasses.fields(part):
            value = values.get(f"{table}.{field.name}", field.default)
            text = json.dumps(value)  # as TOML writes them
            lines.append(f"# {field.name} =" if value is None else f"{field.name} = {text}")
        lines.append("")
    return "\n".join(lines)


def keep_config(folder: Path, config: Any, field: str, *, resume: bool) -> None:
    """The configuration beside what a run keeps; another one there is refused.

    Raises:
        ValueError: the folder, which `field` names, belongs to another run.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{field} is {str(folder)!r}: no folder can be made there: {error}"
        ) from None
    path = folder / CONFIG
    text = json.dumps(dataclasses.asdict(config), indent=1)
    if resume and path.exists() and path.read_text() != text:
        raise ValueError(
            f"{path} is another configuration: choose another {field}, or remove the folder"
        )
    with whole_file(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def naming(**fields: str) -> Iterator[None]:
    """Errors that name an argument name the field it came from, as ``naming(fov="scan.fov")``."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        for name, field in fields.items():
            text = text.replace(f"`{name}`", field).replace(f"`scanner.{name}`", field)
        raise ValueError(text) from None


def _tables(cls: Any) -> dict[str, Any]:
    return {f.name: f.type for f in dataclasses.fields(cls)}


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
    """The value, an int for a float made one; refused if it is of another type or not finite."""
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
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value!r}, expected a finite number")
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
    part = tables.setdefault(table, {})
    if not isinstance(part, dict):
        raise ValueError(f"`--set` is {text!r}, but {table} is {part!r} in the file, no table")
    part[field] = parsed
