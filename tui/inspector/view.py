"""What the views of the data pane have in common."""

from __future__ import annotations

from typing import ClassVar

from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget

from tui.rows import Rows

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
    def caption(self) -> str:
        """A few words for the lower border of the pane."""
        return ""

    @property
    def count(self) -> str:
        """A number for the name of the view; empty for none."""
        return ""
