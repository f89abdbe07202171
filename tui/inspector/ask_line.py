"""One line to type into, for a filter, a search or a place, with what the last word may become."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from core.config.errors import FinetuiError
from tui.inert import inert
from tui.widgets.virtual_list import Cell, VirtualList

Suggest = Callable[[str], list[tuple[str, str]]]
"""Whole lines that a line may become, each with its meaning."""
Check = Callable[[str], object]
"""Raises a FinetuiError for a line that means nothing."""

_OFFERED = 7


class AskLine(Vertical):
    """Asks for one line: `ask` opens it. Enter gives it, escape gives nothing, tab completes."""

    DEFAULT_CSS = """
    AskLine {
        height: auto;
        display: none;
        background: $panel;
        Horizontal { height: 1; }
        #prompt { width: auto; color: $accent; text-style: bold; }
        Input { width: 1fr; height: 1; border: none; padding: 0; background: $panel; }
        Input:focus { border: none; background: $panel; background-tint: transparent; }
        VirtualList { height: auto; background: $panel; }
        #told { height: auto; color: $foreground 60%; }
        #told.-wrong { color: $error; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("tab", "complete", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
    ]

    class Given(Message):
        """A line was given."""

        def __init__(self, purpose: str, text: str) -> None:
            super().__init__()
            self.purpose, self.text = purpose, text

    class Left(Message):
        """Nothing was given."""

    def __init__(self) -> None:
        super().__init__()
        self._prompt = Static(id="prompt", markup=False)
        self._input = Input(compact=True, select_on_focus=False)
        self._input.cursor_blink = False
        self._list = VirtualList(self._draw)
        self._told = Static(id="told", markup=False)
        self._purpose = ""
        self._offered: list[tuple[str, str]] = []
        self._chosen = -1
        self._suggest: Suggest = lambda _: []
        self._offers = False
        self._check: Check = lambda _: None

    def compose(self) -> ComposeResult:
        yield self._list
        yield self._told
        with Horizontal():
            yield self._prompt
            yield self._input

    def on_mount(self) -> None:
        self._list.can_focus = False

    @property
    def open(self) -> bool:
        """Whether somebody types."""
        return bool(self.display)

    @property
    def keys(self) -> tuple[str, ...]:
        """Ids of the keys that matter here, for the footer."""
        offers = ("ask.complete", "ask.choose") if self._offers else ()
        return ("ask.give", *offers, "ask.leave")

    def ask(
        self, purpose: str, value: str, hint: str, suggest: Suggest | None, check: Check
    ) -> None:
        """Ask for a line. `hint` says what it may be while nothing is offered or wrong."""
        self._purpose, self._hint = purpose, hint
        self._suggest = suggest or (lambda _: [])
        self._offers = suggest is not None
        self._check = check
        self._prompt.update(f"{purpose} ")
        self.display = True
        self._input.value = value
        self._input.cursor_position = len(value)
        # At once, not when the screen comes to it: the next key may be here already.
        self.screen.set_focus(self._input)
        self._look(value)

    def close(self) -> None:
        """Ask no more."""
        self.display = False

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._look(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the suggestion that was gone to, else give the line; a wrong one stays."""
        event.stop()
        if self._chosen >= 0:
            self.action_complete()
            return
        try:
            self._check(event.value)
        except FinetuiError:
            self._say_wrong(event.value)
            return
        self.close()
        self.post_message(self.Given(self._purpose, event.value.strip()))

    def on_virtual_list_moved(self, event: VirtualList.Moved) -> None:
        """A click on a suggestion takes it."""
        event.stop()
        self._chosen = event.index
        self.action_complete()

    def on_virtual_list_selected(self, event: VirtualList.Selected) -> None:
        event.stop()
        self._chosen = event.index
        self.action_complete()

    def action_leave(self) -> None:
        """Give nothing."""
        self.close()
        self.post_message(self.Left())

    def action_complete(self) -> None:
        """Let the last word become what is offered first, or was gone to."""
        if self._offered:
            text, _ = self._offered[max(0, self._chosen)]
            self._input.value = text
            self._input.cursor_position = len(text)

    def action_move(self, by: int) -> None:
        """Go through what is offered."""
        if self._offered:
            last = len(self._offered) - 1
            self._chosen = min(max(-1, self._chosen + by), last)
            self._list.move_to(max(0, self._chosen), tell=False)

    def _look(self, value: str) -> None:
        """Offer what the last word may become, and say what is wrong with the line."""
        self._offered, self._chosen = self._suggest(value), -1
        self._list.cursor = 0
        self._list.styles.height = min(_OFFERED, len(self._offered))
        self._list.display = bool(self._offered)
        self._list.set_count(len(self._offered))
        self._list.scroll_to(y=0, animate=False, force=True)
        if self._offered:
            self._say("" if value else self._hint)
        else:
            self._say_wrong(value)

    def _say_wrong(self, value: str) -> None:
        try:
            self._check(value)
        except FinetuiError as error:
            hint = "".join(f"; {remedy}" for remedy in error.remedies)
            self._say(f"✗ {error.message}{hint}", wrong=True)
        else:
            self._say(self._hint)

    def _say(self, text: str, *, wrong: bool = False) -> None:
        self._told.update(Content(inert(text)))
        self._told.set_class(wrong, "-wrong")
        self._told.display = bool(text)

    def _draw(self, index: int, width: int) -> list[Cell]:
        text, about = self._offered[index]
        word = inert(text.split(" ")[-1] if not text.endswith(" ") else text.split(" ")[-2])
        mark = "▸ " if index == self._chosen else "  "
        return [(mark, "accent"), (f"{word[:28]:<28}  ", "bold"), (inert(about), "dim")]
