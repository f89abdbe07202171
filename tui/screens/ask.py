"""A question with a few answers, each with its key. Escape always means: nothing happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.inert import inert
from tui.widgets.virtual_list import Cell, VirtualList


@dataclass(frozen=True)
class Answer:
    """One answer: its value, its key, what it says, and what follows from it."""

    value: str
    key: str
    label: str
    detail: str = ""


class Ask(ModalScreen[str]):
    """Asks, and returns the value of the answer; empty when nothing should happen.

    The first answer is the default: enter takes it.
    """

    DEFAULT_CSS = """
    Ask {
        #answers { height: auto; margin-top: 1; background: $background; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "nothing", show=False)]

    def __init__(self, title: str, text: str, answers: Sequence[Answer]) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._answers = list(answers)
        self._list = VirtualList(self._draw, id="answers")

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = Content(inert(self._title))
        with box:
            yield Static(Content(inert(self._text, keep="\n")))
            yield self._list

    def on_mount(self) -> None:
        self._list.styles.height = len(self._answers)
        self._list.set_count(len(self._answers))
        self._list.focus()

    def on_key(self, event: events.Key) -> None:
        """The key of an answer takes it."""
        for answer in self._answers:
            if event.key == answer.key:
                event.stop()
                self.dismiss(answer.value)
                return

    def on_virtual_list_selected(self, event: VirtualList.Selected) -> None:
        event.stop()
        self.dismiss(self._answers[event.index].value)

    def action_nothing(self) -> None:
        """Close without doing anything."""
        self.dismiss("")

    def _draw(self, index: int, width: int) -> list[Cell]:
        answer = self._answers[index]
        label = max(len(a.label) for a in self._answers) + 2
        return [
            (f" {answer.key}  ", "accent"),
            (answer.label.ljust(label), "bold"),
            (answer.detail, "dim"),
        ]
