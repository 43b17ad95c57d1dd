"""Truth and reconstructions side by side, with error maps and scores."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Num

from jaxrecon import metrics
from jaxrecon.viz._layout import Layout
from jaxrecon.viz._picture import Window, checked_window, default_window, magnitudes
from jaxrecon.viz._style import INK, QUIET, colour_bar, frameless, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Picture = Num[Array | np.ndarray, "..."]
Scores = Mapping[str, Mapping[str, Any]]

_FORMATS = {
    "psnr": ("PSNR", "{:.2f} dB"),
    "ssim": ("SSIM", "{:.3f}"),
    "nrmse": ("NRMSE", "{:.3f}"),
}
_BEST = {"psnr": max, "ssim": max, "nrmse": min}
_STEPS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


def comparison(
    truth: Picture,
    images: Mapping[str, Picture],
    *,
    scores: Scores | None = None,
    title: str | None = None,
    window: Window | None = None,
    units: str | None = None,
    amplification: float | int | None = None,
    max_columns: int = 5,
    panel_width: float | int = 1.75,
) -> "Figure":
    """Truth and every method in one window, the error of each below it, its scores below that.

    Complex images are shown by magnitude, and their error maps are | |image| − |truth| |. Methods
    that do not fit into the first row flow onto further ones.

    Args:
        truth: `(y, x)`, real or complex.
        images: each method's image by its name, in the order shown.
        scores: figures by method, then by name (`psnr`, `ssim`, `nrmse`, or any other); the best of
            each is bold. If None they are computed by `metrics.summary`; ``{}`` shows none.
        title: printed on top.
        window: the values shown as black and as white; if None chosen from the truth.
        units: of the values, printed beside the colour bar.
        amplification: the error maps' window is from 0 to the width of the images' window divided
            by this, which is printed; if None a round number that suits the median method.
        max_columns: cells in a row, the truth's included.
        panel_width: of one image, in inches.

    Returns:
        A `matplotlib.figure.Figure`; see `save`.

    Raises:
        ValueError: no images, an image of another shape than the truth, scores for a method that is
            not shown, an empty window, or an amplification or a number of columns below its least.

    Example:
        >>> truth = np.eye(16)
        >>> figure = comparison(truth, {"half": truth / 2, "double": truth * 2}, title="Scales")
        >>> [axes.get_title() for axes in figure.axes if axes.get_title()]
        ['Truth', 'half', 'double']
    """
    _check(truth, images, scores, amplification, max_columns)
    if scores is None:
        scores = {name: _summary(x, truth) for name, x in images.items()}
    truth = magnitudes("truth", truth)
    shown = {name: magnitudes(name, x) for name, x in images.items()}
    errors = {name: np.abs(x - truth) for name, x in shown.items()}
    low, high = checked_window(default_window(truth) if window is None else window)
    factor = _suitable(errors, high - low) if amplification is None else float(amplification)
    layout = Layout(
        n_cells=len(shown) + 1,
        max_columns=max_columns,
        panel_width=panel_width,
        shape=truth.shape,
        heading=title is not None,
    )
    with styled():
        figure = new_figure(*layout.size)
        if title is not None:
            left, top = layout.heading_at()
            figure.text(left, top, title, va="top", fontsize=11, fontweight="bold", color=INK)
        picture = _panel(figure, layout, 0, truth, (low, high), "Truth")
        colour_bar(picture, layout.bar(figure), units)
        for cell, name in enumerate(shown, start=1):
            _panel(figure, layout, cell, shown[name], (low, high), name)
            error = _error(figure, layout, cell, errors[name], (high - low) / factor)
            _scores(figure, layout, cell, scores.get(name, {}), _best(scores))
            if cell == 1:
                colour_bar(error, layout.bar(figure, error=True), units)
        _note(figure, layout, factor)
    return figure


def _panel(
    figure: "Figure", layout: Layout, cell: int, values: np.ndarray, window: Window, name: str
) -> "AxesImage":
    axes = layout.panel(figure, cell)
    frameless(axes)
    axes.set_title(name, color=INK, fontsize=_fitting(name, layout.panel_width))
    return axes.imshow(values, cmap="gray", vmin=window[0], vmax=window[1])


def _error(
    figure: "Figure", layout: Layout, cell: int, values: np.ndarray, peak: float
) -> "AxesImage":
    axes = layout.panel(figure, cell, error=True)
    frameless(axes)
    return axes.imshow(values, cmap="magma", vmin=0, vmax=peak)


def _scores(
    figure: "Figure",
    layout: Layout,
    cell: int,
    scores: Mapping[str, Any],
    best: Mapping[str, Any],
) -> None:
    """A small table under a cell: names in a quiet ink, figures below them, the best one bold."""
    size = min(7.0, 1.75 * layout.panel_width * 7 / max(3, len(scores)))
    for i, (key, value) in enumerate(scores.items()):
        name, form = _FORMATS.get(key, (key, "{:.3g}"))
        part = (i + 0.5) / len(scores)
        style: dict[str, Any] = {"ha": "center", "va": "top"}
        x, y = layout.scores_at(cell, part, 0)
        figure.text(x, y, name, fontsize=size - 1, color=QUIET, **style)
        x, y = layout.scores_at(cell, part, 1)
        weight = "bold" if value == best.get(key) else "normal"
        figure.text(x, y, form.format(value), fontsize=size, fontweight=weight, **style)


def _note(figure: "Figure", layout: Layout, factor: float) -> None:
    """What the row of error maps shows, in the place that the truth, without error, leaves free."""
    x, y = layout.note_at(0)
    text = f"Error\n|image − truth|\namplified {factor:g}×"
    figure.text(x, y, text, ha="center", va="center", color=QUIET, fontsize=7.5, linespacing=1.6)


def _fitting(name: str, width: float) -> float:
    """A size in points at which the name is no wider than the panel."""
    return max(4.0, min(9.0, width * 72 / (0.62 * max(1, len(name)))))


def _suitable(errors: Mapping[str, np.ndarray], span: float) -> float:
    """The largest round factor that leaves 99 % of the median method's error in the window."""
    peaks = [np.nanpercentile(np.where(np.isfinite(e), e, np.nan), 99) for e in errors.values()]
    peak = float(np.median(peaks))
    return max((step for step in _STEPS if step * peak <= span), default=1.0)


def _best(scores: Scores) -> dict[str, Any]:
    """The best value of each score that two methods or more have."""
    best = {}
    for key, choose in _BEST.items():
        values = [figures[key] for figures in scores.values() if key in figures]
        if len(values) > 1:
            best[key] = choose(values)
    return best


def _summary(image: Picture, truth: Picture) -> dict[str, float]:
    figures = metrics.summary(np.asarray(image), np.asarray(truth))
    return {key: float(figures[key]) for key in _FORMATS}


def _check(
    truth: Picture,
    images: Mapping[str, Picture],
    scores: Scores | None,
    amplification: float | int | None,
    max_columns: int,
) -> None:
    magnitudes("truth", truth)
    if not images:
        raise ValueError("`images` is empty: pass at least one image by its method's name")
    for name, image in images.items():
        if np.shape(image) != np.shape(truth):
            raise ValueError(
                f"`images` has {np.shape(image)} under {name!r}, "
                f"expected {np.shape(truth)} as `truth` has"
            )
    unknown = sorted(set(scores or {}) - set(images))
    if unknown:
        raise ValueError(f"`scores` has {unknown}, expected names in `images`: {list(images)}")
    if amplification is not None and not amplification > 0:
        raise ValueError(f"`amplification` is {amplification}, expected a positive number")
    if max_columns < 2:
        raise ValueError(f"`max_columns` is {max_columns}, expected at least 2")
