"""Choose a file or a model: type a path or a name, or take one of those found nearby."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui.inert import inert
from tui.widgets.virtual_list import Cell, VirtualList

Found = tuple[str, str]
"""A candidate: the text it stands for, and a few words about it."""


class Choose(ModalScreen[str]):
    """Returns what was typed or chosen; empty when nothing was."""

    DEFAULT_CSS = """
    Choose {
        Input { margin: 1 0 0 0; background: $panel; height: 1; border: none; padding: 0 1; }
        Input:focus { border: none; }
        #found { height: auto; max-height: 12; min-height: 1; margin-top: 1; }
        #hint { color: $foreground 60%; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "nothing", show=False),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("tab", "complete", show=False, priority=True),
    ]

    def __init__(
        self, title: str, hint: str, find: Callable[[str], list[Found]], value: str = ""
    ) -> None:
        super().__init__()
        self._title = title
        self._hint = hint
        self._find = find
        self._value = value
        self._found: list[Found] = []
        self._chosen = False
        self._input = Input(value, compact=True, placeholder="path or name", select_on_focus=False)
        self._list = VirtualList(self._draw, id="found")

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = self._title
        box.border_subtitle = "enter takes it ─ tab completes ─ esc closes"
        with box:
            yield Static(Content(self._hint), id="hint")
            yield self._input
            yield self._list

    def on_mount(self) -> None:
        self._list.can_focus = False
        self._search(self._value)
        self._input.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._search(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The line that was gone to, else what was typed."""
        event.stop()
        if self._found and (self._chosen or not event.value.strip()):
            self.dismiss(self._found[self._list.cursor][0])
        else:
            self.dismiss(event.value.strip())

    def on_virtual_list_selected(self, event: VirtualList.Selected) -> None:
        event.stop()
        self.dismiss(self._found[event.index][0])

    def action_move(self, by: int) -> None:
        """Go through what was found."""
        if self._found:
            at = self._list.cursor + by if self._chosen else 0
            self._chosen = True
            self._list.move_to(at, tell=False)

    def action_complete(self) -> None:
        """Take the text of the line into the input, to go on from there."""
        if self._found:
            self._input.value = self._found[self._list.cursor][0]
            self._input.cursor_position = len(self._input.value)

    def action_nothing(self) -> None:
        """Close without a choice."""
        self.dismiss("")

    def _search(self, text: str) -> None:
        self._found = self._find(text)
        self._chosen = False
        self._list.cursor = 0
        self._list.styles.height = max(1, min(12, len(self._found)))
        self._list.set_count(len(self._found))
        self._list.refresh()

    def _draw(self, index: int, width: int) -> list[Cell]:
        text, about = self._found[index]
        marked = index == self._list.cursor and (self._chosen or not self._input.value)
        about = inert(about)
        room = max(10, width - len(about) - 4)
        shown = inert(text)
        shown = shown if len(shown) <= room else "…" + shown[-(room - 1) :]
        return [
            ("▸ " if marked else "  ", "accent"),
            (shown.ljust(room), "bold" if marked else ""),
            ("  " + about, "dim"),
        ]
