"""Pictures of a design: the pattern, its point spread, and what images gain by it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrecon.viz import save
from jaxrecon.viz._style import INK, colour_bar, frameless, new_figure, styled

_DEEPEST = -60  # dB


class Shown(NamedTuple):
    """A design, before or after.

    Attributes:
        name: of its row.
        drawn: as `Plan.drawn`.
        spread: magnitudes of the point-spread function.
        image: a reconstruction.
        truth: what it should be.
        nrmse: of all validation images.
    """

    name: str
    drawn: np.ndarray
    spread: np.ndarray
    image: np.ndarray
    truth: np.ndarray
    nrmse: float


def pattern_picture(path: Path, drawn: np.ndarray, title: str) -> None:
    """The pattern alone."""
    with styled():
        figure = new_figure(3.6, 3.8)
        axes = figure.add_axes((0.05, 0.03, 0.9, 0.88))
        _draw(axes, drawn)
        axes.set_title(title, color=INK)
    save(figure, path, dpi=120)


def spread_picture(path: Path, shown: Sequence[Shown]) -> None:
    """Point-spread functions in decibels, beside each other."""
    with styled():
        width = 3.1 * len(shown) + 0.8
        figure = new_figure(width, 3.4)
        for i, one in enumerate(shown):
            axes = figure.add_axes(((0.1 + 3.1 * i) / width, 0.03, 3.0 / width, 0.88))
            picture = _spread(axes, one.spread)
            axes.set_title(f"{one.name}: point spread", color=INK)
        bar = figure.add_axes(((0.15 + 3.1 * len(shown)) / width, 0.1, 0.1 / width, 0.74))
        colour_bar(picture, bar, "dB")
    save(figure, path)


def before_after(path: Path, rows: Sequence[Shown]) -> None:
    """Pattern, point spread, reconstruction and error, a row for each."""
    errors = [np.abs(row.image - row.truth) for row in rows]
    peak = float(np.percentile(np.abs(rows[0].truth), 99.9)) or 1.0
    worst = max(float(np.percentile(error, 99.5)) for error in errors) or 1.0
    with styled():
        figure = new_figure(9.2, 2.45 * len(rows) + 0.1)
        grid = figure.subplots(len(rows), 4, squeeze=False)
        for axes, row, error in zip(grid, rows, errors, strict=True):
            _draw(axes[0], row.drawn)
            spread = _spread(axes[1], row.spread)
            frameless(axes[2])
            image = axes[2].imshow(np.abs(row.image), cmap="gray", vmin=0, vmax=peak)
            frameless(axes[3])
            wrong = axes[3].imshow(error, cmap="magma", vmin=0, vmax=worst)
            names = (
                "pattern",
                "point spread, dB",
                "reconstruction",
                f"error, NRMSE {row.nrmse:.3f}",
            )
            for panel, name in zip(axes, names, strict=True):
                panel.set_title(f"{row.name}: {name}" if panel is axes[0] else name, color=INK)
            figure.subplots_adjust(0.01, 0.02, 0.95, 0.94, wspace=0.22, hspace=0.14)
            for panel, shown in zip(axes[1:], (spread, image, wrong), strict=True):
                colour_bar(shown, _beside(figure, panel), None)
    save(figure, path)


def _beside(figure: Any, axes: Any) -> Any:
    """Room for a colour bar right of an image."""
    axes.apply_aspect()
    place = axes.get_position()
    return figure.add_axes((place.x1 + 0.004, place.y0, 0.008, place.height))


def _draw(axes: Any, drawn: np.ndarray) -> None:
    """A mask, or curves of (y, x) in −1 to 1 with y downwards."""
    frameless(axes)
    if drawn.ndim == 2:
        axes.imshow(drawn, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        return
    from matplotlib import colormaps

    for i, curve in enumerate(drawn):
        colour = colormaps["viridis"](0.9 * i / max(1, len(drawn) - 1))
        axes.plot(curve[:, 1], curve[:, 0], linewidth=0.7, color=colour)
    axes.set(xlim=(-1.03, 1.03), ylim=(1.03, -1.03), aspect="equal")


def _spread(axes: Any, spread: np.ndarray) -> Any:
    frameless(axes)
    least = 10 ** (_DEEPEST / 20)
    level = 20 * np.log10(np.maximum(spread / spread.max(), least))
    return axes.imshow(level, cmap="magma", vmin=_DEEPEST, vmax=0, interpolation="nearest")
