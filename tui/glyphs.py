"""What curves, bars and axes are drawn with: braille, quadrant blocks, or plain ASCII.

A cell of the terminal is divided into a few pixels; a `GlyphSet` knows how many, and which
character shows which of them. Everything that draws takes a set, so that a font without braille
or a terminal without UTF-8 costs resolution and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class GlyphSet:
    """One way to draw. `cells` holds a character for each bit mask; the order of bits is that of
    `weights`, which has the shape (pixel rows, pixel columns) of a cell."""

    name: str
    weights: tuple[tuple[int, ...], ...]
    cells: str
    vertical: str
    horizontal: str
    corner: str
    y_tick: str
    x_tick: str
    solid: str
    dashed: str
    cursor: str
    cursor_foot: str
    levels: str
    """From empty to full, for sparklines."""
    bar_full: str
    bar_empty: str
    unknown: str
    saved: str
    resumed: str
    best: str
    more: str
    """In front of the number of lines that wait below."""

    @property
    def pixel_columns(self) -> int:
        """Pixels of a cell, across."""
        return len(self.weights[0])

    @property
    def pixel_rows(self) -> int:
        """Pixels of a cell, down."""
        return len(self.weights)

    def masks(self, pixels: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Bit masks of the cells of a picture.

        `pixels` has shape (rows * pixel_rows, columns * pixel_columns); the result has shape
        (rows, columns), and `cells[mask]` is the character of a cell.
        """
        down, across = self.pixel_rows, self.pixel_columns
        rows, columns = pixels.shape[0] // down, pixels.shape[1] // across
        blocks = pixels.reshape(rows, down, columns, across)
        masks = np.zeros((rows, columns), dtype=np.uint8)
        for y, line in enumerate(self.weights):
            for x, weight in enumerate(line):
                masks |= np.where(blocks[:, y, :, x], np.uint8(weight), np.uint8(0))
        return masks


_MARKS = {"saved": "▲", "resumed": "↻", "best": "◆", "more": "▼"}

BRAILLE = GlyphSet(
    name="braille",
    weights=((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80)),
    cells=" " + "".join(map(chr, range(0x2801, 0x2900))),
    vertical="│",
    horizontal="─",
    corner="└",
    y_tick="┤",
    x_tick="┬",
    solid="──",
    dashed="╌╌",
    cursor="│",
    cursor_foot="┴",
    levels="▁▂▃▄▅▆▇█",
    bar_full="▇",
    bar_empty="▁",
    unknown="╌",
    **_MARKS,
)

BLOCK = GlyphSet(
    name="block",
    weights=((1, 2), (4, 8)),
    cells=" ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█",
    vertical="│",
    horizontal="─",
    corner="└",
    y_tick="┤",
    x_tick="┬",
    solid="──",
    dashed="╌╌",
    cursor="│",
    cursor_foot="┴",
    levels="▁▂▃▄▅▆▇█",
    bar_full="▇",
    bar_empty="▁",
    unknown="╌",
    **_MARKS,
)

ASCII = GlyphSet(
    name="ascii",
    weights=((1,), (2,)),
    cells=" '.:",
    vertical="|",
    horizontal="-",
    corner="+",
    y_tick="+",
    x_tick="+",
    solid="--",
    dashed="- ",
    cursor="|",
    cursor_foot="^",
    levels="_.:-=+*#",
    bar_full="#",
    bar_empty=".",
    unknown="?",
    saved="S",
    resumed="R",
    best="B",
    more="v",
)

GLYPHS = {glyphs.name: glyphs for glyphs in (BRAILLE, BLOCK, ASCII)}


def glyphs_for(encoding: str | None) -> GlyphSet:
    """The finest set that a stream of this encoding can carry; unknown encodings get ASCII."""
    name = (encoding or "").lower().replace("-", "").replace("_", "")
    return BRAILLE if name in {"utf8", "utf16", "utf32", "utf8sig"} else ASCII
