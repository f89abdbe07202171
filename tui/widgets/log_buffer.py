"""The lines behind a log view: a ring of the newest, filtered by level, wrapped, searched.

Knows nothing of a screen. Each line is looked at once when it comes; what a repaint needs is found
by bisection, so that a hundred thousand lines cost no more to show than fifty.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rich.cells import cell_len, chop_cells

from core.config.counted import counted
from tui.inert import inert

LEVELS = ("all", "info", "warning", "error")
"""What can be filtered for; each holds the levels behind it too."""

_RANKS = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 3}
_LONGEST = 10_000  # characters of a line kept; the rest is counted in its last words
_TAB = 4
_LEAST_WIDTH = 2  # a wide character needs two cells


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: unix seconds, "debug", "info", "warning" or "error", and what it says."""

    time: float
    level: str
    text: str

    @property
    def rank(self) -> int:
        """Weight of the level; one that is not known counts as info."""
        return _RANKS.get(self.level, 1)


class Row(NamedTuple):
    """One row of the view: its line, the part of the text on it, and where that part starts."""

    id: int
    line: LogLine
    text: str
    start: int


class Change(NamedTuple):
    """What `extend` did to what is shown: lines added below, rows that left above."""

    added: int
    rows_left: int


class LogBuffer:
    """The newest `capacity` lines. A line keeps its `id`, counted from 0 for the first ever."""

    def __init__(self, capacity: int = 100_000) -> None:
        self.capacity = capacity
        self.dropped = 0
        """Older lines that left the buffer."""
        self.level = "all"
        self.width: int | None = None
        """Cells to wrap at; None: a line is a row."""
        self.widest = 0
        """Cells of the longest line so far."""
        self.needle = ""
        self.matches: list[int] = []
        """Ids of the shown lines that hold the needle, ascending."""
        self._lines: list[LogLine] = []
        self._shown: list[int] | None = None  # ids, None: all
        self._ends: list[int] = []  # row behind each shown line, counted from row 0 ever
        self._first_row = 0  # rows ever that lie before the first shown line

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def shown(self) -> int:
        """Lines that pass the filter."""
        return len(self._lines) if self._shown is None else len(self._shown)

    @property
    def rows(self) -> int:
        """Rows of all shown lines."""
        if self.width is None:
            return self.shown
        return self._ends[-1] - self._first_row if self._ends else 0

    def extend(self, lines: Iterable[LogLine]) -> Change:
        """Add lines; texts are made inert, split at line ends, and cut where endlessly long."""
        new = [clean for line in lines for clean in _cleaned(line)]
        first = self.dropped + len(self._lines)
        shown_before = self.shown
        self._lines.extend(new)
        rows_left = self._trim(shown_before)
        added, least = 0, LEVELS.index(self.level)
        for id_, line in enumerate(new, first):
            if id_ >= self.dropped and line.rank >= least:
                self._show(id_, line)
                added += 1
        return Change(added, rows_left)

    def clear(self) -> None:
        """Forget all lines; filter, wrap and search stay."""
        self.dropped = 0
        self.widest = 0
        self._lines.clear()
        self._rebuild()

    def filter(self, level: str) -> None:
        """Show only lines of this level and above; raises ValueError for one not in `LEVELS`."""
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}, must be one of {', '.join(LEVELS)}")
        self.level = level
        self._rebuild()

    def wrap(self, width: int | None) -> None:
        """Break lines at `width` cells, or at none."""
        width = None if width is None else max(_LEAST_WIDTH, width)
        if width != self.width:
            self.width = width
            self._rebuild()

    def search(self, needle: str) -> None:
        """Find a text in the shown lines, and in those to come; capitals count if it has any."""
        self.needle = needle
        self.matches = [id_ for id_, line in self._each() if self.hits(line.text)]

    def hits(self, text: str) -> list[tuple[int, int]]:
        """Where the needle stands in a text, as (start, end)."""
        needle = self.needle
        if not needle:
            return []
        if needle == needle.lower() and len(text.lower()) == len(text):
            text = text.lower()
        found, at = [], text.find(needle)
        while at >= 0:
            found.append((at, at + len(needle)))
            at = text.find(needle, at + len(needle))
        return found

    def row(self, y: int) -> Row:
        """Row `y`, from 0 to below `rows`."""
        if self.width is None:
            id_ = self.dropped + y if self._shown is None else self._shown[y]
            line = self._lines[id_ - self.dropped]
            return Row(id_, line, line.text, 0)
        place = bisect_right(self._ends, y + self._first_row)
        id_ = self.dropped + place if self._shown is None else self._shown[place]
        line = self._lines[id_ - self.dropped]
        before = self._ends[place - 1] if place else self._first_row
        parts = _parts(line.text, self.width)
        part = y + self._first_row - before
        return Row(id_, line, parts[part], sum(map(len, parts[:part])))

    def row_of(self, id_: int) -> int:
        """First row of a line, or of the next one shown if it is not."""
        place = id_ - self.dropped if self._shown is None else bisect_left(self._shown, id_)
        place = min(max(0, place), self.shown)
        if self.width is None or place == 0:
            return place
        return self._ends[place - 1] - self._first_row

    def _each(self) -> Iterator[tuple[int, LogLine]]:
        ids = range(self.dropped, self.dropped + len(self._lines))
        for id_ in ids if self._shown is None else self._shown:
            yield id_, self._lines[id_ - self.dropped]

    def _show(self, id_: int, line: LogLine) -> None:
        if self._shown is not None:
            self._shown.append(id_)
        text = line.text
        if _most_cells(text) > self.widest:
            self.widest = max(self.widest, _cells(text))
        if self.width is not None:
            rows = 1 if _most_cells(text) <= self.width else len(_parts(text, self.width))
            self._ends.append((self._ends[-1] if self._ends else self._first_row) + rows)
        if self.needle and self.hits(line.text):
            self.matches.append(id_)

    def _trim(self, shown_before: int) -> int:
        """Let the oldest lines go; returns how many rows of the view went with them.

        The newest lines are in the ring already, but not yet among the `shown_before` shown ones.
        """
        excess = len(self._lines) - self.capacity
        if excess <= 0:
            return 0
        del self._lines[:excess]
        self.dropped += excess
        del self.matches[: bisect_left(self.matches, self.dropped)]
        gone = min(excess, shown_before)
        if self._shown is not None:
            gone = bisect_left(self._shown, self.dropped)
            del self._shown[:gone]
        if self.width is None or not gone:
            return gone
        before, self._first_row = self._first_row, self._ends[gone - 1]
        del self._ends[:gone]
        return self._first_row - before

    def _rebuild(self) -> None:
        self._shown = None if self.level == "all" else []
        self._ends.clear()
        self._first_row = 0
        self.matches.clear()
        least = LEVELS.index(self.level)
        for id_, line in enumerate(self._lines, self.dropped):
            if line.rank >= least:
                self._show(id_, line)


def _cleaned(line: LogLine) -> list[LogLine]:
    text = line.text
    if len(text) <= _LONGEST and text.isascii() and text.isprintable():
        return [line]
    parts = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return [LogLine(line.time, line.level, _shortened(part)) for part in parts]


def _shortened(text: str) -> str:
    text = text.expandtabs(_TAB)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} … and {counted(len(text) - _LONGEST, 'more character')}"
    return inert(text)


def _cells(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _most_cells(text: str) -> int:
    """No fewer cells than the text takes: counting those of wide characters is slow."""
    return len(text) if text.isascii() else 2 * len(text)


def _parts(text: str, width: int) -> list[str]:
    """A text cut into pieces of at most `width` cells; one empty piece of an empty text.

    A piece ends behind a space where there is one in its second half: a long path is better cut
    than moved away from what it belongs to.
    """
    parts, at = [], 0
    while len(text) - at > width or _cells(text[at:]) > width:
        end = at + _fitting(text[at : at + 2 * width], width)
        space = text.rfind(" ", at + (end - at) // 2, end)
        end = end if space < 0 or end == len(text) else space + 1
        parts.append(text[at:end])
        at = end
    return [*parts, text[at:]] if at < len(text) else parts or [""]


def _fitting(text: str, width: int) -> int:
    """How many characters of a text fit into `width` cells."""
    return width if text.isascii() else max(1, len(chop_cells(text, width)[0]))
