"""The columns of the table of rows: what each shows, how wide it is, and how to sort by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.data.filter import Array
from tui import numbers
from tui.inert import inert
from tui.known import KEPT
from tui.rows import Rows
from tui.widgets.virtual_list import Cell

WORDS = "words"
FIELD = "."
"""Columns of fields have ids that begin with it, as in the filter line."""

_PLACE_WIDTH = 22
_REASON_WIDTH = 18
_FIELD_WIDTH = 16


@dataclass(frozen=True)
class Column:
    """One column. ``width`` 0: as wide as what is left. ``sorts``: a key of the filter line."""

    id: str
    title: str
    about: str
    width: int
    text: Callable[[Rows, int], str]
    right: bool = False
    sorts: str = ""
    style: str = ""

    def keys(self, rows: Rows) -> Array | None:
        """What to sort by, an entry a row; None where the texts decide."""
        if self.sorts == "reason":
            names, codes = rows.reasons()
            rank = sorted(range(len(names)), key=lambda n: (n > 0, names[n]))
            places: Array = codes.astype("int64")
            for place, code in enumerate(rank):
                places[codes == code] = place
            return places
        return rows.number(self.sorts) if self.sorts else None

    def cell(self, rows: Rows, number: int, width: int) -> Cell:
        """The column's part of a line, `width` cells of text."""
        text = inert(self.text(rows, number))
        if self.right:
            return _fitted(text, width).rjust(width), self.style
        if len(text) > width:
            text = "…" + text[1 - width :] if self.id == "place" else text[: width - 1] + "…"
        return text.ljust(width), self.style


def _fitted(text: str, width: int) -> str:
    """A number, without its commas or in millions where it is too wide for its column."""
    if len(text) > width and text.replace(",", "").isdigit():
        text = text.replace(",", "")
        text = text if len(text) <= width else numbers.short(int(text))
    return text[:width]


def _optional(value: int | None) -> str:
    return "–" if value is None else numbers.count(value)


def _place(rows: Rows, number: int) -> str:
    glance = rows.glance(number)
    return f"{Path(glance.file).name}:{glance.line}"


def _reason(rows: Rows, number: int) -> str:
    return rows.reason(number) or rows.glance(number).decided or KEPT


COLUMNS: tuple[Column, ...] = (
    Column("row", "#", "number of the row", 4, lambda _, n: numbers.count(n + 1), True, "row",
           "dim"),
    Column("place", "place", "file and line", _PLACE_WIDTH, _place, sorts="row", style="dim"),
    Column("turns", "turns", "number of turns", 5,
           lambda rows, n: str(rows.glance(n).turns or "–"), True, "turns"),
    Column("tokens", "tokens", "length in tokens, before the cut", 7,
           lambda rows, n: _optional(rows.tokens(n)), True, "tokens"),
    Column("answer", "answer", "tokens that carry loss", 7,
           lambda rows, n: _optional(rows.answer(n)), True, "answer"),
    Column("chars", "chars", "length in characters", 8,
           lambda rows, n: _optional(rows.glance(n).chars or None), True, "chars"),
    Column("reason", "reason", "kept, or why not", _REASON_WIDTH, _reason, sorts="reason"),
    Column(WORDS, "first words", "what the user says first", 0,
           lambda rows, n: rows.glance(n).words),
)  # fmt: skip
"""Every column but those of fields, in their order in the table."""

SHOWN = ("row", "turns", "tokens", WORDS)
"""What a table begins with."""


def column(column_id: str) -> Column:
    """A column by its id; ids that begin with a dot are fields of the row."""
    known = {one.id: one for one in COLUMNS}
    if column_id in known:
        return known[column_id]
    name = column_id.removeprefix(FIELD)

    def text(rows: Rows, number: int) -> str:
        at = rows.fields.index(name) if name in rows.fields else -1
        return rows.glance(number).fields[at] if at >= 0 else ""

    return Column(column_id, name, "field of the row", _FIELD_WIDTH, text)


def arrange(shown: list[Column], width: int, count: int) -> list[tuple[Column, int]]:
    """The columns that fit into a width, and the width of each; the last one takes the rest."""
    gaps = 2
    placed: list[tuple[Column, int]] = []
    left = width
    for one in shown:
        digits = len(numbers.count(max(count, 1)))
        wide = max(one.width, digits) if one.id == "row" else one.width
        if one.id == WORDS or wide + gaps > left:
            continue
        placed.append((one, wide))
        left -= wide + gaps
    words = [one for one in shown if one.id == WORDS]
    if words and left > 0:
        placed.append((words[0], left))
    elif placed and not placed[-1][0].right:
        placed[-1] = (placed[-1][0], placed[-1][1] + max(0, left))
    return placed
