"""Small measures in a line of text: bars, sparklines and numbers that keep their place.

Pure functions with a fixed width in cells, so that a reading may change without anything beside
it moving. What is not known is shown as not known, never as zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.content import Content

from tui.glyphs import BRAILLE, GlyphSet

_DIM = "$foreground 35%"
UNKNOWN = "–"


def bar(
    fraction: float | None, width: int, glyphs: GlyphSet = BRAILLE, *, style: str = "$accent"
) -> Content:
    """A bar of `width` cells, filled by `fraction` (0 to 1; beyond is cut); None: not known.

    More than nothing fills at least one cell, and less than everything leaves at least one empty.
    """
    width = max(0, width)
    if fraction is None or not math.isfinite(fraction):
        return Content.styled(glyphs.unknown * width, _DIM)
    fraction = min(1.0, max(0.0, fraction))
    full = round(fraction * width)
    if 0 < fraction < 1 and width > 1:
        full = min(max(full, 1), width - 1)
    return Content.assemble(
        (glyphs.bar_full * full, style), (glyphs.bar_empty * (width - full), _DIM)
    )


def spark(
    values: Sequence[float],
    width: int,
    glyphs: GlyphSet = BRAILLE,
    *,
    low: float | None = None,
    high: float | None = None,
    style: str = "$accent",
) -> Content:
    """The newest values as a line of bars, one cell for each, the newest at the right end.

    `low` and `high` set the scale, else the finite values do. What is not finite is a blank cell;
    cells before the first value are blank too.
    """
    width = max(0, width)
    newest = list(values[-width:]) if width else []
    finite = [value for value in newest if math.isfinite(value)]
    low = min(finite, default=0.0) if low is None else low
    high = max(finite, default=1.0) if high is None else high
    drawn = "".join(_level(value, low, high, glyphs.levels) for value in newest)
    return Content.styled(drawn.rjust(width), style)


def _level(value: float, low: float, high: float, levels: str) -> str:
    if not math.isfinite(value):
        return " "
    share = (value - low) / (high - low) if high > low else 0.0
    return levels[round(min(1.0, max(0.0, share)) * (len(levels) - 1))]


def reading(value: float | None, width: int, decimals: int = 1, unit: str = "") -> str:
    """A number right-aligned in `width` cells, unit included; None: a dash in its place.

    A number that does not fit loses decimals, then is cut to a scientific one; it may stand out
    beyond `width` rather than be shown wrong.
    """
    unit = f" {unit}" if unit else ""
    room = width - len(unit)
    if value is None or math.isnan(value):
        return (UNKNOWN.rjust(room) + unit).rjust(width)
    if math.isinf(value):
        return ("inf" if value > 0 else "-inf").rjust(room) + unit
    for digits in range(decimals, -1, -1):
        text = f"{value:,.{digits}f}"
        if len(text) <= room:
            return text.rjust(room) + unit
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}".rjust(room) + unit
