"""A grid of terminal cells that is drawn on first and cut into runs of one style afterwards.

Textual sends the whole widget whenever it changes, and each change of style costs some forty
bytes. So a blank cell takes the style of what stands before it: a row then costs one run for each
thing drawn on it, not one for each cell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tui.glyphs import GlyphSet
from tui.widgets.series import Projection

_BLANK = -1


class Canvas:
    """`width` by `height` cells, each with one character one cell wide and the name of a style."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._characters = np.full((height, width), " ", dtype="<U1")
        self._styles = np.full((height, width), _BLANK, dtype=np.int16)
        self._names: list[str] = []

    def write(self, x: int, y: int, text: str, style: str) -> None:
        """Write narrow characters from (x, y) to the right; what falls outside is cut off."""
        if not 0 <= y < self.height:
            return
        text = text[max(0, -x) :][: max(0, self.width - max(0, x))]
        x = max(0, x)
        self._characters[y, x : x + len(text)] = list(text)
        self._styles[y, x : x + len(text)] = self._index(style)

    def paint(self, x: int, y: int, masks: NDArray[np.uint8], cells: str, style: str) -> None:
        """Draw cells given as bit masks with their corner at (x, y). A cell that holds any pixel
        is taken over whole, so that colours never mix within a cell."""
        rows, columns = masks.shape
        drawn = masks > 0
        table = np.array(list(cells), dtype="<U1")
        self._characters[y : y + rows, x : x + columns][drawn] = table[masks][drawn]
        self._styles[y : y + rows, x : x + columns][drawn] = self._index(style)

    def runs(self, y: int) -> list[tuple[str, str]]:
        """Row `y` as (text, style name) from left to right; a style name is "" on an empty row."""
        styles = self._styles[y]
        drawn = np.flatnonzero(styles != _BLANK)
        text = "".join(self._characters[y].tolist())
        if not drawn.size:
            return [(text, "")]
        changed = np.flatnonzero(np.diff(styles[drawn])) + 1
        starts = [0, *drawn[changed].tolist()]
        ends = [*starts[1:], self.width]
        names = [self._names[styles[drawn[0]]], *(self._names[styles[i]] for i in starts[1:])]
        return [(text[a:b], name) for a, b, name in zip(starts, ends, names, strict=True)]

    def _index(self, style: str) -> int:
        if style not in self._names:
            self._names.append(style)
        return self._names.index(style)


def pixels(projection: Projection, height: int) -> NDArray[np.bool_]:
    """A projection as a picture of shape (height, columns)."""
    rows = np.arange(height)[:, None]
    top, bottom = projection
    return (rows >= top) & (rows <= bottom) & (top >= 0)


def dashed(projection: Projection, glyphs: GlyphSet) -> Projection:
    """The line with three of every nine cells left out, but for columns that stand alone."""
    top = projection.top
    drawn = np.concatenate(([False], top >= 0, [False]))
    alone = ~drawn[:-2] & ~drawn[2:]
    period = 9 * glyphs.pixel_columns
    gap = (np.arange(top.size) % period >= 6 * glyphs.pixel_columns) & ~alone
    return Projection(np.where(gap, -1, top), np.where(gap, -1, projection.bottom))
