"""Choose the columns of the table of rows, their order, and the one to sort by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.columns import COLUMNS, FIELD, column
from tui.inert import inert
from tui.widgets.virtual_list import Cell, VirtualList


@dataclass(frozen=True)
class Chosen:
    """What was chosen: ids of the columns in their order, and of the one to sort by, if any."""

    shown: tuple[str, ...]
    sort: str = ""


class ColumnsScreen(ModalScreen[Chosen]):
    """Space shows or hides a column, J and K move it, enter sorts by it; escape is done."""

    DEFAULT_CSS = """
    ColumnsScreen {
        .dialog { padding: 1 2; }
        VirtualList { height: auto; max-height: 14; margin-top: 1; background: $background; }
        Static { color: $foreground 60%; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,c", "done", show=False),
        Binding("space", "switch", show=False, priority=True),
        Binding("J,shift+down", "shift(1)", show=False, priority=True),
        Binding("K,shift+up", "shift(-1)", show=False, priority=True),
    ]

    def __init__(self, shown: Sequence[str], sorted_by: str, fields: Sequence[str]) -> None:
        super().__init__()
        rest = [one.id for one in COLUMNS] + [FIELD + name for name in fields]
        self._ids = [*shown, *(name for name in rest if name not in shown)]
        self._shown = set(shown)
        self._sorted_by = sorted_by
        self._list = VirtualList(self._draw)

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = "Columns"
        box.border_subtitle = "space shows or hides ─ J K move ─ enter sorts by it ─ esc is done"
        with box:
            yield Static("Fields of the row under the cursor are offered below the others.")
            yield self._list

    def on_mount(self) -> None:
        self._list.styles.height = len(self._ids)
        self._list.set_count(len(self._ids))
        self._list.focus()

    def on_virtual_list_selected(self, event: VirtualList.Selected) -> None:
        """Sort by the column, and show it."""
        event.stop()
        name = self._ids[event.index]
        self._shown.add(name)
        self.dismiss(Chosen(self._chosen(), name))

    def action_done(self) -> None:
        """Take the columns as they are chosen now."""
        self.dismiss(Chosen(self._chosen()))

    def action_switch(self) -> None:
        """Show or hide the column; one always stays."""
        name = self._ids[self._list.cursor]
        if self._shown != {name}:
            self._shown ^= {name}
        self._list.action_move(1)

    def action_shift(self, by: int) -> None:
        """Move the column down or up."""
        at, to = self._list.cursor, self._list.cursor + by
        if 0 <= to < len(self._ids):
            self._ids[at], self._ids[to] = self._ids[to], self._ids[at]
            self._list.move_to(to)

    def _chosen(self) -> tuple[str, ...]:
        return tuple(name for name in self._ids if name in self._shown)

    def _draw(self, index: int, width: int) -> list[Cell]:
        one = column(self._ids[index])
        mark = "✓" if one.id in self._shown else " "
        by = "  sorted by it" if one.id == self._sorted_by else ""
        title = inert(one.title)[:18]
        return [
            (f" {mark} ", "accent"),
            (f"{title:<20}", "bold" if mark == "✓" else ""),
            (one.about, "dim"),
            (by, "accent"),
        ]
