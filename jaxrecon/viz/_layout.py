"""Where the parts of a comparison stand: a grid of columns, laid out in inches from the top left.

Each cell of the grid is a title, an image, its error map and its scores, one below the other; or
only a title and an image.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEFT, _RIGHT, _BOTTOM = 0.1, 0.85, 0.08
_HEADING, _NAME, _SCORES = 0.36, 0.24, 0.36
_GAP, _ROW_GAP = 0.05, 0.12
_BAR_GAP, _BAR_WIDTH, _BAR_INSET = 0.07, 0.085, 0.06


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes in inches and counts of a grid of cells."""

    n_cells: int
    max_columns: int
    panel_width: float | int
    shape: tuple[int, ...]
    heading: bool
    errors: bool = True

    @property
    def panel_height(self) -> float:
        """As the image's shape wants it, within what leaves room for text and for other rows."""
        height = self.panel_width * self.shape[0] / self.shape[1]
        return min(max(height, 0.6), 2.5 * self.panel_width)

    @property
    def n_rows(self) -> int:
        """Rows of cells."""
        return math.ceil(self.n_cells / self.max_columns)

    @property
    def n_columns(self) -> int:
        """Cells in a full row, so that rows are as even as they can be."""
        return math.ceil(self.n_cells / self.n_rows)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the page."""
        width = self._left(self.n_columns) - _GAP + _RIGHT
        return width, self._top(self.n_rows) - _ROW_GAP + _BOTTOM

    def panel(self, figure: "Figure", cell: int, *, error: bool = False) -> "Axes":
        """Axes for a cell's image or error map."""
        row, column = divmod(cell, self.n_columns)
        top = self._panel_top(row, error)
        return self._axes(figure, self._left(column), top, self.panel_width, self.panel_height)

    def bar(self, figure: "Figure", *, error: bool = False) -> "Axes":
        """Axes for a colour bar, right of the first row."""
        left = self._left(self.n_columns) - _GAP + _BAR_GAP
        top, height = self._panel_top(0, error) + _BAR_INSET, self.panel_height - 2 * _BAR_INSET
        return self._axes(figure, left, top, _BAR_WIDTH, height)

    def heading_at(self) -> tuple[float, float]:
        """The top left corner of the heading, as fractions of the page."""
        return self._fraction(_LEFT, 0.09)

    def scores_at(self, cell: int, part: float, line: int) -> tuple[float, float]:
        """A point below a cell's error map: `part` of its width from the left, line 0 or 1."""
        row, column = divmod(cell, self.n_columns)
        top = self._panel_top(row, True) + self.panel_height + 0.05 + 0.13 * line
        return self._fraction(self._left(column) + part * self.panel_width, top)

    def note_at(self, cell: int) -> tuple[float, float]:
        """The centre of a cell's error map."""
        row, column = divmod(cell, self.n_columns)
        top = self._panel_top(row, True) + self.panel_height / 2
        return self._fraction(self._left(column) + self.panel_width / 2, top)

    def _left(self, column: int) -> float:
        return _LEFT + column * (self.panel_width + _GAP)

    def _top(self, row: int) -> float:
        cell = _NAME + self.panel_height + _ROW_GAP
        if self.errors:
            cell += _GAP + self.panel_height + _SCORES
        return (_HEADING if self.heading else 0.04) + row * cell

    def _panel_top(self, row: int, error: bool) -> float:
        return self._top(row) + _NAME + (self.panel_height + _GAP if error else 0)

    def _fraction(self, left: float, top: float) -> tuple[float, float]:
        width, height = self.size
        return left / width, 1 - top / height

    def _axes(
        self, figure: "Figure", left: float, top: float, width: float, height: float
    ) -> "Axes":
        x, y = self._fraction(left, top + height)
        page_width, page_height = self.size
        return figure.add_axes((x, y, width / page_width, height / page_height))
