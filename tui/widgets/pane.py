"""A pane: a box with its number key in the title, and one widget that takes the keys."""

from __future__ import annotations

from typing import ClassVar

from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from tui.bindings import PANE_NAMES
from tui.inert import inert


class Pane(Vertical):
    """Base of the six panes. Subclasses set `NAME` and `title`, and say what takes the focus."""

    DEFAULT_CSS = """
    Pane {
        border: round $border;
        border-title-color: $foreground 70%;
        border-title-background: $background;
        border-subtitle-color: $foreground 60%;
        padding: 0 1;
        &:focus-within {
            border: round $accent 70%;
            border-title-color: $accent;
        }
    }
    """

    NAME: ClassVar[str] = ""

    class Changed(Message):
        """What the keys mean here has changed; the footer should look again."""

    def __init__(self) -> None:
        super().__init__(id=self.NAME)
        self._heading = self._footing = ""

    @property
    def number(self) -> int:
        """The pane's number key."""
        return PANE_NAMES.index(self.NAME) + 1

    @property
    def keys(self) -> tuple[str, ...]:
        """Ids of the keys that matter in this pane now, for the footer."""
        return ()

    @property
    def typing(self) -> tuple[str, ...]:
        """Ids of the keys of a line that is typed into now, which takes all letters; else none."""
        return ()

    def target(self) -> Widget:
        """The widget that takes the focus when the pane is chosen."""
        raise NotImplementedError

    def head(self, *facts: str) -> None:
        """Set the title: the number, the name, then facts (of any origin) behind dashes."""
        heading = self.heading(*facts)
        if heading.plain != self._heading:  # a title that is set draws all of the pane anew
            self._heading, self.border_title = heading.plain, heading

    def heading(self, *facts: str) -> Content:
        """A title as inert content: facts may hold names of files or of runs."""
        words = (f"{self.number} {self.NAME.title()}", *facts)
        return Content(inert(" ─ ".join(word for word in words if word)))

    def foot(self, text: str) -> None:
        """Set the line in the lower border."""
        if text != self._footing:
            self._footing, self.border_subtitle = text, Content(inert(text))
