"""What is decided by hand about rows: drop, edit, take back; and writing what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.config.counted import counted
from core.config.errors import FinetuiError
from core.data.chats import Kept
from core.data.export import write_rows
from core.data.filter import Array
from core.data.formats import Chat
from core.data.overlay import Mark, Overlay, default_path
from core.data.sources import RAW_LIMIT, Rejected
from tui import scan
from tui.inert import inert
from tui.rows import Rows

if TYPE_CHECKING:
    from tui.widgets.data_pane import DataPane


class Decide:
    """Decides about rows for the data pane. Every decision is in the overlay file at once."""

    def __init__(self, pane: DataPane):
        self._pane = pane
        self._ended = False

    @property
    def _rows(self) -> Rows:
        rows = self._pane.rows
        assert rows is not None
        return rows

    # -- one row -------------------------------------------------------------------------------

    def drop(self, number: int) -> None:
        """Leave a row out, or take it back when it was left out."""
        mark = self._rows.decided(number)

        def act() -> None:
            if mark is not None and mark.value is None:
                self._rows.restore(number)
            else:
                self._rows.drop(number)

        self._do(act)

    def edit(self, number: int) -> None:
        """Open the row in an editor."""
        from tui.screens.edit import EditScreen

        if self._refused():
            return
        source = self._rows.source(number)
        if isinstance(source, Rejected) and len(source.raw) >= RAW_LIMIT:
            self._warn("this row is too long to be repaired here: repair it in its file")
            return
        row = self._rows.row(number)

        def edited(value: dict[str, Any] | None) -> None:
            if value is not None:
                self._do(lambda: self._rows.edit(number, value))

        shown = source if isinstance(row, Rejected) else row
        self._pane.app.push_screen(EditScreen(shown, source), edited)

    def undo(self) -> None:
        """Take the last decision back, and go to its row."""
        rows = self._rows

        def act() -> None:
            key = rows.overlay.undo()
            if key is None:
                self._warn("nothing to undo: nothing was decided since this data was opened")
                return
            found = rows.last_decided(key)
            rows.look_again(*found)
            if found:
                self._pane.go_to(found[0])

        self._do(act)

    def forget(self, marks: tuple[Mark, ...]) -> None:
        """Let decisions go that fit no row any more."""
        self._do(lambda: self._rows.overlay.forget(marks))

    # -- many rows -----------------------------------------------------------------------------

    def drop_all(self, chosen: Array | None) -> None:
        """Ask, then leave out all rows of a filter."""
        from tui.screens.ask import Answer, Ask

        if chosen is None or not len(chosen):
            self._warn("first filter (f): D leaves out all rows that are filtered")
            return
        if self._refused():
            return
        rows = counted(len(chosen), "row")
        answers = (Answer("", "c", "leave them"), Answer("drop", "d", f"drop {rows}"))

        def answered(answer: str | None) -> None:
            if answer == "drop":
                self._drop_many(chosen)

        text = f"{rows} filtered. u takes back one at a time."
        self._pane.app.push_screen(Ask("Drop all of them?", text, answers), answered)

    def _drop_many(self, chosen: Array) -> None:
        self._ensure_overlay()
        rows = self._rows

        def work(tick: scan.Tick) -> str:
            watch = scan.Stopwatch(tick, len(chosen))
            for done, number in enumerate(chosen.tolist()):
                watch.at(done)
                rows.overlay.drop(rows.source(number))
            rows.look_again(*chosen.tolist())
            return f"{counted(len(chosen), 'row')} dropped"

        self._in_thread("dropping", work)

    # -- write ---------------------------------------------------------------------------------

    def write(self, name: str) -> None:
        """Write the rows that are kept, as they were cleaned, to a file."""
        rows = self._rows
        survey = rows.survey
        if survey is None or not survey.complete:
            self._warn("one moment: not all rows were looked at yet")
            return
        kept = np.flatnonzero(rows.reasons()[1] == 0)

        def chats(tick: scan.Tick) -> Iterator[Chat]:
            watch = scan.Stopwatch(tick, len(kept))
            for done, number in enumerate(kept.tolist()):
                watch.at(done)
                outcome = rows.pipeline.outcome(rows.row(number))
                if isinstance(outcome, Kept):
                    yield outcome.chat

        def work(tick: scan.Tick) -> str:
            path = Path(name).expanduser()
            count = write_rows(path, chats(tick))
            return f"{counted(count, 'row')} written: {path}"

        self._in_thread("writing", work)

    # -- how -----------------------------------------------------------------------------------

    def _do(self, act: Callable[[], None]) -> None:
        if self._refused():
            return
        try:
            self._ensure_overlay()
            act()
        except FinetuiError as error:
            self._fail(error)
        self._pane.redraw()

    def _refused(self) -> bool:
        if self._pane.locked:
            self._warn(self._pane.locked)
        return bool(self._pane.locked)

    def _ensure_overlay(self) -> None:
        """Give the data an overlay file when the first decision is made."""
        rows = self._rows
        if rows.overlay.path is None:
            path = default_path(rows.files, Path.cwd(), Path.exists)
            rows.overlay = Overlay(path)
            self._pane.overlay_made(path.name)

    def _in_thread(self, what: str, work: Callable[[scan.Tick], str]) -> None:
        pane, table = self._pane, self._pane.table
        tick = table.find.begin_job(what)

        def thread() -> None:
            try:
                said = work(tick)
            except scan.Ended:
                said = f"{what} was ended"
            except FinetuiError as error:
                pane.app.call_from_thread(self._fail, error)
                return
            pane.app.call_from_thread(done, said)

        def done(said: str) -> None:
            table.find.end_job()
            table.say_state()
            pane.notify(inert(said), markup=False)
            pane.redraw()

        pane.run_worker(thread, thread=True, group="decide")

    def _fail(self, error: FinetuiError) -> None:
        self._pane.table.find.end_job()
        todo = "".join(f"\n→ {remedy}" for remedy in error.remedies)
        text = inert(error.message + todo, keep="\n")
        self._pane.notify(text, severity="error", markup=False, timeout=12)
        self._pane.redraw()

    def _warn(self, text: str) -> None:
        self._pane.notify(inert(text), severity="warning", markup=False)
