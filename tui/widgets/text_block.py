"""Text of any origin, wrapped to the width, with styles by the piece: rows, tokens, answers."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from textual.geometry import Region, Size
from textual.reactive import Reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from core.config.counted import counted
from tui.inert import inert
from tui.widgets.virtual_list import STYLES, TEXT_STYLES_CSS, Cell, styled

SHOWN_CHARACTERS = 40_000
"""More of one text is not shown; the last line says how much was left out."""

_NEAR = 4
"""Characters for a cell of a line that are looked at, since some take no cell of their own."""


class TextBlock(ScrollView):
    """Lines of cells. `show` takes text as it is: it is made inert and wrapped here."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"text--{name}" for name in STYLES}

    DEFAULT_CSS = (
        """
    TextBlock {
        height: 1fr;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0;
        overflow-x: hidden;
    """
        + TEXT_STYLES_CSS
        + "    }\n"
    )

    can_focus = False
    virtual_size: Reactive[Size] = Reactive(Size(0, 0))
    """Another text lays the screen out anew only where the scroll bar comes or goes."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self._pieces: list[Cell] = []
        self._lines: list[list[Cell]] = []
        self._base = Style()

    def show(self, pieces: list[Cell], *, stay: bool = False) -> None:
        """Show pieces of text, from their beginning unless they are to `stay` where they are;
        newlines in them break lines."""
        self._pieces = pieces
        self._wrap()
        if not stay:
            self.scroll_to(y=0, animate=False, force=True)

    def on_resize(self) -> None:
        self._wrap()

    def scroll_lines(self, by: int) -> None:
        """Scroll by lines; for keys of the widget beside this one."""
        self.scroll_to(y=self.scroll_offset.y + by, animate=False, force=True)

    def go_to(self, style: str) -> None:
        """Bring the first text of a style into sight."""
        for number, line in enumerate(self._lines):
            if any(name == style for _, name in line):
                top = self.scroll_offset.y
                if not top <= number < top + self.size.height:
                    self.scroll_to(y=max(0, number - 1), animate=False, force=True)
                return

    def _wrap(self) -> None:
        self._lines = wrap(self._pieces, max(1, self.size.width))
        height = self.size.height
        scrolled = self.virtual_size.height > height
        self.virtual_size = Size(self.size.width, len(self._lines))
        if scrolled and len(self._lines) > height:
            self.vertical_scrollbar.window_virtual_size = len(self._lines)
        self.refresh(layout=scrolled != (len(self._lines) > height))

    def render_lines(self, crop: Region) -> list[Strip]:
        self._base = self.rich_style  # found once, not for each line: it asks all that is around
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        width, base = self.size.width, self._base
        if index >= len(self._lines):
            return Strip.blank(width, base)
        cells = styled(self, self._lines[index], base)
        return Strip(cells).adjust_cell_length(width, base)


def wrap(pieces: list[Cell], width: int) -> list[list[Cell]]:
    """Break pieces into lines of at most `width` cells, at spaces where there are some."""
    lines: list[list[Cell]] = [[]]
    used = left = 0
    for text, style in pieces:
        room = SHOWN_CHARACTERS - left
        left += len(text)
        if room <= 0:
            continue
        for number, part in enumerate(inert(text[:room], keep="\n\t").expandtabs(4).split("\n")):
            if number:
                lines.append([])
                used = 0
            while part:
                head, part = _fitting(part, width - used, width)
                if head:
                    lines[-1].append((head, style))
                    used += cell_len(head)
                if part:
                    lines.append([])
                    used = 0
    if left > SHOWN_CHARACTERS:
        lines.append([(f"… {counted(left - SHOWN_CHARACTERS, 'more character')}", "dim")])
    return lines


def _fitting(text: str, room: int, width: int) -> tuple[str, str]:
    """The beginning of `text` that fits into `room` cells, and the rest."""
    near = text[: _NEAR * (room + width)]
    if cell_len(near) <= room:
        return near, text[len(near) :]
    text, rest = near, text[len(near) :]  # of a long line only what comes next is measured
    end = len(set_cell_size(text, room).rstrip()) if room > 0 else 0
    space = text.rfind(" ", 0, end + 1)
    if space > 0 and cell_len(text[:space]) > room // 2:
        return text[:space], text[space + 1 :] + rest
    if room < width and space <= 0:
        return "", (text.lstrip() if text[:1] == " " else text) + rest
    return text[: max(1, end)], text[max(1, end) :] + rest
