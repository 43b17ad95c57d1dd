"""What the commands say on the terminal: facts in two columns, progress bars, errors."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

OUT = Console(highlight=False)
ERR = Console(stderr=True, highlight=False)


def say(label: str, lines: Iterable[str] | str, *, style: str = "") -> None:
    """Prints lines behind a label, the label on the first one only."""
    lines = [lines] if isinstance(lines, str) else list(lines)
    for i, line in enumerate(lines):
        head = Text(f"{label if i == 0 else '':<11} ", style="bold")
        OUT.print(head + Text(line, style=style), soft_wrap=True)


def fail(message: str) -> None:
    """Prints one line on standard error."""
    ERR.print(
        Text("jaxrecon: ", style="bold red") + Text(" ".join(message.split())), soft_wrap=True
    )


class Report:
    """A progress bar that solvers call after each iteration, also from compiled code.

    One object serves all runs of a command: it is part of the compiled program, so a new one would
    compile again.
    """

    def __init__(self, progress: Progress):
        self._progress = progress
        self._task = None
        self._done = 0

    def start(self, description: str, total: int) -> None:
        """Begins a new bar of `total` iterations; 0 for a method that does not iterate."""
        self._task = self._progress.add_task(description, total=max(total, 1), detail="")
        self._done = 0

    def begin_at(self, i: int) -> None:
        """What comes is a part of the bar, after `i` iterations of others."""
        self._done = i

    def __call__(self, i: Any, info: Any) -> None:
        """One iteration done."""
        if self._task is not None:
            detail = f"residual {float(info.residual):.1e}"
            self._progress.update(self._task, completed=self._done + int(i) + 1, detail=detail)

    def finish(self, detail: str = "") -> None:
        """Fills the bar: the run may have converged early."""
        if self._task is None:
            return
        (task,) = (t for t in self._progress.tasks if t.id == self._task)
        self._progress.update(self._task, completed=task.total, detail=detail)
        self._task = None


@contextlib.contextmanager
def reporting() -> Iterator[Report]:
    """A `Report` on standard error, so that standard output stays readable by programs."""
    with new_progress() as progress:
        yield Report(progress)


def new_progress() -> Progress:
    """Bars on standard error, none yet; tasks have a field `detail`."""
    columns = (
        TextColumn("{task.description:<11}", style="bold"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", style="dim"),
    )
    return Progress(*columns, console=ERR, transient=False)
