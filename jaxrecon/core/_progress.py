"""A progress bar that compiled loops can drive."""

import functools
from typing import Any

_FIELDS = "{task.description} {task.completed}/{task.total} {task.fields[detail]}"


class Bar:
    """One bar on standard error; part of the compiled program, so there is one for each length.

    A batch reports each of its problems: the bar shows the one that is furthest.
    """

    def __init__(self, n_iter: int):
        self._n_iter = n_iter
        self._progress: Any = None
        self._task: Any = None

    def __call__(self, i: Any, info: Any) -> None:
        """One iteration done."""
        self._start()
        done = max(int(i) + 1, int(self._progress.tasks[0].completed))
        detail = f"residual {float(info.residual):.1e}"
        self._progress.update(self._task, completed=done, detail=detail)

    def finish(self, n_done: Any) -> None:
        """The loop has ended, maybe early."""
        del n_done
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start(self) -> None:
        if self._progress is not None:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(bar_width=30), TextColumn(_FIELDS), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("", total=self._n_iter, detail="")
        self._progress.start()


@functools.lru_cache
def bar(n_iter: int) -> Bar:
    """The bar for runs of `n_iter` iterations.

    Raises:
        ImportError: `rich` is not installed.
    """
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        raise ImportError(
            "`progress=True` needs rich: pip install 'jaxrecon[cli]', or pass a function"
        ) from None
    return Bar(n_iter)
