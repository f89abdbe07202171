"""What is decided by hand about rows: drop, edit, take back; and writing what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.config.counted import counted
from core.config.errors import FinetuiError, InputError
from core.data.chats.formats import Chat
from core.data.export import check_path, write_rows
from core.data.filter import Array
from core.data.overlay import Mark, Overlay
from core.data.overlays import new_path
from core.data.pipeline import Kept
from core.data.read.sources import RAW_LIMIT, Rejected, Row
from tui import scan
from tui.inert import inert
from tui.rows import Rows

_DROPPING, _TAKING_BACK = "dropping", "taking back"
_WORK = (_DROPPING, _TAKING_BACK)
_AT_ONCE = 1000
"""Rows of which decisions are written together."""
_STEM = 200
"""Characters of a file's name that the proposed one begins with."""

if TYPE_CHECKING:
    from tui.inspector.find import Find
    from tui.widgets.data_pane import DataPane


class Decide:
    """Decides about rows for the data pane. Every decision is in the overlay file at once."""

    def __init__(self, pane: DataPane):
        self._pane = pane

    @property
    def _rows(self) -> Rows:
        rows = self._pane.rows
        assert rows is not None
        return rows

    # -- one row -------------------------------------------------------------------------------

    def drop(self, number: int) -> None:
        """Leave a row out, or take it back when it was left out."""
        rows = self._rows

        def act() -> None:
            mark = rows.decided(number)
            if mark is not None and mark.value is None:
                rows.restore(number)
            else:
                rows.drop(number)

        self._do(act)

    def edit(self, number: int) -> None:
        """Open the row in an editor."""
        from tui.screens.edit import EDITED_CHARACTERS, EditScreen, size_of

        rows = self._rows
        if self._refused(rows):
            return
        source = rows.source(number)
        if isinstance(source, Rejected) and len(source.raw) >= RAW_LIMIT:
            self._warn("this row is too long to be repaired here: repair it in its file")
            return
        row = rows.row(number)
        if size_of(row) > EDITED_CHARACTERS:
            self._warn(f"this row has {size_of(row):,} characters, too many to be edited here: "
                       "del drops it, or change it in its file")  # fmt: skip
            return

        def edited(value: dict[str, Any] | None) -> None:
            if value is not None:
                self._edited(rows, number, source, value)

        shown = source if isinstance(row, Rejected) else row
        self._pane.app.push_screen(EditScreen(shown, source), edited)

    def _edited(
        self, rows: Rows, number: int, source: Row | Rejected, value: dict[str, Any]
    ) -> None:
        """Keep what was typed, also where the file has changed meanwhile: it belongs to the row
        that was shown, and is missed there when that row is gone."""
        try:
            rows.require_unchanged()
            same = rows is self._pane.rows
        except FinetuiError:
            same = False
        if same:
            self._do(lambda: rows.edit(number, value))
            return
        try:
            with self._overlay_of(rows):
                rows.overlay.edit(source, value)
        except FinetuiError as error:
            self._fail(error)
            return
        self._warn("kept, for the row as it was: its file was changed while you wrote. r reads the "
                   "data again; problems then says if the row is gone")  # fmt: skip

    def undo(self) -> None:
        """Take the last decision back, and go to its row."""
        rows = self._rows
        many = len(rows.overlay.last)
        self._pane.app.clear_notifications()  # what was said of it holds no more
        if not many:
            self._warn("nothing to undo: nothing was decided since this data was opened. "
                       "f is:dropped, then D takes back what was dropped before")  # fmt: skip
        elif many > _AT_ONCE and not self._locked():
            self._in_thread(_TAKING_BACK, lambda _: f"{counted(len(rows.undo()), 'row')} back")
        else:
            # It goes by what was decided, not by what stands in a file.
            self._do(lambda: self._go_to(rows.undo()), anyway=True)

    def _go_to(self, numbers: list[int]) -> None:
        if numbers:
            self._pane.go_to(numbers[0])

    def forget(self, marks: tuple[Mark, ...]) -> None:
        """Let decisions go that fit no row any more."""
        rows = self._rows

        def act() -> None:
            rows.require_unchanged()  # of a file that changes, none may fit for a moment
            rows.overlay.forget(marks)

        self._do(act)

    # -- many rows -----------------------------------------------------------------------------

    def drop_all(self, find: Find) -> None:
        """Ask, then leave out all rows of a filter that has ended; take them back where all of them
        were left out."""
        from tui.screens.ask import Answer, Ask

        chosen = find.order if find.filter_line else None
        if find.working and find.working not in _WORK:
            self._warn(f"one moment: {find.working}. D leaves out what is filtered when that has "
                       "ended; esc ends it with the rows found so far")  # fmt: skip
            return
        if chosen is None or not len(chosen):
            self._warn("first filter (f): D leaves out all rows that are filtered")
            return
        if self._refused(self._rows):
            return
        rows = counted(len(chosen), "row")
        back = self._rows.all_dropped(chosen)
        if back:
            title, verb, key = "Take all of them back?", "take back", "b"
            text = f"{rows} filtered, each dropped by hand. u drops all of them again."
        else:
            title, verb, key = "Drop all of them?", "drop", "d"
            text = f"{rows} filtered. u takes all of them back."
        answers = (Answer("", "c", "leave them"), Answer("do", key, f"{verb} {rows}"))

        def answered(answer: str | None) -> None:
            if answer == "do":
                self._decide_many(chosen, back=back)

        if find.stopped is not None:
            text += f" The filter was ended at {find.stopped:.0%}: rows behind that stay."
        self._pane.app.push_screen(Ask(title, text, answers), answered)

    def _decide_many(self, chosen: Array, *, back: bool) -> None:
        rows = self._rows
        decide, done_so = (rows.restore_all, "taken back") if back else (rows.drop_all, "dropped")

        def work(tick: scan.Tick) -> str:
            done = 0
            try:
                with self._overlay_of(rows):
                    before = rows.overlay.written
                    while done < len(chosen):
                        some = chosen[done : done + _AT_ONCE].tolist()
                        decide(some, goes_on=rows.overlay.written > before)
                        done += len(some)
                        tick(done / len(chosen))
            except scan.Ended:
                return f"ended: {done:,} of {counted(len(chosen), 'row')} {done_so}"
            return f"{counted(len(chosen), 'row')} {done_so}"

        self._in_thread(_TAKING_BACK if back else _DROPPING, work)

    # -- write ---------------------------------------------------------------------------------

    def ask_write(self, name: str = "") -> None:
        """Ask for a name, or again for one, and write the rows that are kept."""
        from tui.screens.name import NameScreen

        rows = self._rows
        if rows.survey is None or not rows.survey.complete:
            self._warn("one moment: not all rows were looked at yet")
            return
        if self._refused(rows, deciding=False):
            return
        kept = counted(int((rows.reasons()[1] == 0).sum()), "row is", "rows are")
        stem = Path(rows.files[0]).stem[:_STEM] or "rows"
        hint = (
            f"{kept} kept, and written as cleaned to a new file here: jsonl, or parquet with a "
            "name that ends so. Type a name, or take this one."
        )
        screen = NameScreen("Write the cleaned rows", hint, name or _free_name(stem), _check_name)
        self._pane.app.push_screen(screen, lambda name: self.write(name) if name else None)

    def write(self, name: str) -> None:
        """Write the rows that are kept, as they were cleaned, to a file."""
        rows = self._rows
        kept = np.flatnonzero(rows.reasons()[1] == 0)

        def chats(tick: scan.Tick) -> Iterator[Chat]:
            watch = scan.Stopwatch(tick, len(kept))
            for done, number in enumerate(kept.tolist()):
                watch.at(done)
                outcome = rows.pipeline.outcome(rows.source(number))
                if isinstance(outcome, Kept):
                    yield outcome.chat
            rows.require_unchanged()

        def work(tick: scan.Tick) -> str:
            path = _path_of(name)
            count = write_rows(path, chats(tick))
            return f"{counted(count, 'row')} written: {path}"

        self._in_thread("writing", work, failed=lambda: self.ask_write(name))

    # -- how -----------------------------------------------------------------------------------

    def _do(self, act: Callable[[], None], *, anyway: bool = False) -> None:
        """Act on decisions, unless the rows are those of a run or, but `anyway`, changed ones."""
        rows = self._rows
        if self._locked() if anyway else self._refused(rows):
            return
        try:
            with self._overlay_of(rows):
                act()
        except FinetuiError as error:
            self._fail(error)
        self._pane.redraw()

    def _locked(self) -> bool:
        """Whether nothing can be decided now, whatever the files are; it is said."""
        working = self._pane.table.find.working
        why = self._pane.locked or (f"one moment: {working}" if working in _WORK else "")
        if why:
            self._warn(why)
        return bool(why)

    def _refused(self, rows: Rows, *, deciding: bool = True) -> bool:
        """Whether rows cannot be decided about, or written, now; it is said."""
        if deciding and self._locked():
            return True
        try:
            rows.require_unchanged()
        except FinetuiError as error:
            self._fail(error)
            return True
        return False

    @contextmanager
    def _overlay_of(self, rows: Rows) -> Iterator[None]:
        """Give the data an overlay file for its first decision: one that is there only when
        something was decided."""
        fresh = rows.overlay.path is None
        if fresh:
            rows.overlay = Overlay(new_path(rows.files, rows.config.data.files))
        path, before = rows.overlay.path, rows.overlay.written
        try:
            yield
        finally:
            if fresh and not rows.overlay.written:
                rows.overlay = Overlay()
            elif rows.overlay.written != before:
                self._pane.call_later(self._pane.decided, path if fresh else None, rows)

    def _in_thread(
        self,
        what: str,
        work: Callable[[scan.Tick], str],
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        """Do `work` in a thread, and say what it comes to, or why it could not be done; then
        `failed` is called."""
        pane, table = self._pane, self._pane.table
        tick = table.find.begin_job(what)

        def thread() -> None:
            try:
                said = work(tick)
            except scan.Ended:
                said = f"{what} was ended: nothing was written"
            except FinetuiError as error:
                pane.app.call_from_thread(self._fail, error)
                pane.app.call_from_thread(failed)
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


def _path_of(name: str) -> Path:
    """The file that a name means; without an ending it is jsonl."""
    path = Path(name if Path(name).suffix else f"{name}.jsonl")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(f"cannot write {name}: {error}", kind="bad_name") from error


def _check_name(name: str) -> None:
    """Raise for a name to which nothing can be written."""
    check_path(_path_of(name))


def _free_name(stem: str) -> str:
    names = (f"{stem}.clean{'' if n == 1 else f'-{n}'}.jsonl" for n in range(1, 1_000_000))
    return next(name for name in names if not Path(name).exists())
