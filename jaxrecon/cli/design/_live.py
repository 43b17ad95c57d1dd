"""A bar, and above it, in a terminal, the pattern in characters while it changes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Group
from rich.live import Live
from rich.text import Text

from jaxrecon.cli import _terminal

_WIDEST, _HIGHEST = 64, 20
_SHADES = " ░▒▓█"
# Dots of a braille character, by row and column; U+2800 is empty.
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


class Watch:
    """What the loop tells as it goes; called by compiled code after every step."""

    def __init__(self, progress: Any, live: Live | None, total: int):
        self._progress, self._live = progress, live
        self._task = progress.add_task("design", total=max(total, 1), detail="")
        self._begun = 0

    def __call__(self, i: Any, info: Any) -> None:
        """One step done."""
        detail = f"loss {float(info.loss):.4g}"
        self._progress.update(self._task, completed=self._begun + int(i) + 1, detail=detail)

    def show(self, drawn: np.ndarray, steps: int, detail: str) -> None:
        """A part done: the pattern, and what is to be said of it."""
        self._begun = steps
        self._progress.update(self._task, completed=steps, detail=detail)
        if self._live is not None:
            self._live.update(Group(Text(text_picture(drawn)), self._progress), refresh=True)


@contextlib.contextmanager
def watching(total: int) -> Iterator[Watch]:
    """A `Watch` on standard error; the picture only where that is a terminal."""
    progress = _terminal.new_progress()
    if not _terminal.ERR.is_terminal:
        with progress:
            yield Watch(progress, None, total)
        return
    with Live(progress, console=_terminal.ERR, refresh_per_second=8) as live:
        yield Watch(progress, live, total)


def text_picture(drawn: np.ndarray) -> str:
    """A mask in half blocks, or in shades where it is too large; curves in braille."""
    return _curves(drawn) if drawn.ndim == 3 else _mask(drawn)


def _mask(mask: np.ndarray) -> str:
    rows = mask[:8] if (mask == mask[:1]).all() else mask  # lines: a few rows say all
    if rows.shape[1] <= _WIDEST and rows.shape[0] <= 2 * _HIGHEST:
        rows = np.pad(rows, ((0, rows.shape[0] % 2), (0, 0)))
        halves = 2 * rows[::2].astype(int) + rows[1::2]
        return "\n".join("".join(" ▄▀█"[c] for c in line) for line in halves)
    height, width = min(_HIGHEST, rows.shape[0]), min(_WIDEST, rows.shape[1])
    lines = [part.mean(0) for part in np.array_split(rows.astype(float), height)]
    means = [[part.mean() for part in np.array_split(line, width)] for line in lines]
    levels = np.ceil(np.array(means) * (len(_SHADES) - 1)).astype(int)
    return "\n".join("".join(_SHADES[c] for c in line) for line in levels)


def _curves(curves: np.ndarray) -> str:
    """Points (y, x) of −1 to 1, on twice as many dots along y as characters are high."""
    shape = np.array([4 * _HIGHEST, 4 * _HIGHEST])
    points = np.clip(curves.reshape(-1, 2), -1, 1)
    row, column = np.minimum((points + 1) / 2 * shape, shape - 1).astype(int).T
    codes = np.zeros((shape[0] // 4, shape[1] // 2), int)
    np.bitwise_or.at(codes, (row // 4, column // 2), _DOTS[row % 4, column % 2])
    return "\n".join("".join(chr(0x2800 + c) for c in line) for line in codes)
