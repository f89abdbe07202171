"""One row closely, in three views: rendered, raw, and token by token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from core.config.errors import FinetuiError
from core.data.filter import Pattern
from core.data.read.sources import Rejected, Row
from tui import views
from tui.inert import inert
from tui.look import Look, is_long
from tui.rows import Rows
from tui.widgets.one_line import OneLine
from tui.widgets.text_block import SHOWN_CHARACTERS, TextBlock
from tui.widgets.virtual_list import Cell

NAMES = ("rendered", "raw", "tokens")


class Detail(Vertical):
    """The row under the cursor."""

    DEFAULT_CSS = """
    Detail {
        height: 1fr;
        #which { color: $foreground 60%; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._which = OneLine(id="which")
        self._text = TextBlock()
        self._rows: Rows | None = None
        self._seen: tuple[object, ...] = ()
        """The rows, the number and the state of the row that is shown, or on its way."""
        self._view = 0
        self._ids = False
        self._patterns: Sequence[Pattern] = ()
        self.look: Look | None = None
        self.caption = ""

    def compose(self) -> ComposeResult:
        yield self._which
        yield self._text

    def show(self, rows: Rows, number: int) -> None:
        """Show a row. Long ones are looked at in a thread and shown when that is done."""
        seen = (rows, number, rows.version)
        if seen == self._seen:
            return
        changed = rows.change(number)
        if changed:
            text = f"{changed}: what stands at this place may be another row by now. "
            self.say([(text, "error"), ("r reads the data again.", "")])
            return
        same = seen[:2] == self._seen[:2]
        self._rows, self._seen = rows, seen
        source = rows.source(number)
        if not is_long(source):
            self._draw(rows.look(number), stay=same)
            return
        if not same:
            self.look, self.caption = None, ""
            self._text.show([("one moment …", "dim")])
            self._name_views(NAMES[self._view], source)

        def look() -> None:
            found = rows.look(number)
            self.app.call_from_thread(self._looked, seen, found, same)

        self.run_worker(look, thread=True, exclusive=True, group="look")

    def clear(self) -> None:
        """Show nothing."""
        self.say([])

    def say(self, pieces: list[Cell]) -> None:
        """Show a text in place of a row."""
        self._rows, self._seen, self.look, self.caption = None, (), None, ""
        self._text.show(pieces)
        self._which.say(Content())

    def mark(self, patterns: Sequence[Pattern]) -> None:
        """Mark what a search looks for."""
        self._patterns = patterns
        self._again()

    def next_view(self) -> None:
        """Rendered, raw, tokens."""
        self._view = (self._view + 1) % len(NAMES)
        self._again(stay=False)

    def toggle_ids(self) -> None:
        """The numbers of tokens in the view of tokens, and that view itself."""
        at_tokens = NAMES[self._view] == "tokens"
        self._ids = not self._ids if at_tokens else True
        self._view = NAMES.index("tokens")
        self._again()

    def scroll_on(self, direction: int) -> None:
        """Scroll the text by half of what is in sight: 1 down, -1 up."""
        self._text.scroll_lines(direction * max(1, self._text.size.height // 2))

    def _looked(self, seen: tuple[object, ...], look: Look, stay: bool) -> None:
        if seen == self._seen:
            self._draw(look, stay=stay)

    def _again(self, *, stay: bool = True) -> None:
        if self.look is not None:
            self._draw(self.look, stay=stay)

    def _draw(self, look: Look, *, stay: bool) -> None:
        if self._rows is None:
            return
        self.look, name = look, NAMES[self._view]
        if name == "raw":
            pieces = views.raw_view(look)
        elif name == "tokens":
            pieces = views.token_view(look, ids=self._ids)
        else:
            pieces = views.rendered_view(look, self._rows.codec)
        pieces, unseen = views.parted(pieces, SHOWN_CHARACTERS)
        if any(note.endswith("_found") for note in look.notes) and name != "tokens":
            pieces = views.private(pieces)
        try:
            pieces = views.marked(pieces, self._patterns)
        except FinetuiError:
            self._patterns = ()  # the search itself says that its pattern is too slow
        above = [("✎ edited by hand\n\n", "accent")] * look.edited
        if look.notes:
            noted = ", ".join(name.replace("_", " ") for name in look.notes)
            above.append((f"noted: {noted}\n\n", "dim"))
        if look.problem:
            above.append((f"✗ {look.problem}\n\n", "error"))
        self._text.show([*above, *pieces, *unseen], stay=stay)
        if self._patterns and not stay:
            self._text.go_to("match")
        self.caption = views.caption(look)
        self._name_views(name, look.source)

    def _name_views(self, name: str, source: Row | Rejected) -> None:
        tabs: list[tuple[str, str]] = []
        for one in NAMES:
            shown = f"{one} + ids" if one == "tokens" and self._ids else one
            tabs += [(shown, "bold $accent" if one == name else ""), ("  ", "")]
        where = f"{Path(source.file).name}:{source.line}"
        self._which.say(Content.assemble(*tabs, (inert(where), "$foreground 40%")))
