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

_FRAME = 8  # cells of the box around the table: border, padding, scrollbar, and some air


class KeysScreen(ModalScreen[None]):
    """All keys by group; two columns where there is room. Any of the usual keys closes it."""

    DEFAULT_CSS = """
    KeysScreen {
        VerticalScroll { scrollbar-size-vertical: 1; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter,f1", "close", show=False)
    ]

    def compose(self) -> ComposeResult:
        box = VerticalScroll(classes="dialog")
        box.border_title = "Keys"
        box.border_subtitle = "esc closes"
        with box:
            page = help_page(self.app.size.width)
            box.styles.width = max(line.cell_length for line in page.split("\n")) + _FRAME - 2
            yield Static(page)

    def action_close(self) -> None:
        self.dismiss(None)


def help_page(width: int) -> Content:
    """The table as text, in two columns where they fit."""
    blocks = [_block(name, keys) for name, keys in groups()]
    half = sum(len(block) + 1 for block in blocks) / 2
    left: list[Content] = []
    right: list[Content] = []
    for block in blocks:
        column = left if len(left) < half and not right else right
        column += [*block, Content("")]
    rows = max(len(left), len(right))
    left += [Content("")] * (rows - len(left))
    right += [Content("")] * (rows - len(right))
    wide = max(line.cell_length for line in left) + 3
    if wide + max(line.cell_length for line in right) > width - _FRAME:
        return Content("\n\n").join(Content("\n").join(block) for block in blocks)
    lines = [
        a + Content(" " * (wide - a.cell_length)) + b for a, b in zip(left, right, strict=True)
    ]
    return Content("\n").join(lines)


def _block(name: str, keys: list[Key]) -> list[Content]:
    lines = [Content.styled(name, "bold $accent")]
    for key in keys:
        lines.append(
            Content.assemble((f"  {key.display:<10}", "bold"), (key.help, "$foreground 80%"))
        )
    return lines
