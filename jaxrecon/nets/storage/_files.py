"""What files of arrays have in common: written whole or not at all, refused by an array's name."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

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


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name when the block has ended well, and not before."""
    target = Path(path)
    # A folder of its own, so that the file has the permissions that any other would get.
    with tempfile.TemporaryDirectory(dir=target.parent) as draft:
        place = Path(draft) / target.name
        with place.open("wb") as file:
            yield file
        os.replace(place, target)
