"""The `?` page: every key, from the table of bindings."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.bindings import Key, groups

_GAP = 3  # cells between two columns
_FRAME = 8  # cells of the box around the table: border, padding, scrollbar, and some air


class KeysScreen(ModalScreen[None]):
    """All keys by group; two columns where there is room. Any of the usual keys closes it.

    It opens at a group: that of the pane in front.
    """

    DEFAULT_CSS = """
    KeysScreen {
        VerticalScroll { scrollbar-size-vertical: 1; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter,f1", "close", show=False)
    ]

    def __init__(self, group: str = "") -> None:
        super().__init__()
        self._group = group
        self._box = VerticalScroll(classes="dialog")

    def compose(self) -> ComposeResult:
        box = self._box
        box.border_title = "Keys"
        box.border_subtitle = "esc closes"
        with box:
            page = help_page(self.app.size.width)
            box.styles.width = max(line.cell_length for line in page.split("\n")) + _FRAME - 1
            box.styles.max_height, box.styles.padding = "98%", (0, 2)
            yield Static(page)

    def on_mount(self) -> None:
        lines = help_page(self.app.size.width).plain.split("\n")
        at = next((n for n, line in enumerate(lines) if _heads(line, self._group)), 0)
        self._box.focus()
        self.call_after_refresh(self._go_to, at)

    def _go_to(self, line: int) -> None:
        if self._box.max_scroll_y:
            self._box.border_subtitle = "↑ ↓ more keys ─ esc closes"
        self._box.scroll_to(y=line, animate=False, force=True)

    def action_close(self) -> None:
        self.dismiss(None)


def help_page(width: int) -> Content:
    """The table as text, in as many columns as fit."""
    blocks = [_block(name, keys) for name, keys in groups()]
    for count in (3, 2):
        columns = _columns(blocks, count)
        wide = [max(line.cell_length for line in column) for column in columns]
        if sum(wide) + _GAP * (len(columns) - 1) <= width - _FRAME:
            rows = max(len(column) for column in columns)
            lines = [
                Content("").join(_cell(column, row, wide[n]) for n, column in enumerate(columns))
                for row in range(rows)
            ]
            return Content("\n").join(lines)
    return Content("\n\n").join(Content("\n").join(block) for block in blocks)


def _heads(line: str, group: str) -> bool:
    """Whether a line of the page has the heading of a group, in any column."""
    parts = line.strip().split("   ")
    return bool(group) and group in (part.strip() for part in parts)


def _columns(blocks: list[list[Content]], count: int) -> list[list[Content]]:
    """The blocks in their order, in columns that are as low as they can be."""
    height = max(len(block) for block in blocks)
    while len(columns := _packed(blocks, height)) > count:
        height += 1
    return columns


def _packed(blocks: list[list[Content]], height: int) -> list[list[Content]]:
    columns: list[list[Content]] = []
    for block in blocks:
        if columns and len(columns[-1]) + 1 + len(block) <= height:
            columns[-1] += [Content(""), *block]
        else:
            columns.append(list(block))
    return columns


def _cell(column: list[Content], row: int, width: int) -> Content:
    line = column[row] if row < len(column) else Content("")
    return line + Content(" " * (width + _GAP - line.cell_length))


def _block(name: str, keys: list[Key]) -> list[Content]:
    lines = [Content.styled(name, "bold $accent")]
    for key in keys:
        lines.append(
            Content.assemble((f"  {key.display:<10}", "bold"), (key.help, "$foreground 80%"))
        )
    return lines
