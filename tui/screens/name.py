"""Ask for the name of a new file."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from core.config.errors import FinetuiError
from tui.inert import inert


class NameScreen(ModalScreen[str]):
    """Returns the name; empty when nothing should be written.

    `check` raises a FinetuiError for a name that cannot be: it is said, and the name stays.
    """

    DEFAULT_CSS = """
    NameScreen {
        Input { margin: 1 0 0 0; background: $panel; height: 1; border: none; padding: 0 1; }
        Input:focus { border: none; }
        Static { color: $foreground 60%; }
        #wrong { color: $error; height: auto; display: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "nothing", show=False)]

    def __init__(self, title: str, hint: str, name: str, check: Callable[[str], None]) -> None:
        super().__init__()
        self._title, self._hint, self._check = title, hint, check
        # All of it is selected: what is typed takes its place.
        self._input = Input(name, compact=True, select_on_focus=True)
        self._input.cursor_blink = False
        self._wrong = Static(id="wrong", markup=False)

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = self._title
        box.border_subtitle = "enter writes it ─ esc closes"
        with box:
            yield Static(self._hint, markup=False)
            yield self._input
            yield self._wrong

    def on_mount(self) -> None:
        self._input.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._wrong.display = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        name = event.value.strip()
        try:
            if name:
                self._check(name)
        except FinetuiError as error:
            todo = "".join(f"; {remedy}" for remedy in error.remedies)
            self._wrong.update(inert(f"✗ {error.message}{todo}"))
            self._wrong.display = True
        else:
            self.dismiss(name)

    def action_nothing(self) -> None:
        """Close without a name."""
        self.dismiss("")
