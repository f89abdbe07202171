"""Ask for the name of a new file."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class NameScreen(ModalScreen[str]):
    """Returns the name; empty when nothing should be written."""

    DEFAULT_CSS = """
    NameScreen {
        Input { margin: 1 0 0 0; background: $panel; height: 1; border: none; padding: 0 1; }
        Input:focus { border: none; }
        Static { color: $foreground 60%; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "nothing", show=False)]

    def __init__(self, title: str, hint: str, name: str) -> None:
        super().__init__()
        self._title, self._hint = title, hint
        self._input = Input(name, compact=True, select_on_focus=False)
        self._input.cursor_blink = False

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = self._title
        box.border_subtitle = "enter writes it ─ esc closes"
        with box:
            yield Static(self._hint, markup=False)
            yield self._input

    def on_mount(self) -> None:
        self._input.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip())

    def action_nothing(self) -> None:
        """Close without a name."""
        self.dismiss("")
