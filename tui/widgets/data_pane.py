"""The data pane: the inspector of the training data, in views that arrow keys walk through."""

from __future__ import annotations

import threading
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from core.config.counted import counted
from core.config.errors import FinetuiError
from core.config.schema import RunConfig
from tui.bindings import bindings
from tui.draft import Name
from tui.inert import inert
from tui.inspector.overlays import Overlays
from tui.inspector.surveying import Surveying
from tui.inspector.tokenizing import Tokenizing
from tui.nearby import DATA, DATA_KINDS
from tui.wanted import data_key
from tui.widgets.one_line import OneLine
from tui.widgets.pane import Pane

if TYPE_CHECKING:
    from core.data.overlays import Nearby
    from tui.inspector.decide import Decide
    from tui.inspector.problems import Problems
    from tui.inspector.table import Table
    from tui.inspector.view import View
    from tui.rows import Rows

_EMPTY = f"No data yet.\n\no opens {DATA}.\n\n{DATA_KINDS}"
_LOOK_SECONDS = 0.25
"""How often the pane shows what threads have found meanwhile."""
_DRAWN_SECONDS = 5.0
"""After so long the files are looked through even if their first rows are not drawn yet."""
_TELL_SECONDS = 1.0
"""How often it tells of a survey that goes on behind all that is in sight."""
_FEW = 2000


class DataPane(Pane):
    """The rows that will be learned from. Files, tokenizer and survey are at work in threads.

    The views are made when the first data is there: what they stand on takes time to import.
    """

    NAME = "data"

    DEFAULT_CSS = """
    DataPane {
        #view-names { color: $foreground 60%; }
        #no-data { display: none; color: $foreground 60%; padding: 1 1; }
        &.-empty #no-data { display: block; }
        &.-empty #view-names, &.-empty View { display: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("data")]

    can_focus = True
    """Until there are views."""

    class Setting(Message):
        """A setting is wanted to have another value."""

        def __init__(self, name: Name, text: str) -> None:
            super().__init__()
            self.name, self.text = name, text

    def __init__(self) -> None:
        super().__init__()
        self._names = OneLine(id="view-names")
        self._note = Static(_EMPTY, id="no-data", markup=False)
        self._views: list[View] = []
        self._counts: dict[str, str] = {}
        """What stands behind the names of views; told together with the title."""
        self._at = 0
        self._config = RunConfig()
        self._rows: Rows | None = None
        self._tokenizing = Tokenizing(self)
        self._asked: tuple[object, ...] = ()
        self._reading = ""
        """Which data is on its way."""
        self.opening = object()
        """Another one each time that data is opened: what a thread finds of earlier data is old."""
        self._surveying = Surveying(self)
        self._seen: tuple[object, ...] = ()
        self._told = 0.0
        self._drawn = threading.Event()
        """The first rows stand on the screen: now the rest of the work may take the processor."""
        self._timer: Timer | None = None
        self.root: Path | None = None
        """Where the runs are."""
        self.locked = ""
        """Why nothing can be decided about rows now; empty when it can."""
        self.overlays = Overlays(self)

    def compose(self) -> ComposeResult:
        yield self._note
        yield self._names

    def on_mount(self) -> None:
        self._say(_EMPTY)
        self._timer = self.set_interval(_LOOK_SECONDS, self._look, pause=True)

    def on_unmount(self) -> None:
        self._close()

    def target(self) -> Widget:
        return self.view.target() if self._rows is not None and self._views else self

    @property
    def view(self) -> View:
        """The view that is shown."""
        return self._views[self._at]

    @property
    def view_name(self) -> str:
        """The name of the view that is shown; empty while there is no data."""
        return self.view.NAME if self._rows is not None and self._views else ""

    @property
    def table(self) -> Table:
        """The view of rows."""
        from tui.inspector.table import Table

        return self.query_one(Table)

    @cached_property
    def _decide(self) -> Decide:
        from tui.inspector.decide import Decide

        return Decide(self)

    @property
    def rows(self) -> Rows | None:
        """The rows that are shown."""
        return self._rows

    @property
    def keys(self) -> tuple[str, ...]:
        if self._rows is None or not self._views:
            return ("run.data",)
        problem = ("data.problem",) if self._problems else ()
        return (*self.view.keys, *problem, "data.next", "data.write")

    @property
    def typing(self) -> tuple[str, ...]:
        return self.view.typing if self.view_name else ()

    @property
    def told(self) -> str:
        """The data in a few words; empty while there is none that can be used."""
        if self._rows is None:
            return self._reading
        names = ", ".join(Path(name).name for name in self._rows.files)
        return f"{names}, {counted(self._rows.count, 'row')}"

    @property
    def lost(self) -> int:
        """Decisions that fit no row, as far as that is known: no run starts with one."""
        rows = self._rows
        return len(rows.unmet()) if rows is not None and rows.looked_at and rows.overlay else 0

    def look_at(self, config: RunConfig, locked: str = "") -> None:
        """Show the data of a configuration; does nothing when it is shown already."""
        self.locked = locked
        settled, seek = self.overlays.settle(config, locked=bool(locked))
        if settled is not config:
            config = settled
            self._name_overlay("")
        self._config = config
        asked = data_key(config)
        if asked != self._asked:
            self._asked = asked
            self._open(config, seek=seek)
        elif seek:
            self.overlays.seek()
        self._tokenizing.follow(config, self._drawn)
        if self._rows is not None:
            self.use_settings()

    # -- opening, in threads -----------------------------------------------------------------

    def _open(self, config: RunConfig, *, seek: bool = False) -> None:
        """Open the data; with `seek` look for decisions about it that lie beside it."""
        self._close()
        files = list(config.data.files)
        if not files:
            self._say(_EMPTY)
            return
        self._reading = f"{', '.join(Path(name).name or name for name in files)}, being read"
        self._say(f"reading {', '.join(Path(name).name for name in files)} …")
        self.opening = opening = object()
        drawn = self._drawn

        def told() -> bool:
            return opening is self.opening and self.is_attached

        def read() -> None:
            from core.data.overlays import near
            from tui import inspector
            from tui.inspector import table  # noqa: F401 - imported here, not while keys are typed
            from tui.rows import Rows
            from tui.scan import Ended

            def hear(words: str) -> None:
                if not told():
                    raise Ended
                self.app.call_from_thread(self._say_while, opening, words)

            try:
                rows = Rows(config)
                rows.root = self.root
                rows.open(hear)
                found = near(rows.files) if seek else []
                rows.take(found)
                self.app.call_from_thread(self._opened, opening, rows, found, inspector.views())
                drawn.wait(_DRAWN_SECONDS)
                rows.scan(told)
            except Ended:
                return
            except (FinetuiError, OSError) as error:
                self.app.call_from_thread(self.refuse, opening, error)

        self.run_worker(read, thread=True, group="rows")

    def _close(self) -> None:
        self._reading = ""
        self.opening = object()
        self._surveying.stop()
        self._drawn = threading.Event()
        rows, self._rows = self._rows, None
        if rows is not None:
            for view in self._views:
                view.show(None)
            rows.close()

    def _opened(
        self, opening: object, rows: Rows, found: list[Nearby], views: list[type[View]]
    ) -> None:
        if opening is not self.opening:
            rows.close()
            return
        self._rows = rows
        self.overlays.miss(rows)
        if name := self.overlays.take(found):
            self._name_overlay(name)
        if self._views:
            self._take(rows)
        else:
            self._views = [view() for view in views]
            self.mount_all(self._views)
            self.call_after_refresh(self._take, rows)

    def _take(self, rows: Rows) -> None:
        """Show rows in all views."""
        if self._rows is not rows:
            return
        had_focus = self.has_focus
        self.can_focus = False
        self.set_class(False, "-empty")
        for view in self._views:
            view.show(rows)
        self._show_view()
        self.use_settings()
        self._look()
        self.call_after_refresh(self._first_drawn, rows)
        if had_focus:
            self.view.target().focus()
        if self._timer is not None:
            self._timer.resume()

    def _first_drawn(self, rows: Rows) -> None:
        if self._rows is rows:
            self._drawn.set()
            self.use_settings()

    def use_settings(self) -> None:
        """Let the rows, and the survey of them, follow tokenizer and settings."""
        rows, config = self._rows, self._config
        if rows is None:
            return
        codec = self._tokenizing.codec
        if rows.codec is not codec or rows.config is not config:
            rows.use(codec, config)
            for view in self._views:
                view.look_again()
        if self._tokenizing.ready and self._drawn.is_set():
            self._surveying.follow(rows, config, codec)
            if self._timer is not None:
                self._timer.resume()

    def survey_ended(self, rows: Rows) -> None:
        """All rows were looked at."""
        self._seen = ()
        self._look()
        self.table.again()
        self.overlays.lost(len(rows.unmet()) if len(rows.overlay) else 0, rows)

    def refuse(self, opening: object, error: Exception) -> None:
        """Data that was opened cannot be used."""
        if opening is self.opening:
            self._close()
            self._drawn.set()
            todo = "".join(f"\n→ {remedy}" for remedy in getattr(error, "remedies", ()))
            self._say(f"✗ {error}{todo}\n\no opens another file, r reads this one again")
            self.post_message(self.Changed())

    def _say_while(self, opening: object, words: str) -> None:
        if opening is self.opening and self._rows is None:
            self._say(f"{words} …")

    def _say(self, text: str) -> None:
        had_focus = self.has_focus_within
        self.set_class(True, "-empty")
        self.can_focus = True
        for view in self._views:
            view.display = False  # what it shows is of data that is gone
        if had_focus:
            self.focus()
        self._note.update(Content(inert(text, keep="\n")))
        self.head()
        self.foot("")

    # -- views ---------------------------------------------------------------------------------

    def action_next_view(self, by: int) -> None:
        """The next view, or the one before."""
        if self._rows is not None:
            self.show_view((self._at + by) % len(self._views))

    def show_problems(self) -> None:
        """Show the view of problems from its top."""
        self.show_view(next(n for n, view in enumerate(self._views) if view.NAME == "problems"))

    def show_view(self, at: int) -> None:
        """Show a view, and give it the keys."""
        self._at = at
        self._show_view()
        self.view.target().focus()
        self.post_message(self.Changed())

    def _show_view(self) -> None:
        for number, view in enumerate(self._views):
            view.display = number == self._at
        self.view.look_again()
        self._name_views()

    def _name_views(self) -> None:
        parts: list[tuple[str, str]] = []
        for number, view in enumerate(self._views):
            style = "bold $accent" if number == self._at else "$foreground 60%"
            parts.append((view.NAME, style))
            if count := self._counts.get(view.NAME):
                parts.append((f" {count}", style if number == self._at else "$warning"))
            parts.append(("   ", ""))
        self._names.say(Content.assemble(*parts, ("← →", "$foreground 40%")))
        self.foot(self.view.caption or (self._tokenizing.note if self._at == 0 else ""))

    def _look(self) -> None:
        """Show what threads have found meanwhile."""
        rows = self._rows
        if rows is None:
            return
        seen = (rows.count, rows.complete, rows.known, self._surveying.part, rows.revision)
        if seen != self._seen:
            now = time.monotonic()
            few = rows.known < _FEW or seen[:2] != self._seen[:2]
            if few or not self._seen or now - self._told >= _TELL_SECONDS:
                self._seen, self._told = seen, now
                self.redraw()
        elif rows.complete and not self._surveying.going and self._timer:
            self._timer.pause()

    def redraw(self) -> None:
        """Say anew what is known of the rows."""
        rows = self._rows
        if rows is None:
            return
        bad = self._problems
        problems = counted(bad, "problem") if bad else ""
        part = "" if rows.complete else f"reading {rows.scanned:.0%}"
        self._counts = {view.NAME: view.count for view in self._views}
        self.head(counted(rows.count, "row"), part or self._surveying.part, problems)
        self.view.look_again()
        self._name_views()
        self.post_message(self.Changed())

    @property
    def _problems(self) -> int:
        return int((self._rows.reasons()[1] != 0).sum()) if self._rows is not None else 0

    # -- keys ----------------------------------------------------------------------------------

    def action_next_problem(self) -> None:
        """The next row that will be rejected, beginning again at the top."""
        rows, number = self._rows, self.table.number if self._views else None
        if rows is None or number is None:
            return
        found = rows.next_problem(number)
        if found is None and rows.looked_at:
            self.say("no row of this data is rejected")
        elif found is None:
            self.say(f"one moment: {counted(rows.known, 'row')} looked at so far, none rejected")
        else:
            self.go_to(found)

    def on_view_wanted(self, event: View.Wanted) -> None:
        """A view asks for the table: at a row, or with a filter."""
        event.stop()
        self.show_view(0)
        if event.number is not None:
            self.table.go_to(event.number)
        elif event.line is not None:
            self.table.filter(event.line)

    def on_view_changed(self, event: View.Changed) -> None:
        event.stop()
        self._name_views()
        self.post_message(self.Changed())

    def on_view_set(self, event: View.Set) -> None:
        """A view sets a setting."""
        event.stop()
        self.post_message(self.Setting((event.section, event.key), event.text))

    def on_table_decision(self, event: Table.Decision) -> None:
        """A key of the table decides about rows."""
        event.stop()
        if event.what == "drop_all":
            self._decide.drop_all(self.table.find)
        elif event.number is not None:
            act = self._decide.edit if event.what == "edit" else self._decide.drop
            act(event.number)

    def on_problems_forget(self, event: Problems.Forget) -> None:
        event.stop()
        self._decide.forget(event.marks)

    def action_undo(self) -> None:
        """Take the last decision about rows back."""
        if self._rows is not None:
            self._decide.undo()

    def action_write(self) -> None:
        """Ask for a name, and write the rows that are kept."""
        if self._rows is not None:
            self._decide.ask_write()

    def action_reload(self) -> None:
        """Read the files again, as they are now."""
        if self._config.data.files:
            self._open(self._config)

    def decided(self, made: Path | None, rows: Rows) -> None:
        """Something was decided about rows, which perhaps made an overlay file."""
        self.overlays.decide()
        if made is not None and rows.config.data.files == self._config.data.files:
            self._name_overlay(self.overlays.made(made, rows))

    def _name_overlay(self, name: str) -> None:
        """Name the overlay file of the rows that are open in the settings."""
        self._config = self._config.model_copy(deep=True)
        self._config.data.overlay = name or None
        self._asked = data_key(self._config)
        self.overlays.give(name)
        self.post_message(self.Setting(("data", "overlay"), name))

    def say(self, text: str, *, warning: bool = False) -> None:
        """A line about the data, as inert text."""
        level: Literal["warning", "information"] = "warning" if warning else "information"
        self.notify(inert(text), severity=level, timeout=12 if warning else 6, markup=False)

    def go_to(self, number: int) -> None:
        """Show a row in the table."""
        if self._at:
            self.show_view(0)
        self.table.go_to(number)
