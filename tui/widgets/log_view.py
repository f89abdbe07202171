"""The tail of a log: follows, searches, filters and wraps, over a ring of a hundred thousand lines.

Stock log widgets style and wrap each line when it is written, which takes seconds for what a
training writes in a night. Here a line costs nothing until it is looked at.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Input, Static

from core.config.counted import counted
from tui.glyphs import BRAILLE, GlyphSet
from tui.widgets.log_body import LogBody
from tui.widgets.log_buffer import LEVELS, LogBuffer, LogLine

__all__ = ["LogLine", "LogView"]


class LogView(Vertical):
    """A log with its keys; `extend` it a few times a second, not line by line."""

    DEFAULT_CSS = """
    LogView {
        height: 1fr;
        & > Static { height: 1; color: $foreground 70%; display: none; }
        & > Static.-shown { display: block; }
        & > Input { display: none; height: 1; background: $surface; }
        & > Input.-shown { display: block; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "open_search", "Search", id="log.search"),
        Binding("f,end", "follow", "Follow", id="log.follow"),
        Binding("v", "cycle_level", "Level", id="log.level"),
        Binding("w", "toggle_wrap", "Wrap", id="log.wrap"),
        Binding("n", "next_match(1)", "Next match", id="log.next", show=False),
        Binding("N", "next_match(-1)", "Previous match", id="log.previous", show=False),
        Binding("escape", "close_search", "End search", id="log.close_search", show=False),
    ]

    follow: reactive[bool] = reactive(True)
    """Whether new lines move the view; scrolling up stops it, the end starts it again."""

    wrapped: reactive[bool] = reactive(False)
    """Whether long lines go on in the next row rather than to the right."""

    level: reactive[str] = reactive(LEVELS[0])
    """What is shown: "all", "info", "warning" or "error" and what is graver."""

    class CaptionChanged(Message):
        """What the view shows was changed; its `caption` says it in a few words."""

        def __init__(self, log_view: LogView) -> None:
            super().__init__()
            self.log_view = log_view

        @property
        def control(self) -> LogView:
            return self.log_view

        @property
        def caption(self) -> str:
            """The newest caption, also where the message waited."""
            return self.log_view.caption

    def __init__(
        self,
        *,
        capacity: int = 100_000,
        glyphs: GlyphSet = BRAILLE,
        id: str | None = None,  # noqa: A002 - Textual's own name
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.buffer = LogBuffer(capacity)
        self.glyphs = glyphs
        self.unseen = 0
        """Lines that came since the view stopped following."""
        self._body = LogBody(self.buffer)
        self._status = Static(markup=False)
        self._input = Input(placeholder="search", compact=True)
        self._search_from = 0

    def compose(self) -> ComposeResult:
        yield self._body
        yield self._status
        yield self._input

    def focus(self, scroll_visible: bool = True) -> LogView:
        """Focus the rows: the view itself takes no keys."""
        self._body.focus(scroll_visible)
        return self

    # -- data ----------------------------------------------------------------------------------

    def extend(self, lines: Iterable[LogLine]) -> None:
        """Add lines below; repaints once, and only if what is in view changes."""
        added, rows_left = self.buffer.extend(lines)
        if not (added or rows_left):
            return
        was_full = self.buffer.rows - added >= self._body.size.height
        self._body.resized()
        if self.follow:
            self._body.refresh()
        else:
            self.unseen += added
            if rows_left:
                self._body.move_to(self._body.scroll_y - rows_left)
            if rows_left or not was_full:
                self._body.refresh()
        self._show_status()

    def clear(self) -> None:
        """Forget all lines."""
        self.buffer.clear()
        self.unseen = 0
        self.follow = True
        self._rearranged(None)

    @property
    def caption(self) -> str:
        """What is shown, for the border of a pane: `following · warning and above · wrapped`."""
        parts = ["following" if self.follow else "paused"]
        if self.level != LEVELS[0]:
            parts.append(self.level if self.level == LEVELS[-1] else f"{self.level} and above")
        if self.wrapped:
            parts.append("wrapped")
        return " · ".join(parts)

    # -- keys ----------------------------------------------------------------------------------

    def action_follow(self) -> None:
        """Go to the end and stay there."""
        self.follow = True
        self._body.move_to(self._body.max_scroll_y)

    def action_cycle_level(self) -> None:
        """All, info, warning, error, and round again."""
        self.level = LEVELS[(LEVELS.index(self.level) + 1) % len(LEVELS)]

    def action_toggle_wrap(self) -> None:
        """Break long lines, or let them run out to the right."""
        self.wrapped = not self.wrapped

    def action_open_search(self) -> None:
        """Ask for a text; what is typed is found at once."""
        self._search_from = self._top_id() or 0
        self._input.add_class("-shown")
        self._input.focus()

    def action_close_search(self) -> None:
        """Forget the search."""
        self._input.value = ""
        self._search("")
        self._leave_input()

    def action_next_match(self, direction: int) -> None:
        """Go to the next match below (1) or above (-1), round the end."""
        matches, current = self.buffer.matches, self._body.current
        if not matches:
            return
        if current is None:
            at = bisect_left(matches, self._top_id() or 0)
        elif direction > 0:
            at = bisect_right(matches, current)
        else:
            at = bisect_left(matches, current) - 1
        self._go_to(matches[at % len(matches)])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape is ours only while there is a search to end."""
        if action == "close_search":
            return bool(self.buffer.needle) or self._input.has_class("-shown")
        return True

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._search(event.value)

    @on(Input.Submitted)
    def _accepted(self, event: Input.Submitted) -> None:
        event.stop()
        self._leave_input()

    def _leave_input(self) -> None:
        self._input.remove_class("-shown")
        self._body.focus()

    def _search(self, needle: str) -> None:
        self.buffer.search(needle)
        self._body.current = None
        matches = self.buffer.matches
        if matches:
            at = bisect_left(matches, self._search_from)
            self._go_to(matches[at % len(matches)])
        self._body.refresh()
        self._show_status()

    def _go_to(self, id_: int) -> None:
        """Bring a line into view, near its middle if it is not there yet."""
        self.follow = False
        self._body.current = id_
        row, height = self.buffer.row_of(id_), self._body.size.height
        top = self._body.scroll_offset.y
        if not top <= row < top + height:
            self._body.move_to(row - height // 2)
        self._body.refresh()
        self._show_status()

    # -- what is shown -------------------------------------------------------------------------

    @on(LogBody.Scrolled)
    def _scrolled(self, event: LogBody.Scrolled) -> None:
        event.stop()
        if event.at_end:
            self.action_follow()
        else:
            self.follow = False

    def watch_follow(self, follow: bool) -> None:
        self._body.follows = follow
        if follow:
            self.unseen = 0
        self._show_status()
        self.post_message(self.CaptionChanged(self))

    def watch_level(self, level: str) -> None:
        top = self._top_id()
        self.buffer.filter(level)
        self._rearranged(top)

    def watch_wrapped(self) -> None:
        self._rearranged(self._top_id())

    def on_resize(self) -> None:
        """Rows of a wrapped log depend on the width."""
        top = self._top_id()
        self.call_after_refresh(self._rearranged, top)

    def _top_id(self) -> int | None:
        """Id of the line at the top of the view."""
        y = self._body.scroll_offset.y
        return self.buffer.row(y).id if y < self.buffer.rows else None

    def _rearranged(self, top: int | None) -> None:
        """Rows changed places: keep the line that was on top there, unless the end is followed."""
        self.buffer.wrap(self._body.text_cells if self.wrapped else None)
        self._body.resized()
        if not self.follow and top is not None:
            self._body.move_to(self.buffer.row_of(top))
        self._body.refresh()
        self._show_status()
        self.post_message(self.CaptionChanged(self))

    def _show_status(self) -> None:
        parts = []
        if not self.follow:
            news = f"{self.glyphs.more} {self.unseen:,} new" if self.unseen else "paused"
            parts.append(f"{news}, end follows")
        if self.buffer.needle:
            parts.append(self._search_status())
        if self.level != LEVELS[0]:
            parts.append(f"{self.buffer.shown:,} of {counted(len(self.buffer), 'line')}")
        if self.buffer.dropped:
            parts.append(f"{counted(self.buffer.dropped, 'older line')} left the buffer")
        self._status.update("  ·  ".join(parts))
        self._status.set_class(bool(parts), "-shown")

    def _search_status(self) -> str:
        matches, current = self.buffer.matches, self._body.current
        if not matches:
            return f"/{self.buffer.needle}: not found"
        if current is None:
            return f"/{self.buffer.needle}: {counted(len(matches), 'line')}"
        return f"/{self.buffer.needle}: {bisect_right(matches, current):,} of {len(matches):,}"
