"""What one setting of the form looks like and how it is changed: rows, choices, help, the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic.fields import FieldInfo
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from core.config.files import choices_of
from core.config.schema import section_fields
from core.config.setting import is_common, unit_of
from tui.draft import Name

Kind = Literal["header", "field", "more"]


@dataclass(frozen=True)
class Row:
    """One line of the form: a section's header, a setting, or the line that unfolds the rest."""

    kind: Kind
    section: str
    key: str = ""
    hidden: int = 0
    """How many settings a "more" line stands for."""

    @property
    def name(self) -> Name:
        return self.section, self.key


def rows_of(section: str, depth: int) -> list[Row]:
    """The lines of a section. `depth` 0: folded, 1: common settings, 2: all of them."""
    rows = [Row("header", section)]
    if depth == 0:
        return rows
    fields = section_fields(section)
    shown = [key for key, info in fields.items() if depth == 2 or is_common(info)]
    rows += [Row("field", section, key) for key in shown]
    if len(shown) < len(fields):
        rows.append(Row("more", section, hidden=len(fields) - len(shown)))
    return rows


def info_of(name: Name) -> FieldInfo:
    """The declaration of a setting."""
    return section_fields(name[0])[name[1]]


def choices(name: Name) -> tuple[str, ...]:
    """The words a setting can have, with yes and no for a switch; empty for free text."""
    info = info_of(name)
    return ("yes", "no") if info.annotation is bool else choices_of(info)


def limits(name: Name) -> str:
    """What is allowed, in words: `1 to 1024`, `above 0, at most 1`."""
    bounds: dict[str, object] = {}
    for rule in info_of(name).metadata:
        for word in ("ge", "gt", "le", "lt"):
            if hasattr(rule, word):
                bounds[word] = getattr(rule, word)
    if "ge" in bounds and "le" in bounds:
        return f"{_plain(bounds['ge'])} to {_plain(bounds['le'])}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(f"{words[key]} {_plain(value)}" for key, value in bounds.items())


def help_of(name: Name, default: str) -> str:
    """The help of a setting: what it means, its unit and limits, and its default."""
    info = info_of(name)
    parts = [info.description or ""]
    facts = [limits(name), unit_of(info)]
    words = choices(name)
    if words and words != ("yes", "no"):
        parts.append("One of " + ", ".join(words) + ".")
    allowed = " ".join(fact for fact in facts if fact)
    if allowed:
        parts.append(allowed[:1].upper() + allowed[1:] + ".")
    parts.append(f"Default: {default or 'empty'}.")
    return " ".join(parts)


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


class FieldInput(Input):
    """The input that stands over the value being edited."""

    DEFAULT_CSS = """
    FieldInput {
        position: absolute;
        display: none;
        height: 1;
        border: none;
        padding: 0;
        background: $panel;
        color: $foreground;
        &:focus { border: none; background: $panel; background-tint: transparent; }
        &.-wrong { color: $error; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave the field", show=False),
        Binding("up", "leave(-1)", "Leave upwards", show=False),
        Binding("down,tab", "leave(1)", "Leave downwards", show=False),
        Binding("shift+tab", "leave(-1)", "Leave upwards", show=False),
    ]

    class Left(Message):
        """The field was left; `by` says where the cursor of the form should go."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self) -> None:
        super().__init__(compact=True, select_on_focus=True)

    def action_leave(self, by: int = 0) -> None:
        """Leave the field; what was typed stays."""
        self.post_message(self.Left(by))
