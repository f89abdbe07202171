"""The rows of a log view, drawn when they are looked at."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from tui.widgets.log_buffer import LogBuffer, LogLine, Row

_CLOCK_CELLS = 9  # "14:02:11 "
_SIGN_CELLS = 2  # "W "
_CLOCK_FROM_CELLS = 40  # narrower views leave the clock out
_SIGNS = {"debug": "D ", "warning": "W ", "error": "E ", "critical": "E "}


class LogBody(ScrollView, can_focus=True):
    """The rows of a `LogView`; scrolling away from the end stops following."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log--clock",
        "log--debug",
        "log--warning",
        "log--error",
        "log--match",
        "log--current",
    }

    DEFAULT_CSS = """
    LogBody {
        height: 1fr;
        overflow-x: auto;
        overflow-y: scroll;
        scrollbar-size: 0 1;
        scrollbar-background: $foreground 5%;
        scrollbar-background-hover: $foreground 5%;
        scrollbar-background-active: $foreground 5%;
        scrollbar-color: $foreground 25%;
        scrollbar-color-hover: $foreground 40%;
        scrollbar-color-active: $accent;
        .log--clock { color: $foreground 45%; }
        .log--debug { color: $foreground 55%; }
        .log--warning { color: $text-warning; }
        .log--error { color: $text-error; text-style: bold; }
        .log--match { background: $accent 40%; }
        &:ansi .log--clock, &:ansi .log--debug { text-style: dim; }
        &:ansi .log--match { text-style: underline; }
        .log--current { background: $accent; color: $background; }
    }
    """

    class Scrolled(Message):
        """A person moved the view; `at_end` says whether the last row is in it."""

        def __init__(self, at_end: bool) -> None:
            super().__init__()
            self.at_end = at_end

    def __init__(self, buffer: LogBuffer) -> None:
        super().__init__()
        self.buffer = buffer
        self.follows = True
        self.current: int | None = None
        """Id of the line whose matches are shown strongest."""
        self._moving = False

    @property
    def gutter_cells(self) -> int:
        """Cells in front of the text: the clock, where there is room for it, and the level."""
        return _SIGN_CELLS + (_CLOCK_CELLS if self.size.width >= _CLOCK_FROM_CELLS else 0)

    @property
    def text_cells(self) -> int:
        """Cells that a row has for its text: what the scrollbar covers is none of them."""
        return max(1, self.scrollable_content_region.width - self.gutter_cells)

    def resized(self) -> None:
        """The number or the width of rows changed: new virtual size, same place."""
        width = 0 if self.buffer.width is not None else self.buffer.widest + self.gutter_cells
        self._moving = True
        self.virtual_size = Size(width, self.buffer.rows)
        self._moving = False
        if self.follows:
            self.move_to(self.max_scroll_y)

    def move_to(self, y: float) -> None:
        """Scroll to row `y` without this counting as a person's wish."""
        self._moving = True
        self.scroll_to(y=max(0, y), force=True)
        self._moving = False

    def scroll_to(self, x: float | None = None, y: float | None = None, **options: Any) -> None:
        """Never animated: each step on the way would be a repaint over the wire."""
        options |= {"animate": False, "immediate": True}
        super().scroll_to(x, y, **options)

    def action_scroll_end(self) -> None:
        """The end is a place to stay at, also when there is nothing to scroll."""
        self.post_message(self.Scrolled(at_end=True))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Tell the view when a person scrolled."""
        super().watch_scroll_y(old_value, new_value)
        if not self._moving and round(old_value) != round(new_value):
            self.post_message(self.Scrolled(at_end=new_value >= self.max_scroll_y))

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """What was selected with the mouse, without clocks, wrapped lines in one piece."""
        first = selection.start.y if selection.start else 0
        last = selection.end.y if selection.end else self.buffer.rows - 1
        parts: list[str] = []
        for y in range(first, min(last, self.buffer.rows - 1) + 1):
            row = self.buffer.row(y)
            start, end = selection.get_span(y) or (0, 0)
            parts.append("\n" if parts and not row.start else "")
            parts.append(row.text[start : None if end == -1 else end])
        return "".join(parts), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Show what is selected."""
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Row `y` of what is in view, with a gutter that does not scroll sideways."""
        width = self.size.width
        scroll_x, scroll_y = self.scroll_offset
        at = scroll_y + y
        if at >= self.buffer.rows:
            return Strip.blank(width, self.rich_style)
        row = self.buffer.row(at)
        gutter = Strip([Segment(self._gutter(row), self._style("clock"))], self.gutter_cells)
        segments = self._segments(row)
        if self.text_selection and (span := self.text_selection.get_span(at)):
            end = len(row.text) if span[1] == -1 else span[1]
            style = self.screen.get_component_rich_style("screen--selection")
            segments = _restyled(segments, span[0], end, style)
        text = Strip(segments)
        if self.buffer.width is None:
            text = text.crop(scroll_x)
        room = max(0, width - self.gutter_cells)
        text = text.adjust_cell_length(room, self._level_style(row.line))
        return Strip.join([gutter, text.apply_offsets(scroll_x, at)]).crop(0, width)

    def _gutter(self, row: Row) -> str:
        if row.start:
            return " " * self.gutter_cells
        sign = _SIGNS.get(row.line.level, "  ")
        if self.gutter_cells == _SIGN_CELLS:
            return sign
        return time.strftime("%H:%M:%S ", time.localtime(row.line.time)) + sign

    def _segments(self, row: Row) -> list[Segment]:
        """The text of a row in the colour of its level, matches of the search marked."""
        segments = [Segment(row.text, self._level_style(row.line))]
        if hits := self.buffer.hits(row.line.text):
            current = row.id == self.current
            style = self._style("current") if current else self._match_style()
            for first, last in hits:
                segments = _restyled(segments, first - row.start, last - row.start, style)
        return segments

    def _match_style(self) -> Style:
        """Laid over the colour of the level, which stays."""
        style = self._style("match")
        return Style(bgcolor=style.bgcolor, underline=style.underline)

    def _level_style(self, line: LogLine) -> Style:
        name = "error" if line.level == "critical" else line.level
        return self._style(name) if name in ("debug", "warning", "error") else self.rich_style

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"log--{name}")


def _restyled(segments: list[Segment], start: int, end: int, style: Style) -> list[Segment]:
    """The same text with a style laid over its characters from `start` to `end`."""
    restyled, at = [], 0
    for segment in segments:
        text, old = segment.text, segment.style or Style()
        first, last = max(0, start - at), min(len(text), end - at)
        if first < last:
            restyled.append(Segment(text[:first], old))
            restyled.append(Segment(text[first:last], old + style))
            restyled.append(Segment(text[last:], old))
        else:
            restyled.append(segment)
        at += len(text)
    return [segment for segment in restyled if segment.text]
