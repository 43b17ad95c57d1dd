"""Where the figures of a run go: JSON lines, TensorBoard, a progress bar on the terminal."""

import contextlib
import importlib
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "log.jsonl"


class Logs:
    """Writes figures to ``folder/log.jsonl``, one JSON object a line, and to TensorBoard.

    TensorBoard's files are written if tensorboardX or tensorboard is installed. A value that is
    not finite is null in JSON. After a restart, lines of steps that are to be done again are
    dropped.

    Args:
        folder: of the run; None keeps no logs.
        step: the step from which the run goes on.
    """

    def __init__(self, folder: Path | None, step: int = 0):
        self._file: Any = None
        self._board: Any = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_logs(folder) if line["step"] <= step]
        part = folder / f"{FILE}.part"
        part.write_text("".join(map(_line, kept)), encoding="utf-8")
        os.replace(part, folder / FILE)
        self._file = (folder / FILE).open("a", encoding="utf-8", buffering=1)
        self._board = _tensorboard(folder, step)

    def write(self, kind: str, step: int, figures: Mapping[str, float]) -> None:
        """One line: ``{"kind": kind, "step": step, **figures}``."""
        if self._file is not None:
            self._file.write(_line({"kind": kind, "step": step, **figures}))
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Closes the files."""
        for file in (self._file, self._board):
            if file is not None:
                file.close()


def read_logs(folder: Path | str) -> list[dict[str, Any]]:
    """The lines of a run's log; a last one that was cut off is left out."""
    path = Path(folder) / FILE
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines


def _line(figures: Mapping[str, Any]) -> str:
    def plain(value):
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps({name: plain(value) for name, value in figures.items()}) + "\n"


def _tensorboard(folder: Path, step: int) -> Any:
    target = str(folder / "tensorboard")
    with contextlib.suppress(ImportError):
        return importlib.import_module("tensorboardX").SummaryWriter(target, purge_step=step + 1)
    with contextlib.suppress(ImportError):
        return importlib.import_module("tensorboard.summary").Writer(target)
    return None


class Progress:
    """A bar on standard error, by `rich`; nothing if it is not wanted, or not installed."""

    def __init__(self, n_steps: int, step: int, *, shown: bool | None):
        self._bar: Any = None
        wanted = sys.stderr.isatty() if shown is None else shown
        if not wanted:
            return
        with contextlib.suppress(ImportError):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            fields = "step {task.completed}/{task.total} {task.fields[detail]}"
            columns = (BarColumn(bar_width=30), TextColumn(fields), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=n_steps, completed=step, detail="")
            self._bar.start()

    def update(self, step: int, figures: Mapping[str, float] | None = None) -> None:
        """One step done; figures are shown until there are newer ones."""
        if self._bar is None:
            return
        detail = {} if figures is None else {"detail": _short(figures)}
        self._bar.update(self._task, completed=step, **detail)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()


def _short(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in list(figures.items())[:3])
