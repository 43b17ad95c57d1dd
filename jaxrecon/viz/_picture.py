"""One image in a figure, and saving a figure whole."""

import os
import pathlib
import tempfile
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Array, Num

from jaxrecon.viz._layout import Layout
from jaxrecon.viz._style import INK, colour_bar, frameless, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Window = tuple[float | int, float | int]
"""The values shown as black and as white."""


def image(
    array: Num[Array | np.ndarray, "y x"],
    *,
    title: str | None = None,
    window: Window | None = None,
    units: str | None = None,
    cmap: str = "gray",
    width: float | int = 3.0,
) -> "Figure":
    """A figure of one image with its colour bar.

    Args:
        array: `(y, x)`, the first row on top; complex values are shown by magnitude.
        title: printed above it.
        window: the values shown as black and as white; if None the 0.1 and 99.9
            percentiles, the lower one replaced by 0 where it is close to that.
        units: printed beside the colour bar.
        cmap: a Matplotlib colour map.
        width: of the image, in inches.

    Returns:
        A `matplotlib.figure.Figure` that belongs to no window and no global state; see `save`.

    Raises:
        ValueError: the array does not have two axes, or the window is empty.

    Example:
        >>> figure = image(np.eye(8), title="identity", units="1/mm")
        >>> [axes.get_title() for axes in figure.axes]
        ['identity', '']
    """
    values = magnitudes("array", array)
    low, high = checked_window(default_window(values) if window is None else window)
    layout = Layout(
        n_cells=1, max_columns=1, panel_width=width, shape=values.shape, heading=False, errors=False
    )
    with styled():
        figure = new_figure(*layout.size)
        axes = layout.panel(figure, 0)
        frameless(axes)
        axes.set_title(title or "", color=INK)
        shown = axes.imshow(values, cmap=cmap, vmin=low, vmax=high)
        colour_bar(shown, layout.bar(figure), units)
    return figure


def save(figure: "Figure", path: str | os.PathLike[str], *, dpi: int = 200) -> pathlib.Path:
    """Writes a figure so that the file is whole or absent: a temporary one is renamed into place.

    Args:
        figure: from this module, or any of Matplotlib's.
        path: where to; its suffix (.png, .pdf, .svg, ...) is the format.
        dpi: pixels an inch, for formats that have pixels.

    Returns:
        The path.

    Raises:
        ValueError: a format that cannot be written.
        OSError: a folder that is missing or not writable.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(image(np.eye(8)), f"{folder}/eye.png").name
        'eye.png'
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if suffix not in known:
        raise ValueError(
            f"`path` is {str(path)!r}, expected a suffix of {', '.join(sorted(known))}"
        )
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".jaxrecon-", suffix=path.suffix)
    os.close(descriptor)
    try:
        with styled():
            figure.savefig(name, format=suffix, dpi=dpi)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        pathlib.Path(name).unlink(missing_ok=True)
        raise
    return path


def magnitudes(name: str, array: Num[Array | np.ndarray, "..."]) -> np.ndarray:
    """The real values that are shown of an array with two axes.

    Raises:
        ValueError: another number of axes, or no pixels.
    """
    values = np.asarray(array)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"`{name}` has shape {values.shape}, expected (y, x): pass one slice")
    return np.abs(values) if np.iscomplexobj(values) else values


def default_window(values: np.ndarray) -> Window:
    """From the 0.1 to the 99.9 percentile of finite values; from 0 where that is within a tenth."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, (0.1, 99.9)))
    if abs(low) < 0.1 * (high - low):
        low = 0.0
    return (low, high) if high > low else (low, low + 1.0)


def checked_window(window: Window) -> Window:
    """The window as floats.

    Raises:
        ValueError: it is empty or not finite.
    """
    low, high = (float(v) for v in window)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"`window` is {window}, expected (low, high) with low < high")
    return low, high


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
