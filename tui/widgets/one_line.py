"""A line of text of any length that stands in one row of the screen."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class OneLine(Static):
    """Text that never takes another row: what is said anew draws the line, and lays out nothing.

    A layout of the whole screen costs tens of milliseconds, at each key that moves a cursor.
    """

    DEFAULT_CSS = "OneLine { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id, markup=False)
        self._said: Content | None = None

    def say(self, text: Content) -> None:
        """Say something else; the same is not drawn again."""
        if self._said is None or not text.is_same(self._said):
            self._said = text
            self.update(text, layout=False)
