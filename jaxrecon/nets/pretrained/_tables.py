"""Frozen dataclasses as TOML tables: typed on the way in, and what is written reads back the same.

Fields may be strings, numbers, booleans, dates, `Literal`, tuples of one type, ``X | None``,
``dict[str, X]``, dataclasses, and unions of dataclasses with a field `kind` that tells them apart.
An int serves for a float; nothing else is converted.
"""

import dataclasses
import datetime
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

T = TypeVar("T")


def from_table(cls: type[T], table: Any, where: str) -> T:
    """A dataclass from a table of its fields.

    Raises:
        ValueError: a field that is missing, unknown or of another type; begins with `where` and
            names the field.

    Example:
        >>> @dataclasses.dataclass
        ... class Point:
        ...     x: float
        ...     label: str = ""
        >>> from_table(Point, {"x": 2}, "a.toml")
        Point(x=2.0, label='')
        >>> try:
        ...     from_table(Point, {"x": "two"}, "a.toml")
        ... except ValueError as error:
        ...     print(error)
        a.toml: x is 'two', expected float
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} is {table!r}, expected a table")
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, cls))}
    types_ = typing.get_type_hints(cls)
    if unknown := sorted(set(table) - set(fields)):
        raise ValueError(f"{where}: unknown field {unknown[0]}, expected {', '.join(fields)}")
    for name, field in fields.items():
        has_default = field.default is not dataclasses.MISSING
        has_default |= field.default_factory is not dataclasses.MISSING
        if name not in table and not has_default:
            raise ValueError(f"{where}: field {name} is missing")
    return cls(**{k: _typed(v, types_[k], where, k) for k, v in table.items()})


def _typed(value: Any, wanted: Any, where: str, name: str) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where}: {name} is {value!r}, expected one of {arguments}")
        return value
    if origin in (types.UnionType, typing.Union):
        return _typed(value, _member(value, arguments, where, name), where, name)
    if dataclasses.is_dataclass(wanted):
        return from_table(typing.cast(Any, wanted), value, f"{where}: {name}")
    if origin is tuple and isinstance(value, list):
        parts = enumerate(value)
        return tuple(_typed(v, arguments[0], where, f"{name}[{i}]") for i, v in parts)
    if origin is dict and isinstance(value, dict):
        return {k: _typed(v, arguments[1], where, f"{name}.{k}") for k, v in value.items()}
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        kind = getattr(wanted, "__name__", str(wanted))
        raise ValueError(f"{where}: {name} is {value!r}, expected {kind}")
    if wanted is float and not math.isfinite(value):
        raise ValueError(f"{where}: {name} is {value}, expected a finite number")
    return value


def _member(value: Any, members: Any, where: str, name: str) -> Any:
    """Which type of a union a value is to have."""
    members = [m for m in members if m is not types.NoneType]  # TOML has no none
    if len(members) == 1:
        return members[0]
    kinds = {typing.get_args(typing.get_type_hints(m)["kind"])[0]: m for m in members}
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if kind not in kinds:
        raise ValueError(f"{where}: {name}.kind is {kind!r}, expected one of {', '.join(kinds)}")
    return kinds[kind]


def to_table(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, nested ones as tables, without those that are None."""
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {name: _plain(v) for name, v in fields.items() if v is not None}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_table(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def to_toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """A table as TOML: plain values first, then tables, then arrays of tables.

    Example:
        >>> print(to_toml({"n": 1, "point": {"x": 0.5, "tags": ["a", "b"]}}), end="")
        n = 1
        <BLANKLINE>
        [point]
        x = 0.5
        tags = ["a", "b"]
    """
    tables = {k: v for k, v in table.items() if isinstance(v, Mapping)}
    arrays = {k: v for k, v in table.items() if _is_array_of_tables(v)}
    lines = [
        f"{_key(k)} = {_scalar(v)}\n"
        for k, v in table.items()
        if k not in tables and k not in arrays
    ]
    for name, inner in tables.items():
        path = f"{prefix}{_key(name)}"
        lines += [f"\n[{path}]\n", to_toml(inner, f"{path}.")]
    for name, rows in arrays.items():
        path = f"{prefix}{_key(name)}"
        for row in rows:
            lines += [f"\n[[{path}]]\n", to_toml(row, f"{path}.")]
    return "".join(lines)


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _key(name: str) -> str:
    plain = name.replace("-", "").replace("_", "")
    return name if plain.isascii() and plain.isalnum() else _scalar(name)


def _scalar(value: Any) -> str:
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    return json.dumps(value, ensure_ascii=False)  # strings, numbers and booleans as TOML has them
