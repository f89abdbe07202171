"""Edit one row: its texts one by one, or the whole of it as JSON. The file stays as it is."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from core.data.filter import texts_of
from core.data.read.sources import LINE_LIMIT_BYTES, Rejected, Row, parse_line
from tui.inert import inert

Path = tuple[str | int, ...]
"""The way to a text inside of a row: names of fields and places in lists."""

EDITED_CHARACTERS = 500_000
"""A row with more text is not edited here: each key would have to wait."""

_NAMES = ("role", "from", "type", "id")
"""Fields that say what a text is, rather than being one."""


@dataclass(frozen=True)
class Part:
    """One text of a row."""

    path: Path
    label: str


class EditScreen(ModalScreen[dict[str, Any]]):
    """Returns the row as it is to be; None when it stays as it was."""

    DEFAULT_CSS = """
    EditScreen {
        .dialog { width: 96%; max-width: 120; height: 94%; padding: 0 1; }
        #parts { height: auto; max-height: 4; color: $foreground 70%; }
        TextArea { height: 1fr; border: none; padding: 0; background: $background; }
        TextArea:focus { border: none; }
        #told { height: auto; color: $foreground 60%; }
        #told.-wrong { color: $error; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False, priority=True),
        Binding("f2,ctrl+s", "keep", show=False, priority=True),
        Binding("f3", "as_json", show=False, priority=True),
        Binding("f4,ctrl+n,tab", "turn(1)", show=False, priority=True),
        Binding("shift+f4,shift+tab", "turn(-1)", show=False, priority=True),
        Binding("f5", "reset", show=False, priority=True),
        Binding("ctrl+home", "go_to_end(False)", show=False, priority=True),
        Binding("ctrl+end", "go_to_end(True)", show=False, priority=True),
    ]

    def __init__(self, row: Row | Rejected, source: Row | Rejected) -> None:
        """``row`` as it stands now, ``source`` as its file has it."""
        super().__init__()
        self._source = source
        self._value: dict[str, Any] | None = None
        self._text = row.raw if isinstance(row, Rejected) else ""
        if isinstance(row, Row):
            self._value = copy.deepcopy(row.value)
        self._before = self._whole()
        self._parts = list(parts(self._value or {}))
        self._at = 0 if self._parts else -1
        self._area = TextArea(soft_wrap=True, tab_behavior="focus", show_line_numbers=False)
        self._area.cursor_blink = False
        self._names = Static(id="parts")
        self._told = Static(id="told", markup=False)
        self._asked = ""
        """The key that would throw a change away when it is pressed once more."""

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        place = f"{self._source.file}:{self._source.line}"
        box.border_title = Content(inert(f"Edit {place}"))
        box.border_subtitle = (
            "F2 keeps ─ tab next text ─ F3 as JSON ─ F5 as in the file ─ esc leaves"
        )
        with box:
            yield self._names
            yield self._area
            yield self._told

    def on_mount(self) -> None:
        self._show()
        self._area.focus()

    # -- keys ----------------------------------------------------------------------------------

    def action_keep(self) -> None:
        """Take the row as it stands here."""
        if not self._store():
            return
        if self._value is None or self._whole() == self._before:
            self.dismiss(None)
        else:
            self.dismiss(self._value)

    def action_leave(self) -> None:
        """Leave; once more, when something would be lost."""
        stored = self._store()
        if self._asked == "esc" or (stored and self._whole() == self._before):
            self.dismiss(None)
            return
        self._asked = "esc"
        self._say("Changed, and not kept: F2 keeps it, esc once more throws it away.", wrong=True)

    def action_as_json(self) -> None:
        """The whole row as JSON, and back to its texts."""
        if self._store():
            self._parts = list(parts(self._value or {}))
            self._at = -1 if self._at >= 0 or not self._parts else 0
            self._show()

    def action_turn(self, by: int) -> None:
        """The next text, or the one before."""
        if self._at >= 0 and self._store():
            self._at = (self._at + by) % len(self._parts)
            self._show()

    def action_reset(self) -> None:
        """Everything as the file has it; asked for twice, when something would be lost."""
        stored = self._store()
        if self._asked != "F5" and not (stored and self._whole() == self._before):
            self._asked = "F5"
            self._say("Changed, and not kept: F5 once more takes all of it as the file has it.",
                      wrong=True)  # fmt: skip
            return
        self._asked = ""
        if isinstance(self._source, Row):
            self._value = copy.deepcopy(self._source.value)
            self._parts = list(parts(self._value))
            self._at = min(self._at, len(self._parts) - 1)
        else:
            self._value, self._text = None, self._source.raw
        self._show()

    def action_go_to_end(self, down: bool) -> None:
        """To the end of the text, or its beginning."""
        self._area.move_cursor(self._area.document.end if down else (0, 0))

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        if self._asked:
            self._asked = ""
            self._say_help()

    # -- what is edited ------------------------------------------------------------------------

    def _store(self) -> bool:
        """Take what was typed into the row; False where it is no row, which is said."""
        text = self._area.text
        if self._at >= 0 and self._value is not None:
            put(self._value, self._parts[self._at].path, text)
            return True
        if self._value is None and text == self._text:
            return True
        raw = text.encode("utf-8", "surrogatepass")
        found = parse_line(raw[: LINE_LIMIT_BYTES + 1], self._source.file, self._source.line)
        if isinstance(found, Rejected):
            self._say(f"✗ this is no row: {found.detail}", wrong=True)
            return False
        self._value = found.value
        return True

    def _whole(self) -> str:
        if self._value is None:
            return self._text
        return json.dumps(self._value, ensure_ascii=False, indent=2, default=str)

    # -- what is shown -------------------------------------------------------------------------

    def _show(self) -> None:
        if self._at >= 0 and self._value is not None:
            text = get(self._value, self._parts[self._at].path)
        else:
            text = self._whole()
        self._area.text = text
        names: list[tuple[str, str]] = []
        for number, part in enumerate(self._parts):
            style = "bold $accent" if number == self._at else ""
            names += [(inert(part.label), style), ("  ", "")]
        names.append(("as JSON", "bold $accent" if self._at < 0 else "$foreground 40%"))
        self._names.update(Content.assemble(*names))
        self._say_help()

    def _say_help(self) -> None:
        if isinstance(self._source, Rejected):
            self._say(f"The file has no row here: {self._source.detail}. Make it one.")
        else:
            self._say("Kept in the overlay file; the data itself is never changed.")

    def _say(self, text: str, *, wrong: bool = False) -> None:
        self._told.update(Content(inert(text)))
        self._told.set_class(wrong, "-wrong")


def size_of(row: Row | Rejected) -> int:
    """Characters of all texts of a row."""
    return sum(map(len, texts_of(row)))


def parts(value: Mapping[str, Any]) -> Iterator[Part]:
    """The texts of a row, each with a name: its field, or the number and role of its turn."""
    for path, owner in _texts(value, (), value):
        key = path[-1]
        role = owner.get("role") or owner.get("from") if isinstance(owner, Mapping) else None
        turn = next((step for step in reversed(path[:-1]) if isinstance(step, int)), None)
        if turn is not None and role and key in ("content", "value"):
            yield Part(path, f"{turn + 1} {role}")
        else:
            yield Part(path, ".".join(str(step + 1 if isinstance(step, int) else step)
                                      for step in path))  # fmt: skip


def _texts(value: Any, path: Path, owner: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, str):
        if path[-1] not in _NAMES:
            yield path, owner
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key), value)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _texts(inner, (*path, place), owner)


def get(value: Any, path: Path) -> str:
    """The text at the end of a path."""
    for step in path:
        value = value[step]
    return str(value)


def put(value: Any, path: Path, text: str) -> None:
    """Put a text to the end of a path."""
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = text
