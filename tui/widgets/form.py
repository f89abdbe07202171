"""The form of settings, generated from the schema: sections that fold, and one input that moves.

All lines are drawn by one widget, so that sixty settings cost no more to open than one; the input
is laid over the value while it is edited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from core.config.schema import SECTIONS
from core.config.setting import unit_of
from tui.draft import Draft, Name
from tui.inert import inert
from tui.widgets.field import FieldInput, Row, choices, info_of, rows_of

LABEL_WIDTH = 28
_INDENT = 2


class FormRows(Widget, can_focus=True):
    """The lines of the form, and the cursor on them."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "form--header",
        "form--summary",
        "form--label",
        "form--value",
        "form--changed",
        "form--dim",
        "form--error",
        "form--cursor",
    }

    DEFAULT_CSS = """
    FormRows {
        height: auto;
        .form--header { color: $accent; text-style: bold; }
        .form--summary { color: $foreground; }
        .form--label { color: $foreground 70%; }
        .form--value { color: $foreground; }
        .form--changed { color: $foreground; text-style: bold; }
        .form--dim { color: $foreground 45%; }
        .form--error { color: $error; text-style: bold; }
        .form--cursor { background: $block-cursor-background; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "move(-10)", "Page up", show=False),
        Binding("pagedown", "move(10)", "Page down", show=False),
        Binding("home", "move(-999)", "First", show=False),
        Binding("end", "move(999)", "Last", show=False),
        Binding("enter", "press", "Edit", show=False),
        Binding("space", "press", "Choose", show=False),
        Binding("left", "turn(-1)", "Choice before", show=False),
        Binding("right", "turn(1)", "Next choice", show=False),
        Binding("delete,backspace", "default", "Default", show=False),
    ]

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form
        self.rows: list[Row] = []
        self.cursor = 0

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.rows)

    @property
    def row(self) -> Row:
        """The line under the cursor."""
        return self.rows[min(self.cursor, len(self.rows) - 1)]

    def action_move(self, by: int) -> None:
        """Move the cursor by lines."""
        self._form.move_to(self.cursor + by)

    def action_press(self) -> None:
        """Edit the setting, take the next choice, or fold and unfold."""
        self._form.press()

    def action_turn(self, by: int) -> None:
        """Another choice; on a header fold (left) or unfold (right)."""
        self._form.turn(by)

    def action_default(self) -> None:
        """Put the default back."""
        self._form.put_default()

    def on_click(self, event: events.Click) -> None:
        """Choose the line; a click on the chosen line presses it."""
        again = event.y == self.cursor and self.has_focus
        self._form.move_to(event.y)
        if again or self.row.kind != "field":
            self._form.press()

    def render_line(self, y: int) -> Strip:
        """One line: marker, label, value, and what the eye needs at the right end."""
        if y >= len(self.rows):
            return Strip.blank(self.size.width, self.rich_style)
        row = self.rows[y]
        cells = self._header(row) if row.kind == "header" else self._field(row)
        base = self.rich_style
        if y == self.cursor and (self.has_focus or self._form.editing):
            base += Style(bgcolor=self.get_component_rich_style("form--cursor").bgcolor)
        segments = [
            Segment(text, base + Style(color=style.color, bold=style.bold))
            for text, name in cells
            for style in (self.get_component_rich_style(f"form--{name}"),)
        ]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _header(self, row: Row) -> list[tuple[str, str]]:
        depth = self._form.depth(row.section)
        mark = "▸" if depth == 0 else "▾"
        wrong = sum(1 for section, _ in self._form.draft.errors() if section == row.section)
        cells = [(f"{mark} {row.section.title():<13}", "header")]
        if wrong:
            cells.append((f"✗ {wrong} to correct  ", "error"))
        if row.section in {section for section, _ in self._form.draft.meaningless()}:
            return cells  # of what means nothing, a summary would tell the default
        text = inert(self._form.summary(row.section))
        room = self.size.width - sum(len(cell) for cell, _ in cells)
        return [*cells, (text if len(text) <= room else text[: room - 1] + "…", "summary")]

    def _field(self, row: Row) -> list[tuple[str, str]]:
        if row.kind == "more":
            return [(" " * _INDENT + f"… {row.hidden} more", "dim")]
        draft, name = self._form.draft, row.name
        text = self._fit(inert(draft.text(name)) or "–")
        if draft.error(name):
            value = [(f"{text} ", "error"), ("✗", "error")]
        else:
            value = [(text, "changed" if draft.changed(name) else "value")]
        if choices(name) and self.rows[min(self.cursor, len(self.rows) - 1)] == row:
            value = [("‹ ", "dim"), *value, (" ›", "dim")] if self.has_focus else value
        elif unit := unit_of(info_of(name)):
            value.append((f" {unit}", "dim"))
        return [(" " * _INDENT + row.key.ljust(LABEL_WIDTH), "label"), *value]

    def _fit(self, text: str) -> str:
        """The end of a text that is too long: of a path that is the part that tells."""
        room = max(8, self.size.width - _INDENT - LABEL_WIDTH)
        return text if len(text) <= room else "…" + text[1 - room :]


class Form(VerticalScroll):
    """The settings of a run, to be read, and changed while `locked` is empty."""

    DEFAULT_CSS = """
    Form { height: 1fr; scrollbar-size-vertical: 1; }
    """

    can_focus = False

    class Edited(Message):
        """A setting was changed."""

        def __init__(self, name: Name) -> None:
            super().__init__()
            self.name = name

    class Typed(Message):
        """A setting that is being typed stands for something: it may be looked at, not yet used."""

        def __init__(self, name: Name) -> None:
            super().__init__()
            self.name = name

    class Moved(Message):
        """The cursor went to another line, or the text being typed changed."""

    class Refused(Message):
        """A change was refused, for the reason given."""

        def __init__(self, reason: str) -> None:
            super().__init__()
            self.reason = reason

    def __init__(self, draft: Draft, summary: Callable[[str], str]) -> None:
        super().__init__()
        self.draft = draft
        self.summary = summary
        self.locked = ""
        """Why nothing can be changed now; empty when it can."""
        self.editing: Name | None = None
        self._depths = dict.fromkeys(SECTIONS, 1)
        self._lines = FormRows(self)
        self._input = FieldInput()
        self._before = ""

    def compose(self) -> ComposeResult:
        yield self._lines
        yield self._input

    def on_mount(self) -> None:
        self._lay()

    def on_resize(self) -> None:
        """The help below grows and shrinks with what it says: keep the cursor in view."""
        self._show_cursor()

    @property
    def row(self) -> Row:
        """The line under the cursor."""
        return self._lines.row

    def target(self) -> Widget:
        """What takes the focus."""
        return self._input if self.editing else self._lines

    def depth(self, section: str) -> int:
        """How far a section is unfolded: 0 folded, 1 common settings, 2 all."""
        return self._depths[section]

    def load(self, draft: Draft, locked: str) -> None:
        """Show other settings. Locked ones start folded: their headers say all that matters."""
        self._close()
        self.draft, self.locked = draft, locked
        self._depths = dict.fromkeys(SECTIONS, 0 if locked else 1)
        self._lines.cursor = 0
        self._lay()

    def go_to(self, name: Name) -> None:
        """Put the cursor on a setting, unfolding its section if need be."""
        if Row("field", *name) not in self._lines.rows:
            self._depths[name[0]] = 2
            self._lay()
        self.move_to(self._lines.rows.index(Row("field", *name)))

    def move_to(self, index: int) -> None:
        """Put the cursor on a line."""
        self._lines.cursor = min(max(0, index), len(self._lines.rows) - 1)
        self._lines.refresh()
        self._show_cursor()
        self.post_message(self.Moved())

    def _show_cursor(self) -> None:
        cursor = Region(0, self._lines.cursor, 1, 1)
        self.scroll_to_region(cursor, animate=False, force=True)

    def press(self) -> None:
        """Edit, choose, fold or unfold what is under the cursor."""
        row = self.row
        if row.kind == "header":
            self._unfold(row.section, 1 if self._depths[row.section] == 0 else 0)
        elif row.kind == "more":
            self._unfold(row.section, 2)
        elif self.locked:
            self.post_message(self.Refused(self.locked))
        elif choices(row.name):
            self.turn(1)
        else:
            self._open(row)

    def turn(self, by: int) -> None:
        """Take another choice; on a header, fold or unfold."""
        row = self.row
        if row.kind == "header":
            self._unfold(row.section, min(2, max(0, self._depths[row.section] + by)))
        elif row.kind == "field" and choices(row.name):
            words = choices(row.name)
            now = self.draft.text(row.name)
            at = words.index(now) if now in words else -by
            self._put(row.name, words[(at + by) % len(words)])

    def put_default(self) -> None:
        """Put the default of the setting under the cursor back."""
        if self.row.kind == "field":
            self._put(self.row.name, self.draft.default(self.row.name))

    def redraw(self) -> None:
        """Draw anew: something outside the form changed what it shows."""
        self._lines.refresh()

    def _put(self, name: Name, text: str) -> None:
        if self.locked:
            self.post_message(self.Refused(self.locked))
            return
        self.draft.set(name, text)
        self._lines.refresh()
        self.post_message(self.Edited(name))
        self.post_message(self.Moved())

    def _unfold(self, section: str, depth: int) -> None:
        self._depths[section] = depth
        self._lay()
        self.move_to(self._lines.cursor)

    def _lay(self) -> None:
        self._lines.rows = [
            row for section in SECTIONS for row in rows_of(section, self._depths[section])
        ]
        self._lines.refresh(layout=True)

    def _open(self, row: Row) -> None:
        self.editing = row.name
        self._before = self.draft.text(row.name)
        self._input.value = self._before
        left = _INDENT + LABEL_WIDTH
        self._input.styles.offset = (left, self._lines.cursor)
        self._input.styles.width = max(8, self._lines.size.width - left)
        self._input.display = True
        self._input.set_class(self.draft.error(row.name) is not None, "-wrong")
        self._input.focus()

    def _close(self) -> None:
        if self.editing is not None:
            self.editing = None
            had_focus = self._input.has_focus
            self._input.display = False
            if had_focus:
                self._lines.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Check at every key."""
        event.stop()
        if self.editing is None or event.value == self.draft.text(self.editing):
            return
        self.draft.set(self.editing, event.value)
        self._input.set_class(self.draft.error(self.editing) is not None, "-wrong")
        self._lines.refresh()
        if self.draft.error(self.editing) is None:
            self.post_message(self.Typed(self.editing))
        self.post_message(self.Moved())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter: done with this one, on to the next line."""
        event.stop()
        self._leave(1)

    def on_field_input_left(self, event: FieldInput.Left) -> None:
        event.stop()
        self._leave(event.by)

    def on_input_blurred(self, event: Input.Blurred) -> None:
        """The focus went elsewhere: what was typed stays."""
        event.stop()
        self._leave(0)

    def _leave(self, by: int) -> None:
        if self.editing is None:
            return
        name = self.editing
        self._close()
        if self.draft.text(name) != self._before:
            self.post_message(self.Edited(name))
        self.move_to(self._lines.cursor + by)
