"""The data pane: rows of the training data, and the row under the cursor in three views."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.config.errors import FinetuiError
from core.config.schema import RunConfig
from tui import numbers
from tui.bindings import bindings
from tui.inert import inert
from tui.widgets.pane import Pane
from tui.widgets.text_block import TextBlock
from tui.widgets.virtual_list import Cell, VirtualList

if TYPE_CHECKING:
    from tui.rows import Look, Rows

VIEWS = ("rendered", "raw", "tokens")

_EMPTY = "No data yet.\n\no opens a .jsonl or .json file: Alpaca, ShareGPT, messages, or prompt and completion."  # noqa: E501


class DataPane(Pane):
    """The rows that will be learned from. Files and tokenizer are read in threads."""

    NAME = "data"

    DEFAULT_CSS = """
    DataPane {
        #rows { height: 1fr; min-height: 3; }
        #views { height: 1; border: none; color: $foreground 60%; }
        #detail { height: 1fr; }
        #no-data { display: none; color: $foreground 60%; padding: 1 1; }
        &.-empty #no-data { display: block; }
        &.-empty #rows, &.-empty #views, &.-empty #detail { display: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("data"),
        ("left_square_bracket", "scroll_detail(-3)"),
        ("right_square_bracket", "scroll_detail(3)"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._list = VirtualList(self._draw, header=self._header, id="rows")
        self._views = Static(id="views")
        self._detail = TextBlock(id="detail")
        self._note = Static(_EMPTY, id="no-data", markup=False)
        self._rows: Rows | None = None
        self._view = 0
        self._asked: tuple[object, ...] = ()
        self._model_asked: tuple[object, ...] = ()
        self._model_note = ""

    def compose(self) -> ComposeResult:
        yield self._note
        yield self._list
        yield self._views
        yield self._detail

    def on_mount(self) -> None:
        self._say(_EMPTY)

    def target(self) -> Widget:
        return self._list

    @property
    def keys(self) -> tuple[str, ...]:
        if self._rows is None:
            return ("run.data",)
        problem = ("data.problem",) if self._rows.problems else ()
        return ("data.view", *problem)

    @property
    def told(self) -> str:
        """The data in a few words; empty while there is none that can be used."""
        if self._rows is None:
            return ""
        names = ", ".join(Path(name).name for name in self._rows.files)
        return f"{names}, {numbers.count(self._rows.count)} rows"

    def look_at(self, config: RunConfig) -> None:
        """Show the data of a configuration; does nothing when it is shown already."""
        data, model = config.data, config.model
        asked = (tuple(data.files), data.format)
        if asked != self._asked:
            self._asked = asked
            self._open(config)
        wanted = (model.name_or_path, model.revision, data.max_length)
        if wanted != self._model_asked and data.files:
            self._model_asked = wanted
            self._load_codec(config)

    # -- opening, in threads -----------------------------------------------------------------

    def _open(self, config: RunConfig) -> None:
        if self._rows is not None:
            self._rows.close()
            self._rows = None
        files = list(config.data.files)
        if not files:
            self._say(_EMPTY)
            return
        self._say(f"reading {', '.join(Path(name).name for name in files)} …")

        def read() -> None:
            from tui.rows import Rows

            rows = Rows(files, config.data.format)
            try:
                rows.open()
            except (FinetuiError, OSError) as error:
                self.app.call_from_thread(self._refuse, files, error)
                return
            self.app.call_from_thread(self._opened, rows)
            self._check(rows)

        self.run_worker(read, thread=True, exclusive=True, group="rows")

    def _check(self, rows: Rows) -> None:
        def told() -> bool:
            if self._rows is not rows or not self.is_attached:
                return False
            self.app.call_from_thread(self._checked, rows)
            return True

        try:
            rows.check(told)
        except FinetuiError as error:
            self.app.call_from_thread(self._refuse, list(rows.files), error)

    def _load_codec(self, config: RunConfig) -> None:
        name, revision = config.model.name_or_path, config.model.revision
        wanted = self._model_asked

        def load() -> None:
            from core.data.tokens import ChatCodec

            codec, note = None, ""
            if name:
                try:
                    codec = ChatCodec.load(name, revision)
                except FinetuiError as error:
                    note = error.message
            self.app.call_from_thread(self._codec_loaded, wanted, codec, note)

        self.run_worker(load, thread=True, exclusive=True, group="codec")

    def _codec_loaded(self, wanted: tuple[object, ...], codec: object, note: str) -> None:
        if wanted != self._model_asked:
            return
        self._model_note = note
        self._codec = codec
        self._use_codec()

    def _use_codec(self) -> None:
        codec = getattr(self, "_codec", None)
        if self._rows is not None and self._model_asked:
            length = self._model_asked[2]
            self._rows.use(codec, length if isinstance(length, int) else None)
            self._redraw()

    def _opened(self, rows: Rows) -> None:
        if tuple(rows.files) != self._asked[0]:
            rows.close()
            return
        self._rows = rows
        self.set_class(False, "-empty")
        self._list.set_count(rows.count)
        self._list.cursor = 0
        self._use_codec()
        self._redraw()
        self.post_message(self.Changed())

    def _checked(self, rows: Rows) -> None:
        if self._rows is rows:
            rows.look.cache_clear()
            self._redraw()
            self.post_message(self.Changed())

    def _refuse(self, files: list[str], error: Exception) -> None:
        if tuple(files) == self._asked[0]:
            todo = "".join(f"\n→ {remedy}" for remedy in getattr(error, "remedies", ()))
            self._say(f"✗ {error}{todo}\n\no opens another file")
            self.post_message(self.Changed())

    def _say(self, text: str) -> None:
        self.set_class(True, "-empty")
        self._note.update(Content(inert(text, keep="\n")))
        self.head()
        self.foot("")

    # -- drawing -----------------------------------------------------------------------------

    def _redraw(self) -> None:
        if self._rows is None:
            return
        bad = len(self._rows.problems)
        problems = f"{numbers.count(bad)} problem{'s' if bad > 1 else ''}" if bad else ""
        self.head(f"{numbers.count(self._rows.count)} rows", problems)
        self._list.refresh()
        self._show_row()

    def on_virtual_list_moved(self, event: VirtualList.Moved) -> None:
        event.stop()
        self._show_row()

    def action_next_view(self) -> None:
        """Rendered, raw, tokens."""
        self._view = (self._view + 1) % len(VIEWS)
        self._show_row()

    def action_next_problem(self) -> None:
        """The next row that will be rejected."""
        if self._rows is None:
            return
        at = self._rows.next_problem(self._list.cursor)
        if at is None:
            self.notify("no row of this data is rejected")
        else:
            self._list.move_to(at)

    def action_scroll_detail(self, by: int) -> None:
        """Scroll the row below the list."""
        self._detail.scroll_lines(by)

    def _show_row(self) -> None:
        from tui import rows as views

        if self._rows is None or not self._rows.count:
            return
        look = self._rows.look(self._list.cursor)
        view = VIEWS[self._view]
        if view == "raw":
            pieces = views.raw_view(look)
        elif view == "tokens":
            pieces = views.token_view(look)
        else:
            pieces = views.rendered_view(look, self._rows.codec)
        if look.problem:
            pieces = [(f"✗ {look.problem}\n\n", "error"), *pieces]
        self._detail.show(pieces)
        self.foot(views.caption(look) or self._model_note)
        parts = [(name, "bold $accent" if name == view else "") for name in VIEWS]
        tabs = [part for name in parts for part in (name, "  ")]
        where = f"{Path(look.row.file).name}:{look.row.line}"
        self._views.update(Content.assemble(*tabs, (inert(where), "$foreground 40%")))

    def _header(self, width: int) -> list[Cell]:
        return [(f"{'#':>{self._number_width}}  turns  tokens  first words", "head")]

    @property
    def _number_width(self) -> int:
        return max(4, len(str(self._rows.count)) if self._rows else 4)

    def _draw(self, index: int, width: int) -> list[Cell]:
        if self._rows is None:
            return []
        look = self._rows.look(index)
        number = f"{index + 1:>{self._number_width}}  "
        if look.problem:
            return [(number, "dim"), ("    ✗       –  ", "error"), (inert(look.problem), "error")]
        turns = len(look.chat or [])
        return [
            (number, "dim"),
            (f"{turns:>5}  {_tokens(look):>6}  ", ""),
            (inert(look.first_words)[:width], ""),
        ]


def _tokens(look: Look) -> str:
    return numbers.count(look.encoded.full_length) if look.encoded is not None else "–"
