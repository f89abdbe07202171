"""The table of rows: filter, search, sort and choose columns; below it the row under the cursor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.config.errors import FinetuiError, InputError
from core.data.filter import Array, Filter, parse, suggest
from tui import columns, numbers, scan
from tui.bindings import bindings
from tui.inert import inert
from tui.inspector.ask_line import AskLine
from tui.inspector.detail import Detail
from tui.inspector.view import View
from tui.rows import Rows
from tui.widgets.virtual_list import Cell, VirtualList

SIDE_BY_SIDE = 120
"""Cells from which the row stands beside the table instead of below it."""

_MARKS = {"dropped": ("–", "warning"), "edited": ("✎", "accent")}
_HINTS = {
    "filter": "several conditions must all hold; empty shows all rows",
    "search": "text, /pattern/ or any condition of a filter; n and N go on",
    "go to": "a row's number, or file:line",
}


class Table(View):
    """The rows, as many as the filter leaves, in the order that was chosen."""

    NAME = "rows"

    DEFAULT_CSS = """
    Table {
        #both { layout: vertical; height: 1fr; }
        #both > VirtualList { height: 1fr; min-height: 3; }
        #both > Detail { height: 1fr; }
        &.-wide #both { layout: horizontal; }
        &.-wide VirtualList { width: 3fr; height: 100%; }
        &.-wide Detail { width: 2fr; height: 100%; margin-left: 2; }
        &.-large #both > VirtualList { height: 4; }
        &.-large.-wide #both > VirtualList { height: 100%; width: 1fr; }
        &.-large.-wide Detail { width: 3fr; }
        #state { height: 1; display: none; color: $foreground 80%; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("data.rows")]

    def __init__(self) -> None:
        super().__init__()
        self.list = VirtualList(self._draw, header=self._header, id="rows")
        self.detail = Detail()
        self.ask = AskLine()
        self._state = Static(id="state", markup=False)
        self.columns = [columns.column(name) for name in columns.SHOWN]
        self.order: Array | None = None
        """Numbers of the rows in the table; None: all, as they come."""
        self.filter_line = ""
        self.sorted_by: tuple[columns.Column, bool] | None = None
        self.needle = Filter()
        self.needle_line = ""
        self.matches: list[int] = []
        """Places in the table that the search found so far, in their order once it has ended."""
        self._working = ""
        self._part = 0.0
        self._job = 0

    def compose(self) -> ComposeResult:
        with Container(id="both"):
            yield self.list
            yield self.detail
        yield self._state
        yield self.ask

    def target(self) -> Widget:
        return self.list

    @property
    def keys(self) -> tuple[str, ...]:
        found = ("rows.next",) if self.needle.terms else ()
        return (*found, "rows.filter", "rows.search", "rows.view", "rows.edit", "rows.drop",
                "rows.columns")  # fmt: skip

    @property
    def caption(self) -> str:
        return self.detail.caption

    @property
    def number(self) -> int | None:
        """The number of the row under the cursor."""
        if self.rows is None or not self.list.count:
            return None
        return self._number(self.list.cursor)

    # -- what is shown -------------------------------------------------------------------------

    def show(self, rows: Rows | None) -> None:
        self._end_job()
        self.order, self.filter_line, self.sorted_by = None, "", None
        self._forget_search()
        self.list.cursor = 0
        self.detail.clear()
        if rows is not None:
            names = [c.id.removeprefix(columns.FIELD) for c in self.columns if c.id[0] == "."]
            rows.fields = tuple(names)
        super().show(rows)

    def look_again(self) -> None:
        """More rows were found, or more is known of them."""
        if self.rows is None:
            return
        self.list.set_count(self.rows.count if self.order is None else len(self.order))
        self._show_row()
        self._say_state()

    def again(self) -> None:
        """The survey has ended: what it knows more of may pass the filter now."""
        if self.filter_line or self.sorted_by:
            self._arrange(self.filter_line, self.sorted_by, keep=True)

    def on_resize(self) -> None:
        self.set_class(self.size.width >= SIDE_BY_SIDE, "-wide")

    def go_to(self, number: int) -> None:
        """Put the cursor on a row; the filter goes when it hides that row."""
        place = self._place(number)
        if place is None:
            self.filter_line, self.sorted_by, self.order = "", None, None
            self._forget_search()
            self.look_again()
            place = number
        self.list.move_to(place)

    def _number(self, place: int) -> int:
        return place if self.order is None else int(self.order[place])

    def _place(self, number: int) -> int | None:
        if self.order is None:
            return number
        found = np.flatnonzero(self.order == number)
        return int(found[0]) if len(found) else None

    def _show_row(self) -> None:
        number = self.number
        if self.rows is None or number is None:
            self.detail.clear()
        else:
            self.detail.show(self.rows, number)
            self._count_tokens()
        self.post_message(self.Changed())

    def _count_tokens(self) -> None:
        """Find the lengths of the rows in sight, in a thread, where the survey has none yet."""
        rows, first = self.rows, self.list.scroll_offset.y
        if rows is None or rows.codec is None:
            return
        last = min(first + self.list.page, self.list.count)
        unknown = [n for n in map(self._number, range(first, last)) if rows.wants_tokens(n)]
        if not unknown:
            return

        def count() -> None:
            for number in unknown:
                if self.rows is not rows:
                    return
                rows.count_tokens(number)
            self.app.call_from_thread(self.list.refresh)

        self.run_worker(count, thread=True, exclusive=True, group="tokens")

    def on_virtual_list_moved(self, event: VirtualList.Moved) -> None:
        event.stop()
        self._show_row()
        self._say_state()

    def on_virtual_list_selected(self, event: VirtualList.Selected) -> None:
        """Enter gives the row most of the room, and takes it back."""
        event.stop()
        self.toggle_class("-large")
        self.call_after_refresh(self.list.move_to, self.list.cursor)

    # -- keys ----------------------------------------------------------------------------------

    def action_next_view(self) -> None:
        """Rendered, raw, tokens."""
        self.detail.next_view()
        self.post_message(self.Changed())

    def action_ids(self) -> None:
        """Tokens with their numbers."""
        self.detail.toggle_ids()

    def action_scroll_detail(self, by: int) -> None:
        """Scroll the row below the list."""
        self.detail.scroll_by(by)

    def action_ask(self, purpose: str) -> None:
        """Ask for a filter, a search or a place."""
        if self.rows is None:
            return
        known = self._known() if purpose != "go to" else {}
        value = {"filter": self.filter_line, "search": self.needle_line}.get(purpose, "")
        value += " " if value and purpose == "filter" else ""
        offer = None if purpose == "go to" else lambda line: suggest(line, known)
        check = self._goal if purpose == "go to" else parse
        self.ask.ask(purpose, value, _HINTS[purpose], offer, check)

    def on_ask_line_left(self, event: AskLine.Left) -> None:
        event.stop()
        self.list.focus()

    def on_ask_line_given(self, event: AskLine.Given) -> None:
        event.stop()
        self.list.focus()
        if event.purpose == "filter":
            self.filter(event.text)
        elif event.purpose == "search":
            self.search(event.text)
        elif event.text:
            goal = self._goal(event.text)
            if goal is not None:
                self.go_to(goal)

    def action_clear(self) -> None:
        """End what goes on; else forget the search, then the filter, then the order."""
        if self._working:
            self._end_job()
        elif self.needle.terms:
            self._forget_search()
        elif self.filter_line:
            self._arrange("", self.sorted_by, keep=True)
        elif self.sorted_by:
            self._arrange("", None, keep=True)
        self._say_state()
        self.post_message(self.Changed())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape is ours only while there is something to end or to clear."""
        if action == "clear":
            busy = self._working or self.needle.terms or self.filter_line or self.sorted_by
            return bool(busy) and not self.ask.open
        return True

    # -- filter and sort -----------------------------------------------------------------------

    def filter(self, line: str) -> None:
        """Show only the rows that pass a filter line. It must be a right one."""
        self._arrange(line, self.sorted_by)

    def sort(self, column: columns.Column) -> None:
        """Sort by a column: upwards, downwards, then as the rows come."""
        now = self.sorted_by
        if now is None or now[0].id != column.id:
            self._arrange(self.filter_line, (column, column.right and column.id != "row"))
        else:
            first = column.right and column.id != "row"
            self._arrange(self.filter_line, (column, not first) if now[1] == first else None)

    def _arrange(
        self, line: str, by: tuple[columns.Column, bool] | None, *, keep: bool = False
    ) -> None:
        """Find and order rows, in a thread. `keep` leaves the cursor on its row."""
        rows = self.rows
        if rows is None:
            return
        wanted = parse(line)
        if not wanted.terms and by is None:
            self._arranged(line, by, None, keep)
            return
        tick = self._begin_job("filtering" if wanted.terms else "sorting")

        def work() -> None:
            try:
                found = scan.select(rows, wanted, tick)
                if by is not None:
                    found = scan.sort(rows, found, by[0], down=by[1], tick=tick)
            except scan.Ended:
                return
            except FinetuiError as error:
                self.app.call_from_thread(self._failed, error)
                return
            self.app.call_from_thread(self._arranged, line, by, found, keep)

        self.run_worker(work, thread=True, group="arrange")

    def _arranged(
        self, line: str, by: tuple[columns.Column, bool] | None, order: Array | None, keep: bool
    ) -> None:
        self._end_job()
        number = self.number if keep else None
        self.filter_line, self.sorted_by, self.order = line, by, order
        again, self.needle_line = self.needle_line, ""
        self._forget_search()
        self.look_again()
        place = self._place(number) if number is not None else 0
        self.list.move_to(place or 0)
        if again:
            self.search(again, jump=False)
        self.post_message(self.Changed())

    # -- search --------------------------------------------------------------------------------

    def search(self, line: str, *, jump: bool = True) -> None:
        """Find rows of the table, from the cursor on, in a thread; go to the first at once."""
        self._forget_search()
        rows, order, start = self.rows, self.order, self.list.cursor
        self.needle, self.needle_line = parse(line), line
        self.detail.mark([term.pattern for term in self.needle.terms if term.pattern
                          and not term.negated])  # fmt: skip
        self.post_message(self.Changed())
        if rows is None or not self.needle.terms:
            self._say_state()
            return
        wanted = self.needle
        tick = self._begin_job("searching")

        def work() -> None:
            found: list[int] = []
            try:
                for place in scan.search(rows, wanted, order, start, tick):
                    found.append(place)
                    if len(found) == 1 and jump:
                        self.app.call_from_thread(self._found_first, wanted, place)
            except scan.Ended:
                pass
            except FinetuiError as error:
                self.app.call_from_thread(self._failed, error)
                return
            self.app.call_from_thread(self._found_all, wanted, sorted(found))

        self.run_worker(work, thread=True, group="arrange")

    def _found_first(self, wanted: Filter, place: int) -> None:
        if wanted is self.needle:
            self.matches = [place]
            self.list.move_to(place)

    def _found_all(self, wanted: Filter, found: list[int]) -> None:
        if wanted is self.needle:
            self._end_job()
            self.matches = found
            self._say_state()

    def action_next_match(self, direction: int) -> None:
        """Go to the next row that the search found, round the end."""
        if not self.matches:
            return
        at = np.searchsorted(self.matches, self.list.cursor, "right" if direction > 0 else "left")
        place = int(at) if direction > 0 else int(at) - 1
        self.list.move_to(self.matches[place % len(self.matches)])

    def _forget_search(self) -> None:
        self.needle, self.needle_line, self.matches = Filter(), "", []
        self.detail.mark([])

    # -- work in threads -----------------------------------------------------------------------

    def _begin_job(self, what: str) -> Callable[[float], None]:
        """End what goes on, and begin something new; gives its `tick`."""
        self._end_job()
        self._working, self._part = what, 0.0
        mine = self._job

        def tick(part: float) -> None:
            if mine != self._job or not self.is_attached:
                raise scan.Ended
            self._part = part
            self.app.call_from_thread(self._say_state)

        self._say_state()
        return tick

    def _end_job(self) -> None:
        self._job += 1
        self._working = ""

    def _failed(self, error: FinetuiError) -> None:
        self._end_job()
        self._say_state()
        todo = "".join(f"\n→ {remedy}" for remedy in error.remedies)
        self.notify(inert(error.message + todo, keep="\n"), severity="error", markup=False)

    # -- words ---------------------------------------------------------------------------------

    def _say_state(self) -> None:
        rows, parts = self.rows, []
        if rows is not None and self.filter_line:
            of = f"{numbers.count(len(self.order) if self.order is not None else 0)} of"
            parts.append(f"{self.filter_line}  {of} {numbers.count(rows.count)}")
        if self.sorted_by:
            parts.append(f"{'↓' if self.sorted_by[1] else '↑'} {self.sorted_by[0].title}")
        if self.needle.terms:
            parts.append(self._search_state())
        if self._working:
            parts.append(f"{self._working} {self._part:.0%}, esc ends it")
        elif parts:
            parts.append("esc clears")
        self._state.update(Content(inert("  ·  ".join(parts))))
        self._state.display = bool(parts)

    def _search_state(self) -> str:
        what = f"search {self.needle_line}"
        if not self.matches:
            return what if self._working else f"{what}: not found"
        at = int(np.searchsorted(self.matches, self.list.cursor, "right"))
        so_far = " so far" if self._working else ""
        return f"{what}: {at:,} of {len(self.matches):,}{so_far}"

    def _known(self) -> dict[str, list[tuple[str, str]]]:
        """What the filter line may complete."""
        assert self.rows is not None
        names, codes = self.rows.reasons()
        counts = np.bincount(codes, minlength=len(names))
        reasons = [(name, f"{n:,} rows") for name, n in zip(names, counts.tolist(), strict=True)]
        survey = self.rows.survey
        notes = [(name, "") for name in survey.notes] if survey else []
        files = [(Path(name).name, "") for name in self.rows.files]
        states = [("kept", ""), ("rejected", ""), ("dropped", "by hand"), ("edited", "by hand"),
                  ("cut", "longer than max_length")]  # fmt: skip
        roles = [(role, "") for role in ("system", "user", "assistant", "tool")]
        fields = [(name, "field of the row") for name in self.fields()]
        return {"reason": reasons, "note": notes, "file": files, "is": states, "role": roles,
                ".": fields}  # fmt: skip

    def fields(self) -> list[str]:
        """Fields of the row under the cursor."""
        look = self.detail.look
        value = getattr(look.source, "value", {}) if look else {}
        return [name for name in value if isinstance(name, str) and not name.count(".")]

    def _goal(self, text: str) -> int | None:
        """The row that a place means. Raises InputError."""
        rows, plain = self.rows, text.replace(",", "").strip()
        if rows is None or not plain:
            return None
        if plain.isdigit():
            if not 1 <= int(plain) <= rows.count:
                raise InputError(f"there are rows 1 to {rows.count:,}", kind="no_row")
            return int(plain) - 1
        file, _, line = plain.rpartition(":")
        found = rows.number_at(file, int(line)) if line.isdigit() else None
        if found is None:
            raise InputError(f"{text} is no place in these files", kind="no_row",
                             remedies=("a number, or file:line",))  # fmt: skip
        return found

    # -- drawing -------------------------------------------------------------------------------

    def _header(self, width: int) -> list[Cell]:
        count = self.rows.count if self.rows else 0
        cells: list[Cell] = [("  ", "")]
        for one, wide in columns.arrange(self.columns, width - 2, count):
            by = self.sorted_by
            arrow = ("↓" if by[1] else "↑") if by and by[0].id == one.id else ""
            title = one.title[: wide - len(arrow)] + arrow
            cells.append((f"{title.rjust(wide) if one.right else title.ljust(wide)}  ", "head"))
        return cells

    def _draw(self, place: int, width: int) -> list[Cell]:
        rows = self.rows
        if rows is None:
            return []
        number = self._number(place)
        reason, decided = rows.reason(number), rows.glance(number).decided
        tokens = rows.tokens(number) or 0
        mark = _MARKS.get(decided) or (
            ("✗", "error") if reason else
            ("✂", "warning") if tokens > rows.config.data.max_length else (" ", "")
        )  # fmt: skip
        cells: list[Cell] = [(f"{mark[0]} ", mark[1])]
        told = any(one.id == "reason" for one in self.columns)
        for one, wide in columns.arrange(self.columns, width - 2, rows.count):
            if one.id == columns.WORDS and reason and not told:
                why = f"{inert(reason.replace('_', ' '))}  "
                cells.append((why[:wide], "error" if decided != "dropped" else "warning"))
                wide -= len(why)
            style = "error" if one.id == "reason" and reason else ""
            if wide > 0:
                text, plain = one.cell(rows, number, wide)
                cells += [(text, style or ("dim" if reason else plain)), ("  ", "")]
        return cells
