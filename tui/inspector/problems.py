"""The list of problems: reasons with their rows, and what was noted of rows that are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import BindingType

from core.config.counted import counted
from core.data.filter import Array
from core.data.overlay import Mark
from tui import numbers
from tui.bindings import bindings
from tui.inert import inert
from tui.inspector.detail import Detail
from tui.inspector.view import SIDE_BY_SIDE, Listed, View
from tui.rows import Rows
from tui.widgets.virtual_list import Cell

REASON, NOTE, UNMET = "reason", "note", "unmet"
_UNMET_NAME = "decisions that fit no row any more"


@dataclass(frozen=True)
class Group:
    """Rows that have something in common: why they are rejected, or what was noted of them."""

    kind: str
    name: str
    numbers: Array
    marks: tuple[Mark, ...] = ()

    @property
    def size(self) -> int:
        return len(self.marks) or len(self.numbers)


class Problems(Listed):
    """Groups that unfold into their rows; enter on a row goes to it in the table."""

    NAME = "problems"

    DEFAULT_CSS = """
    Problems {
        VirtualList { height: 1fr; min-height: 3; }
        Detail { height: 1fr; }
        Detail.-hidden { display: none; }
        &.-wide { layout: horizontal; }
        &.-wide VirtualList { width: 3fr; height: 100%; }
        &.-wide Detail { width: 2fr; height: 100%; margin-left: 2; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("data.problems")]

    def __init__(self) -> None:
        super().__init__()
        self.detail = Detail()
        self.groups: list[Group] = []
        self._open: set[tuple[str, str]] = set()
        self._starts: list[int] = []
        self._seen: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield self.list
        yield self.detail

    @property
    def keys(self) -> tuple[str, ...]:
        if not self.groups:
            return ()
        group, _ = self._at(self.list.cursor)
        forget = ("problems.forget",) if group.kind == UNMET else ("problems.filter",)
        return ("problems.open", *forget)

    @property
    def count(self) -> str:
        if self.rows is None:
            return ""
        bad = int((self.rows.reasons()[1] != 0).sum())
        return numbers.count(bad) if bad else ""

    @property
    def caption(self) -> str:
        survey = self.rows.survey if self.rows else None
        return "" if survey is None or survey.complete else "more may come: not all is looked at"

    def show(self, rows: Rows | None) -> None:
        self._open.clear()
        self.list.rewind()
        self._seen = ()
        super().show(rows)

    def on_resize(self) -> None:
        self.set_class(self.size.width >= SIDE_BY_SIDE, "-wide")

    def look_again(self) -> None:
        rows = self.rows
        seen = _state(rows) if rows else ()
        if seen != self._seen:
            self._seen = seen
            self.groups = _groups(rows) if rows else []
        if self.display:
            self._lay()

    def _lay(self) -> None:
        at = 0
        self._starts = []
        for group in self.groups:
            self._starts.append(at)
            at += 1 + (group.size if (group.kind, group.name) in self._open else 0)
        self.list.set_count(at or 1)
        self._show_row()

    def _at(self, line: int) -> tuple[Group, int]:
        """The group a line belongs to, and which of its rows it is; -1: its header."""
        place = int(np.searchsorted(self._starts, line, "right")) - 1
        return self.groups[place], line - self._starts[place] - 1

    def _number(self, line: int) -> int | None:
        """The row of a line; of a header, its first."""
        group, at = self._at(line)
        return int(group.numbers[max(0, at)]) if len(group.numbers) else None

    def _mark(self, line: int) -> Mark | None:
        """The decision of a line that fits no row any more."""
        group, at = self._at(line)
        return group.marks[at] if group.kind == UNMET and at >= 0 else None

    def _show_row(self) -> None:
        number = self._number(self.list.cursor) if self.groups else None
        mark = self._mark(self.list.cursor) if self.groups else None
        self.detail.set_class(number is None and mark is None, "-hidden")
        if mark is not None:
            self.detail.say(_typed(mark))
        if number is not None and self.rows is not None:
            self.detail.show(self.rows, number)
        self.post_message(self.Changed())

    def _moved(self) -> None:
        self._show_row()

    def _chosen(self, index: int) -> None:
        """Unfold or fold a group; go to a row."""
        if not self.groups:
            return
        group, at = self._at(index)
        if at < 0:
            self._open ^= {(group.kind, group.name)}
            self._lay()
        elif group.kind != UNMET:
            self.post_message(self.Wanted(number=int(group.numbers[at])))

    def action_filter(self) -> None:
        """Show the rows of the group in the table."""
        if self.groups:
            group, _ = self._at(self.list.cursor)
            if group.kind != UNMET:
                self.post_message(self.Wanted(line=f"{group.kind}:{group.name}"))

    def action_forget(self) -> None:
        """Let decisions go that fit no row any more."""
        if self.rows is not None and self.groups:
            group, at = self._at(self.list.cursor)
            if group.kind == UNMET:
                self.post_message(self.Forget(group.marks if at < 0 else group.marks[at : at + 1]))

    def action_scroll_detail(self, direction: int) -> None:
        """Scroll the row."""
        self.detail.scroll_on(direction)

    def action_next_view(self) -> None:
        """The row rendered, raw, in tokens."""
        self.detail.next_view()

    def _draw(self, index: int, width: int) -> list[Cell]:
        if not self.groups:
            return [(_nothing(self.rows), "dim")]
        group, at = self._at(index)
        if at < 0:
            fold = "▾" if (group.kind, group.name) in self._open else "▸"
            style = {REASON: "error", UNMET: "warning"}.get(group.kind, "")
            note = "  noted, and kept" if group.kind == NOTE else ""
            name = inert(group.name.replace("_", " "))
            size = numbers.count(group.size)
            return [(f"{fold} ", "accent"), (f"{size:>9}  ", ""), (name, style), (note, "dim")]
        if group.kind == UNMET:
            file, line, _ = group.marks[at].key
            what = "dropped" if group.marks[at].value is None else "edited"
            return [(f"    {inert(file)}:{line}  ", "dim"), (what, "")]
        assert self.rows is not None
        number = int(group.numbers[at])
        glance = self.rows.glance(number)
        place = f"{Path(glance.file).name}:{glance.line}"
        return [
            (f"  {numbers.count(number + 1):>9}  ", "dim"),
            (inert(glance.words)[: max(0, width - 40)].ljust(max(0, width - 40)), ""),
            (f"  {inert(place)[-24:]}", "dim"),
        ]

    class Forget(View.Changed):
        """Decisions are to be let go."""

        def __init__(self, marks: tuple[Mark, ...]) -> None:
            super().__init__()
            self.marks = marks


def _groups(rows: Rows) -> list[Group]:
    """What is wrong, most rows first; then what was noted."""
    names, codes = rows.reasons()
    none = np.zeros(0, dtype=np.int64)
    found = [Group(REASON, n, np.flatnonzero(codes == c)) for c, n in enumerate(names) if c]
    survey = rows.survey
    unmet: list[Group] = []
    noted: list[Group] = []
    if survey is not None:
        lost = tuple(rows.unmet()) if survey.complete and len(rows.overlay) else ()
        unmet = [Group(UNMET, _UNMET_NAME, none, lost)]
        noted = [Group(NOTE, n, np.flatnonzero(rows.word(NOTE, n))) for n in survey.notes]
    kinds = (unmet, found, noted)
    return [group for kind in kinds for group in sorted(kind, key=_by_size) if group.size]


def _state(rows: Rows) -> tuple[object, ...]:
    """What the groups come from: another survey, of other rules, may know of as many rows."""
    return (id(rows), rows.version, id(rows.survey), rows.looked_at, rows.known, rows.revision,
            len(rows.overlay))  # fmt: skip


def _typed(mark: Mark) -> list[Cell]:
    """What was decided about a row that is gone; of an edited one all that was typed."""
    if mark.value is None:
        return [("This row was dropped, and is not there any more.", "dim")]
    value = json.dumps(mark.value, ensure_ascii=False, indent=2)
    return [("edited by hand, for a row that is not there any more\n", "head"), (value, "")]


def _by_size(group: Group) -> tuple[int, str]:
    return -group.size, group.name


def _nothing(rows: Rows | None) -> str:
    if rows is not None and rows.survey is not None and rows.survey.complete:
        return "Nothing is wrong with these rows: all of them are kept."
    if rows is None or not rows.known:
        return "Not looked at yet."
    return f"Nothing is wrong with the first {counted(rows.known, 'row')}; not all are looked at."
