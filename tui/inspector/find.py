"""Filter, order and search of the table: what was asked and found, and the work in threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from textual.app import App
from textual.worker import Worker

from core.config.counted import counted
from core.config.errors import FinetuiError
from core.data.filter import Array, Filter, Pattern, parse
from tui import numbers, scan
from tui.columns import Column
from tui.rows import Rows

_SHOWN_SECONDS = 0.3
"""How often the rows are shown that a filter has found so far."""

Order = tuple[Column, bool]
"""A column to sort by, and whether downwards."""


class Owner(Protocol):
    """What the table is to its finder. Calls come in the thread of the screen."""

    @property
    def app(self) -> App[object]: ...

    @property
    def is_attached(self) -> bool: ...

    @property
    def number(self) -> int | None:
        """The number of the row under the cursor."""

    def run_worker(self, work: Callable[[], None], *, thread: bool, group: str) -> Worker[None]: ...

    def arranged(self, number: int | None) -> None:
        """There is another choice or order of rows; the cursor belongs on row `number`."""

    def found(self, place: int) -> None:
        """The search has found its first row."""

    def say_state(self) -> None:
        """How far things are has changed."""

    def failed(self, error: FinetuiError) -> None:
        """Something could not be done."""


class Find:
    """Which rows are in the table, in which order, and which of them a search found."""

    def __init__(self, owner: Owner):
        self._owner = owner
        self._rows: Rows | None = None
        self._job = 0
        self.so_far: int | None = None
        """Rows that a filter at work has found by now; None before it told."""
        self.stopped: float | None = None
        """The part after which a filter was ended by hand; None for one that went through."""
        self.reset(None)

    def reset(self, rows: Rows | None) -> None:
        """Begin anew with other rows."""
        self.end_job()
        self.stopped = None
        self._rows = rows
        self.order: Array | None = None
        """Numbers of the rows in the table; None: all, as they come."""
        self.filter_line = ""
        self.sorted_by: Order | None = None
        self.forget_search()

    # -- places --------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Rows in the table."""
        if self.order is not None:
            return len(self.order)
        return self._rows.count if self._rows is not None else 0

    def number(self, place: int) -> int:
        """The number of the row at a place of the table."""
        return place if self.order is None else int(self.order[place])

    def place(self, number: int) -> int | None:
        """The place of a row in the table; None where the filter hides it."""
        if self.order is None:
            return number
        found = np.flatnonzero(self.order == number)
        return int(found[0]) if len(found) else None

    # -- filter and order ----------------------------------------------------------------------

    def sort(self, column: Column) -> None:
        """Sort by a column: first its natural way, then the other, then as the rows come."""
        first = column.right and column.id != "row"
        now = self.sorted_by
        if now is None or now[0].id != column.id:
            self.arrange(self.filter_line, (column, first))
        else:
            self.arrange(self.filter_line, (column, not first) if now[1] == first else None)

    def arrange(
        self, line: str, by: Order | None, keep: int | None = None, *, told: bool = True
    ) -> None:
        """Find and order rows, in a thread; the cursor then belongs on row `keep`. `told`: show
        those that were found so far, as long as they need not be sorted."""
        rows, wanted = self._rows, parse(line)
        if rows is None:
            return
        if not wanted.terms and by is None:
            self._arranged(line, by, None, keep)
            return
        tick = self.begin_job("filtering" if wanted.terms else "sorting")
        call = self._owner.app.call_from_thread

        def work() -> None:
            try:
                found = self._chosen(rows, wanted, tick, line if told and by is None else None)
                if by is not None:
                    found = scan.sort(rows, found, by[0], down=by[1], tick=tick)
                tick(1.0)
            except scan.Ended:
                return
            except FinetuiError as error:
                call(self._owner.failed, error)
                return
            call(self._arranged, line, by, found, keep)

        self._owner.run_worker(work, thread=True, group="find")

    def _chosen(self, rows: Rows, wanted: Filter, tick: scan.Tick, line: str | None) -> Array:
        """The rows that pass, in a thread; with a `line` those found so far are shown."""
        found, new = np.zeros(0, np.int64), list[Array]()
        job, told = self._job, time.monotonic()
        for some, part in scan.select(rows, wanted, tick):
            tick(part)
            new.append(some)
            if time.monotonic() - told > _SHOWN_SECONDS:
                found, new = np.sort(np.concatenate([found, *new])), []
                self._owner.app.call_from_thread(self._found_so_far, job, line, found)
                told = time.monotonic()
        return np.sort(np.concatenate([found, *new]))

    def _found_so_far(self, job: int, line: str | None, found: Array) -> None:
        if job != self._job:
            return
        keep = self._owner.number if self.so_far is not None else None
        self.so_far = len(found)
        if line is not None:
            self.filter_line, self.sorted_by, self.order = line, None, found
            self._owner.arranged(keep)

    def _arranged(self, line: str, by: Order | None, order: Array | None, keep: int | None) -> None:
        if keep is None and self.so_far is not None and by is None:
            keep = self._owner.number  # the cursor was there already
        self.end_job()
        self.filter_line, self.sorted_by, self.order = line, by, order
        again = self.needle_line
        self.forget_search()
        self._owner.arranged(keep)
        if again:
            self.search(again, 0, jump=False)

    # -- search --------------------------------------------------------------------------------

    def forget_search(self) -> None:
        """Search for nothing any more."""
        self.needle, self.needle_line = Filter(), ""
        self.matches: list[int] = []
        """Places that the search found so far; in their order once it has ended."""

    @property
    def patterns(self) -> list[Pattern]:
        """What a search looks for in texts, to be marked there."""
        terms = [term for term in self.needle.terms if not term.negated]
        return [term.pattern for term in terms if term.pattern is not None]

    def search(self, line: str, start: int, *, jump: bool = True) -> None:
        """Find rows of the table, in a thread, from a place on; `jump` tells of the first."""
        self.forget_search()
        rows, order = self._rows, self.order
        wanted = self.needle = parse(line)
        self.needle_line = line
        if rows is None or not wanted.terms:
            return
        tick = self.begin_job("searching")

        def work() -> None:
            places: list[int] = []
            try:
                for place in scan.search(rows, wanted, order, start, tick):
                    places.append(place)
                    if len(places) == 1 and jump:
                        self._owner.app.call_from_thread(self._found_first, wanted, place)
            except scan.Ended:
                places.sort()
                self._owner.app.call_from_thread(self._found_some, wanted, places)
                return
            except FinetuiError as error:
                self._owner.app.call_from_thread(self._owner.failed, error)
                return
            self._owner.app.call_from_thread(self._found_all, wanted, sorted(places))

        self._owner.run_worker(work, thread=True, group="find")

    def _found_first(self, wanted: Filter, place: int) -> None:
        if wanted is self.needle:
            self.matches = [place]
            self._owner.found(place)

    def _found_some(self, wanted: Filter, places: list[int]) -> None:
        if wanted is self.needle:
            self.matches = places
            self._owner.say_state()

    def _found_all(self, wanted: Filter, places: list[int]) -> None:
        if wanted is self.needle:
            self.end_job()
            self._found_some(wanted, places)

    def next_match(self, place: int, direction: int) -> int | None:
        """The place of the next match below (1) or above (-1), round the end."""
        if not self.matches:
            return None
        at = int(np.searchsorted(self.matches, place, "right" if direction > 0 else "left"))
        return self.matches[(at if direction > 0 else at - 1) % len(self.matches)]

    # -- work in threads -----------------------------------------------------------------------

    def begin_job(self, what: str) -> scan.Tick:
        """End what goes on, and begin something new; gives its `tick`."""
        self.end_job()
        self.working = what
        self.stopped = None
        mine = self._job

        def tick(part: float) -> None:
            if mine != self._job or not self._owner.is_attached:
                raise scan.Ended
            self.part = part
            self._owner.app.call_from_thread(self._owner.say_state)

        self._owner.say_state()
        return tick

    def end_job(self) -> None:
        """End what goes on."""
        self._job += 1
        self.working, self.part, self.so_far = "", 0.0, None

    def stop(self) -> None:
        """End what goes on, and stay with what it has found."""
        self.stopped = self.part if self.so_far is not None and self.sorted_by is None else None
        self.end_job()

    # -- words ---------------------------------------------------------------------------------

    def state(self, place: int) -> str:
        """What was asked and how far it is, in one line; empty when nothing was."""
        parts = []
        if self._rows is not None and self.filter_line:
            going = self.so_far is not None  # the count stands behind, with how far it is
            found = "" if going else f": {self._filter_state(self._rows)}"
            parts.append(f"filter {self.filter_line}{found}")
        if self.sorted_by:
            parts.append(f"{'↓' if self.sorted_by[1] else '↑'} {self.sorted_by[0].title}")
        if self.needle.terms:
            parts.append(self._search_state(place))
        if self.working:
            found = "" if self.so_far is None else f", {numbers.count(self.so_far)} so far"
            parts.append(f"{self.working} {self.part:.0%}{found}, esc ends it")
        elif parts:
            parts.append("esc clears")
        return "  ·  ".join(parts)

    def _filter_state(self, rows: Rows) -> str:
        of = f"{numbers.count(self.count)} of {counted(rows.count, 'row')}"
        return of if self.stopped is None else f"{of}, ended at {self.stopped:.0%}"

    def _search_state(self, place: int) -> str:
        what = f"search {self.needle_line}"
        if not self.matches:
            return what if self.working else f"{what}: not found"
        at = int(np.searchsorted(self.matches, place, "right"))
        so_far = " so far" if self.working else ""
        return f"{what}: {at:,} of {len(self.matches):,}{so_far}"
