"""What files of arrays have in common: they are refused by an array's name."""

from collections.abc import Sequence
from typing import Any

Leaves = Sequence[Sequence[Any]]
"""Name, shape and dtype of every array of a tree, as JSON keeps them."""


class MismatchError(ValueError):
    """A checkpoint or a file of weights that belongs to another architecture."""


def check_leaves(stored: Leaves, expected: Leaves, where: str) -> None:
    """Compares two descriptions, leaf by leaf in order.

    Raises:
        MismatchError: names the first leaf that differs and how.

    Example:
        >>> try:
        ...     check_leaves([("kernel", [3], "float32")], [("kernel", [4], "float32")], "run/7")
        ... except MismatchError as error:
        ...     print(error)
        run/7 is of another architecture: `kernel` is float32[3] there, float32[4] here
    """
    there = {name: (tuple(shape), dtype) for name, shape, dtype in stored}
    here = {name: (tuple(shape), dtype) for name, shape, dtype in expected}
    for name in [*here, *(n for n in there if n not in here)]:
        if there.get(name) != here.get(name):
            raise MismatchError(
                f"{where} is of another architecture: `{name}` is {_text(there.get(name))} there, "
                f"{_text(here.get(name))} here"
            )


def _text(leaf: tuple[tuple[int, ...], str] | None) -> str:
    return "missing" if leaf is None else f"{leaf[1]}[{','.join(map(str, leaf[0]))}]"
