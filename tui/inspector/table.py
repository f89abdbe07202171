"""The table of rows: filter, search, sort and choose columns; below it the row under the cursor."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message

from core.config.counted import counted
from core.config.errors import FinetuiError, InputError
from core.data.chats.chat import ROLE_LETTERS
from core.data.filter import check_words, parse, suggest
from tui import columns
from tui.bindings import bindings
from tui.inert import inert
from tui.inspector.ask_line import AskLine
from tui.inspector.detail import Detail
from tui.inspector.find import Find
from tui.inspector.view import SIDE_BY_SIDE, Listed
from tui.known import KEPT
from tui.rows import Rows
from tui.widgets.one_line import OneLine
from tui.widgets.virtual_list import Cell

_MARKS = {"dropped": ("–", "warning"), "edited": ("✎", "accent")}
_HINTS = {
    "filter": "several conditions must all hold; empty shows all rows",
    "search": "text, /pattern/ or any condition of a filter; n and N go on",
    "go to": "a row's number, or file:line",
}


class Table(Listed):
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
        #state { display: none; color: $foreground 80%; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("data.rows")]

    class Decision(Message):
        """Something is to be decided about a row, or about all that are filtered."""

        def __init__(self, what: str, number: int | None) -> None:
            super().__init__()
            self.what, self.number = what, number

    def __init__(self) -> None:
        super().__init__(headed=True)
        self.detail = Detail()
        self.ask = AskLine()
        self._state = OneLine(id="state")
        self.columns = [columns.column(name) for name in columns.SHOWN]
        self.find = Find(self)
        self._seen: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        with Container(id="both"):
            yield self.list
            yield self.detail
        yield self._state
        yield self.ask

    @property
    def keys(self) -> tuple[str, ...]:
        found = ("rows.next",) if self.find.needle.terms else ()
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
        return self.find.number(self.list.cursor)

    # -- what is shown -------------------------------------------------------------------------

    def show(self, rows: Rows | None) -> None:
        self.find.reset(rows)
        self.list.rewind()
        self._seen = ()
        self.detail.mark([])
        self.detail.clear()
        if rows is not None:
            rows.show_fields(c.id[1:] for c in self.columns if c.id[0] == columns.FIELD)
        super().show(rows)

    def look_again(self) -> None:
        """More rows were found, or more is known of them."""
        rows = self.rows
        if rows is None:
            return
        seen = (
            rows,
            rows.version,
            self.find.order is None,
            self.find.count,
            self._known_here(rows),
        )
        if seen != self._seen:
            self._seen = seen
            self.list.set_count(self.find.count)
            self._show_row()
        self.say_state()

    def _known_here(self, rows: Rows) -> int:
        """How many of the rows in sight the survey has looked at."""
        first = self.list.scroll_offset.y
        places = range(first, min(first + self.list.page, self.find.count))
        return sum(self.find.number(place) < rows.known for place in places)

    def again(self) -> None:
        """The survey has ended: what it knows more of may pass the filter now."""
        find = self.find
        asks = any(term.cheap for term in parse(find.filter_line).terms)
        if (asks and find.stopped is None) or find.sorted_by:
            find.arrange(find.filter_line, find.sorted_by, self.number, told=False)

    def on_resize(self) -> None:
        self.set_class(self.size.width >= SIDE_BY_SIDE, "-wide")

    def go_to(self, number: int) -> None:
        """Put the cursor on a row; the filter goes when it hides that row."""
        place = self.find.place(number)
        if place is None:
            self.find.reset(self.rows)
            self.detail.mark([])
            self.look_again()
            place = number
        self.list.move_to(place)

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
        unknown = [n for n in map(self.find.number, range(first, last)) if rows.wants_tokens(n)]
        if not unknown:
            return

        def count() -> None:
            for number in unknown:
                if self.rows is not rows:
                    return
                rows.count_tokens(number)
            self.app.call_from_thread(self.list.refresh)

        self.run_worker(count, thread=True, exclusive=True, group="tokens")

    def _moved(self) -> None:
        self._show_row()
        self.say_state()

    def _chosen(self, index: int) -> None:
        """Enter gives the row most of the room, and takes it back."""
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

    def action_scroll_detail(self, direction: int) -> None:
        """Scroll the row."""
        self.detail.scroll_on(direction)

    def action_ask(self, purpose: str) -> None:
        """Ask for a filter, a search or a place."""
        if self.rows is None:
            return
        known = self._known() if purpose != "go to" else {}
        value = {"filter": self.find.filter_line, "search": self.find.needle_line}.get(purpose, "")
        value += " " if value and purpose == "filter" else ""
        offer = None if purpose == "go to" else lambda line: suggest(line, known)
        check = self._goal if purpose == "go to" else self._checked
        self.ask.ask(purpose, value, _HINTS[purpose], offer, check)

    def on_ask_line_given(self, event: AskLine.Given) -> None:
        event.stop()
        self.screen.set_focus(self.list)
        if event.purpose == "filter":
            self.filter(event.text)
        elif event.purpose == "search":
            self._search(event.text)
        elif event.text:
            goal = self._goal(event.text)
            if goal is not None:
                self.go_to(goal)

    def action_columns(self) -> None:
        """Choose columns and the one to sort by."""
        from tui.screens.columns import Chosen, ColumnsScreen

        by = self.find.sorted_by[0].id if self.find.sorted_by else ""
        shown = [one.id for one in self.columns]

        def chosen(choice: Chosen | None) -> None:
            if choice is None or self.rows is None:
                return
            self.columns = [columns.column(name) for name in choice.shown]
            self.rows.show_fields(name[1:] for name in choice.shown if name[0] == columns.FIELD)
            self.list.refresh()
            if choice.sort:
                self.find.sort(columns.column(choice.sort))

        self.app.push_screen(ColumnsScreen(shown, by, self.fields()), chosen)

    def action_edit(self) -> None:
        """Change the text of the row."""
        self.post_message(self.Decision("edit", self.number))

    def action_drop(self) -> None:
        """Leave the row out, or take it back."""
        self.post_message(self.Decision("drop", self.number))

    def action_drop_all(self) -> None:
        """Leave out all rows that are filtered."""
        self.post_message(self.Decision("drop_all", None))

    def action_clear(self) -> None:
        """End what goes on; else forget the search, then the filter, then the order."""
        find = self.find
        if find.working:
            find.stop()
        elif find.needle.terms:
            find.forget_search()
            self.detail.mark([])
        elif find.filter_line:
            find.arrange("", find.sorted_by, self.number)
        elif find.sorted_by:
            find.arrange("", None, self.number)
        self.say_state()
        self.post_message(self.Changed())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape is ours only while there is something to end or to clear, `n` only in a search:
        else it begins a new run."""
        if action == "clear":
            return bool(self.find.state(0)) and not self.ask.open
        if action == "next_match":
            return bool(self.find.needle.terms)
        return True

    # -- filter, sort, search ------------------------------------------------------------------

    def filter(self, line: str) -> None:
        """Show only the rows that pass a filter line. It must be a right one."""
        self.find.arrange(line, self.find.sorted_by)

    def arranged(self, number: int | None) -> None:
        """The finder chose and ordered rows."""
        self._seen = ()
        self.look_again()
        place = self.find.place(number) if number is not None else 0
        self.list.move_to(place or 0)
        self.post_message(self.Changed())

    def found(self, place: int) -> None:
        """The finder found the first row of a search."""
        self.list.move_to(place)

    def _search(self, line: str) -> None:
        self.find.search(line, self.list.cursor)
        self.detail.mark(self.find.patterns)
        self.say_state()
        self.post_message(self.Changed())

    def action_next_match(self, direction: int) -> None:
        """Go to the next row that the search found, round the end."""
        place = self.find.next_match(self.list.cursor, direction)
        if place is not None:
            self.list.move_to(place)

    def failed(self, error: FinetuiError) -> None:
        """The finder could not do it."""
        self.find.end_job()
        self.say_state()
        todo = "".join(f"\n→ {remedy}" for remedy in error.remedies)
        self.notify(inert(error.message + todo, keep="\n"), severity="error", markup=False)

    # -- words ---------------------------------------------------------------------------------

    def say_state(self) -> None:
        """Say what was asked, and how far it is."""
        text = self._nothing_left() or self.find.state(self.list.cursor)
        self._state.say(Content(inert(text)))
        self._state.display = bool(text)

    def _nothing_left(self) -> str:
        """Why a filter that has ended leaves no row, where a word of it fits none; else empty."""
        find = self.find
        if find.filter_line and not find.count and not find.working:
            try:
                self._checked(find.filter_line)
            except InputError as error:
                return "; ".join([f"✗ {error.message}", *error.remedies, "esc clears"])
        return ""

    def _known(self) -> dict[str, list[tuple[str, str]]]:
        """What the filter line may complete."""
        assert self.rows is not None
        names, codes = self.rows.reasons()
        counts = np.bincount(codes, minlength=len(names))
        reasons = [
            (name, counted(n, "row")) for name, n in zip(names, counts.tolist(), strict=True)
        ]
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

    def _checked(self, line: str) -> None:
        """Raise InputError for a line that means nothing, or can leave nothing of these rows."""
        wanted, rows = parse(line), self.rows
        if rows is not None and rows.looked_at and rows.survey is not None:
            reasons = [name for name in rows.reasons()[0] if name != KEPT]
            notes, roles = rows.survey.notes, list(ROLE_LETTERS)
            known = {"reason": reasons, "note": notes, "file": rows.survey.files, "role": roles}
            check_words(wanted, known)

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
            by = self.find.sorted_by
            arrow = ("↓" if by[1] else "↑") if by and by[0].id == one.id else ""
            title = one.title[: wide - len(arrow)] + arrow
            cells.append((f"{title.rjust(wide) if one.right else title.ljust(wide)}  ", "head"))
        return cells

    def _draw(self, place: int, width: int) -> list[Cell]:
        rows = self.rows
        if rows is None:
            return []
        number = self.find.number(place)
        reason, decided = rows.reason(number), rows.glance(number).decided
        tokens = rows.tokens(number) or 0
        mark = _MARKS.get(decided) or (
            ("✗", "error") if reason else
            ("✂", "warning") if tokens > rows.config.data.max_length and not rows.is_raw(number)
            else (" ", "")
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
