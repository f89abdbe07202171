"""The runs pane: every run in the folder, how it stands, and enter to open it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from core.config.counted import counted
from core.record.folder import RunFolder
from core.record.state import RunState
from tui import numbers
from tui.bindings import bindings
from tui.inert import inert
from tui.widgets.pane import Pane
from tui.widgets.status import status_words
from tui.widgets.virtual_list import Cell, VirtualList

_EMPTY = "No runs here yet. A training that is started gets its folder here."


@dataclass(frozen=True)
class RunRow:
    """One run as the list shows it."""

    folder: RunFolder
    status: str
    state: RunState


class RunsPane(Pane):
    """The list of runs."""

    NAME = "runs"

    DEFAULT_CSS = """
    RunsPane {
        #no-runs { display: none; color: $foreground 60%; padding: 1 2; }
        &.-empty #no-runs { display: block; }
        &.-empty VirtualList { display: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("runs")]

    class Opened(Message):
        """A run was chosen."""

        def __init__(self, folder: RunFolder) -> None:
            super().__init__()
            self.folder = folder

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[RunRow] = []
        self._list = VirtualList(self._draw, header=self._header)

    def compose(self) -> ComposeResult:
        yield Static(_EMPTY, id="no-runs")
        yield self._list

    def on_mount(self) -> None:
        self.show([], "")

    def target(self) -> Widget:
        return self._list

    @property
    def keys(self) -> tuple[str, ...]:
        return ("runs.open",) if self._rows else ()

    def show(self, rows: list[RunRow], current: str) -> None:
        """Show these runs; `current` is the name of the one on the screen."""
        self._rows = rows
        self._current = current
        self.set_class(not rows, "-empty")
        self._list.set_count(len(rows))
        self.head(counted(len(rows), "run"))

    def on_virtual_list_selected(self, event: VirtualList.Selected) -> None:
        event.stop()
        self.post_message(self.Opened(self._rows[event.index].folder))

    def _header(self, width: int) -> list[Cell]:
        name = _name_width(width)
        text = f"  {'name':<{name}} {'status':<14} {'step':>13}  {'loss':>6}  {'eval':>6}  changed"
        return [(text, "head")]

    def _draw(self, index: int, width: int) -> list[Cell]:
        row = self._rows[index]
        state, name = row.state, _name_width(width)
        glyph, word, _ = status_words(row.status, state)
        look = {"failed": "error", "interrupted": "warning", "paused": "warning"}
        style = "success" if row.status == "finished" else look.get(row.status, "accent")
        mark = "▸ " if row.folder.name == self._current else "  "
        steps = f"{state.step}/{state.total_steps}" if state.total_steps else "–"
        when = datetime.fromtimestamp(state.updated).strftime("%Y-%m-%d %H:%M")
        return [
            (mark, "accent"),
            (_fit(inert(row.folder.name), name) + " ", ""),
            (f"{glyph} {word:<12.12}", style),
            (f" {steps:>13}  {numbers.loss(state.loss):>6}", ""),
            (f"  {numbers.loss(state.best_eval_loss):>6}", ""),
            (f"  {when if state.updated else '–'}", "dim"),
        ]


def _name_width(width: int) -> int:
    return max(12, min(48, width - 70))


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
