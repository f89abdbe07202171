"""What the views of the data pane have in common."""

from __future__ import annotations

from typing import ClassVar

from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget

from tui.inspector.ask_line import AskLine
from tui.rows import Rows
from tui.widgets.virtual_list import Cell, VirtualList

SIDE_BY_SIDE = 120
"""Cells from which a row stands beside the list instead of below it."""


class View(Vertical):
    """One view of the data pane. `show` gives it the rows; it draws when it is looked at."""

    DEFAULT_CSS = "View { height: 1fr; }"

    NAME: ClassVar[str] = ""

    class Wanted(Message):
        """Another view is wanted: the table, at a row or with a filter."""

        def __init__(self, number: int | None = None, line: str | None = None) -> None:
            super().__init__()
            self.number = number
            self.line = line

    class Set(Message):
        """A setting is wanted to have another value."""

        def __init__(self, section: str, key: str, text: str) -> None:
            super().__init__()
            self.section, self.key, self.text = section, key, text

    class Changed(Message):
        """What stands in the frame of the pane, or what its keys mean, has changed."""

    def __init__(self) -> None:
        super().__init__(id=f"view-{self.NAME}")
        self.rows: Rows | None = None

    def show(self, rows: Rows | None) -> None:
        """Show these rows, or none."""
        self.rows = rows
        self.look_again()

    def look_again(self) -> None:
        """What is known of the rows has changed."""

    def target(self) -> Widget:
        """What takes the keys."""
        raise NotImplementedError

    @property
    def keys(self) -> tuple[str, ...]:
        """Ids of the keys that matter here, for the footer."""
        return ()

    @property
    def typing(self) -> tuple[str, ...]:
        """Ids of the keys of a line that is typed into now; else none."""
        return next((line.keys for line in self.query(AskLine) if line.open), ())

    @property
    def caption(self) -> str:
        """A few words for the lower border of the pane."""
        return ""

    @property
    def count(self) -> str:
        """A number for the name of the view; empty for none."""
        return ""


class Listed(View):
    """A view that is a list above all: the list has the keys, and what is about the line under its
    cursor is drawn together with it."""

    def __init__(self, kind: type[VirtualList] = VirtualList, *, headed: bool = False) -> None:
        super().__init__()
        header = self._header if headed else None
        self.list = kind(self._draw, header=header, moved=self._moved, id=f"{self.NAME}-list")

    def target(self) -> Widget:
        return self.list

    def on_virtual_list_selected(self, event: VirtualList.Selected) -> None:
        event.stop()
        self._chosen(event.index)

    def on_ask_line_left(self, event: AskLine.Left) -> None:
        """Nothing was typed after all."""
        event.stop()
        self.screen.set_focus(self.list)

    def _draw(self, index: int, width: int) -> list[Cell]:
        """One line of the list."""
        raise NotImplementedError

    def _header(self, width: int) -> list[Cell]:
        """The line above the list, of one that is `headed`."""
        raise NotImplementedError

    def _moved(self) -> None:
        """The cursor stands on another line."""

    def _chosen(self, index: int) -> None:
        """Enter was pressed on a line."""
