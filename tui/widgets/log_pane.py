"""The log pane: what happened, one sentence each."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.widget import Widget

from tui.glyphs import BRAILLE, GlyphSet
from tui.widgets.log_buffer import LogLine
from tui.widgets.log_view import LogView
from tui.widgets.pane import Pane


class LogPane(Pane):
    """A log view in a box."""

    NAME = "log"

    def __init__(self, glyphs: GlyphSet = BRAILLE) -> None:
        super().__init__()
        self.view = LogView(glyphs=glyphs)

    def compose(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        self.view.wrapped = True  # what to do about an error stands at the end of its line
        self.head(self.view.caption)

    def target(self) -> Widget:
        return self.view

    @property
    def keys(self) -> tuple[str, ...]:
        return ("log.follow", "log.search", "log.level")

    def extend(self, lines: Iterable[LogLine]) -> None:
        """Add lines."""
        self.view.extend(lines)

    def clear(self) -> None:
        """Forget all lines: another run is shown."""
        self.view.clear()

    def on_log_view_caption_changed(self, event: LogView.CaptionChanged) -> None:
        event.stop()
        self.head(event.log_view.caption)
