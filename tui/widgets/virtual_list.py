"""A list of any length with a cursor: only the lines in sight are asked for and drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

Cell = tuple[str, str]
"""A piece of a line: inert text, and one of `STYLES` or an empty string."""

STYLES = ("dim", "head", "accent", "bold", "success", "warning", "error", "loss", "match")

_GROUNDED = ("loss", "match")
"""Styles that bring a ground of their own, over that of the line."""

TEXT_STYLES_CSS = """
        .text--dim { color: $foreground 50%; }
        .text--head { color: $foreground 60%; }
        .text--accent { color: $accent; }
        .text--bold { text-style: bold; }
        .text--success { color: $success; }
        .text--warning { color: $warning; }
        .text--error { color: $error; }
        .text--loss { background: $accent 30%; color: $foreground; text-style: bold; }
        .text--match { background: $warning; color: $background; text-style: bold; }
"""
"""Looks of the styles, for every widget that draws cells."""


class VirtualList(ScrollView, can_focus=True):
    """Lines drawn by a function of their number and the width; `count` of them."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"text--{name}" for name in STYLES} | {"list--cursor"}

    DEFAULT_CSS = (
        """
    VirtualList {
        height: 1fr;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0;
        overflow-x: hidden;
        .list--cursor { background: $block-cursor-background; }
    """
        + TEXT_STYLES_CSS
        + "    }\n"
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown,space", "page(1)", "Page down", show=False),
        Binding("home", "first", "First", show=False),
        Binding("end", "last", "Last", show=False),
        Binding("enter", "select", "Select", show=False),
    ]

    class Moved(Message):
        """The cursor stands on another line."""

        def __init__(self, source: VirtualList, index: int) -> None:
            super().__init__()
            self.source = source
            self.index = index

        @property
        def control(self) -> VirtualList:
            return self.source

    class Selected(Moved):
        """A line was chosen with enter."""

    def __init__(
        self,
        draw: Callable[[int, int], list[Cell]],
        *,
        header: Callable[[int], list[Cell]] | None = None,
        moved: Callable[[], None] | None = None,
        id: str | None = None,  # noqa: A002 - Textual's own name
    ) -> None:
        super().__init__(id=id)
        self._draw = draw
        self._header = header
        self._moved = moved
        """Called where `Moved` would be posted, so that what belongs to it is drawn with it."""
        self.count = 0
        self.cursor = 0
        self._base = Style()

    @property
    def _top(self) -> int:
        return 1 if self._header else 0

    @property
    def page(self) -> int:
        """Lines in sight below the header."""
        return max(1, self.size.height - self._top)

    def set_count(self, count: int) -> None:
        """Say how many lines there are now; the cursor stays where it can."""
        self.count = count
        self.cursor = min(self.cursor, max(0, count - 1))
        self.virtual_size = Size(self.size.width, count + self._top)
        self.refresh()

    def rewind(self) -> None:
        """Begin at the first line again: what is listed is other than before."""
        self.cursor = 0
        self.scroll_to(y=0, animate=False, force=True)

    def on_resize(self) -> None:
        """What is around the list may have grown: the cursor stays in sight."""
        self.virtual_size = Size(self.size.width, self.count + self._top)
        self._bring_into_sight()

    def move_to(self, index: int, *, tell: bool = True) -> None:
        """Put the cursor on a line and bring it into sight."""
        if not self.count:
            return
        self.cursor = min(max(0, index), self.count - 1)
        self._bring_into_sight()
        self.refresh()
        if tell and self._moved is not None:
            self._moved()
        elif tell:
            self.post_message(self.Moved(self, self.cursor))

    def _bring_into_sight(self) -> None:
        first = self.scroll_offset.y
        if self.cursor < first:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= first + self.page:
            self.scroll_to(y=self.cursor - self.page + 1, animate=False, force=True)

    def action_move(self, by: int) -> None:
        self.move_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        self.move_to(self.cursor + by * self.page)

    def action_first(self) -> None:
        self.move_to(0)

    def action_last(self) -> None:
        self.move_to(self.count - 1)

    def action_select(self) -> None:
        if self.count:
            self.post_message(self.Selected(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        """Choose the line under the mouse; a click on the chosen one selects it."""
        index = event.y - self._top + self.scroll_offset.y
        if event.y >= self._top and index < self.count:
            if index == self.cursor:
                self.action_select()
            else:
                self.move_to(index)

    def render_lines(self, crop: Region) -> list[Strip]:
        self._base = self.rich_style  # found once, not for each line: it asks all that is around
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """The header, or one line with the cursor's ground under it."""
        width, base = self.size.width, self._base
        index = y - self._top + self.scroll_offset.y
        if y < self._top and self._header:
            cells = self._header(width)
        elif index < self.count:
            cells = self._draw(index, width)
        else:
            return Strip.blank(width, base)
        if y >= self._top and index == self.cursor:
            ground = self.get_component_rich_style("list--cursor").bgcolor
            mark = Style(bgcolor=ground) if self.has_focus else Style(bold=True)
            base += mark
        return Strip(styled(self, cells, base)).adjust_cell_length(width, base).crop(0, width)


def styled(widget: ScrollView, cells: list[Cell], base: Style) -> list[Segment]:
    """Cells as segments in the widget's component styles."""
    segments = []
    for text, name in cells:
        style = base
        if name:
            look = widget.get_component_rich_style(f"text--{name}")
            ground = look.bgcolor if name in _GROUNDED else None
            style = base + Style(color=look.color, bold=look.bold, bgcolor=ground)
        segments.append(Segment(text, style))
    return segments
