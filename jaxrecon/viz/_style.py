"""The look of every picture: a white page, one typeface, few inks; nothing set globally."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

INK = "#1a1a1a"
"""Titles and figures."""
QUIET = "#6b6b6b"
"""What stands in second place: ticks, names of figures."""

_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib: the same picture everywhere
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.titlepad": 5.0,
    "axes.labelsize": 7.5,
    "axes.labelcolor": QUIET,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "ytick.major.size": 2.0,
    "ytick.major.width": 0.5,
    "ytick.major.pad": 2.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Matplotlib with this style inside the block, whatever the user's settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)  # pyright: ignore[reportCallIssue, reportArgumentType]
        yield


def new_figure(width: float, height: float) -> "Figure":
    """A figure of that size in inches, without pyplot: no window, no registry, no back end."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def frameless(axes: "Axes") -> None:
    """An image's axes without ticks and box."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def colour_bar(shown: "AxesImage", axes: "Axes", units: str | None) -> None:
    """A colour bar of an image in axes of its own, with few ticks and a hairline around it."""
    from matplotlib.ticker import MaxNLocator

    figure = shown.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(shown, cax=axes, ticks=MaxNLocator(4))
    bar.outline.set(edgecolor=QUIET, linewidth=0.4)  # pyright: ignore[reportCallIssue]
    bar.ax.yaxis.get_offset_text().set_fontsize(6)
    bar.ax.yaxis.set_offset_position("left")
    if units:
        bar.set_label(units)
