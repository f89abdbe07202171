"""How long the rows are: a histogram, the cut of max_length, and what each other cut would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from core.config.counted import counted
from core.data.histogram import Bar, histogram
from tui import numbers
from tui.bindings import bindings
from tui.inert import inert
from tui.inspector.view import Listed
from tui.widgets.virtual_list import Cell

if TYPE_CHECKING:
    from core.data.tokens.forecast import Forecast

_LABEL = 20
_ROWS = 10
_RAW = "a raw text is not cut: what is longer than max_length is learned in several pieces"
_WHOLE = "99 of 100 rows and answer tokens stay whole"


class Lengths(Listed):
    """One bar a line; the cursor chooses a length, enter sets it."""

    NAME = "lengths"

    DEFAULT_CSS = """
    Lengths {
        VirtualList { height: 1fr; min-height: 3; }
        #forecast { height: auto; color: $foreground 90%; margin-top: 1; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("data.lengths")]

    def __init__(self) -> None:
        super().__init__(headed=True)
        self._forecast = Static(id="forecast", markup=False)
        self.bars: list[Bar] = []
        self._costs: Forecast | None = None
        self._proposed = 0
        self._seen: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield self.list
        yield self._forecast

    @property
    def keys(self) -> tuple[str, ...]:
        return ("lengths.set", "lengths.propose") if self._in_tokens else ("run.model",)

    @property
    def count(self) -> str:
        if self.rows is None or not self._in_tokens:
            return ""
        cut = int(self.rows.word("is", "cut").sum())
        return f"✂ {numbers.count(cut)}" if cut else ""

    @property
    def _in_tokens(self) -> bool:
        survey = self.rows.survey if self.rows is not None else None
        return survey is not None and survey.codec is not None

    @property
    def _limit(self) -> int:
        return self.rows.config.data.max_length if self.rows is not None else 0

    def look_again(self) -> None:
        rows = self.rows
        if rows is None or not self.display:
            return
        seen = (id(rows), rows.known, self._in_tokens, rows.revision, id(rows.survey))
        if seen != self._seen:
            before = self._seen[:1] + self._seen[2:3]
            first = not self.bars or before != (id(rows), self._in_tokens)
            self._seen = seen
            kept = rows.reasons()[1] == 0
            # The survey goes on meanwhile: there may be more lengths than reasons by now.
            lengths = rows.number("tokens" if self._in_tokens else "chars")[: len(kept)]
            kept = kept & (lengths > 0)
            self.bars = histogram(lengths[kept])
            self._costs = rows.survey.forecast if rows.survey and self._in_tokens else None
            self._proposed = self._costs.proposed if self._costs and self._costs.rows else 0
            self.list.set_count(len(self.bars))
            if first:
                self.list.move_to(self._line_of(self._limit) if self._in_tokens else 0, tell=False)
        self.list.refresh()
        self._say()

    @property
    def _only_raw(self) -> bool:
        """Whether rows have tokens, and none of them is one that can be cut."""
        return bool(self.bars) and self._costs is not None and not self._costs.rows

    def _line_of(self, length: int) -> int:
        return next((n for n, bar in enumerate(self.bars) if bar.high >= length),
                    len(self.bars) - 1)  # fmt: skip

    def _moved(self) -> None:
        self._say()

    def _chosen(self, index: int) -> None:
        """Set max_length to where this bar ends."""
        if self._in_tokens:
            self.post_message(self.Set("data", "max_length", str(self.bars[index].high)))

    def action_propose(self) -> None:
        """Set max_length to the proposed length."""
        if self._proposed:
            self.post_message(self.Set("data", "max_length", str(self._proposed)))
        else:
            why = _RAW if self._only_raw else "no row has an answer yet whose length is known"
            self.notify(f"no length is proposed: {why}", severity="warning", markup=False)

    # -- words and bars ------------------------------------------------------------------------

    def _say(self) -> None:
        if not self.bars:
            self._forecast.update("No rows yet.")
            return
        if self._costs is None:
            text = "In characters: b chooses a base model, then lengths are in its tokens."
            self._forecast.update(text)
            return
        if self._only_raw:
            self._forecast.update(f"{_RAW[0].upper()}{_RAW[1:]}.")
            return
        bar = self.bars[min(self.list.cursor, len(self.bars) - 1)]
        lines = [costs(self._costs, self._limit)] if bar.high != self._limit else []
        lines.append(costs(self._costs, bar.high))
        if self._proposed:
            same = ", and is set" if self._proposed == self._limit else ": a sets it"
            lines.append(f"◆ {self._proposed:,} is proposed: {_WHOLE}{same}")
        self._forecast.update(Content(inert("\n".join(lines), keep="\n")))

    def _header(self, width: int) -> list[Cell]:
        what = "tokens" if self._in_tokens else "characters"
        return [(f"  {what:>{_LABEL - 2}}{'rows':>{_ROWS}}  ", "head")]

    def _draw(self, index: int, width: int) -> list[Cell]:
        bar = self.bars[index]
        limit = self._limit if self._in_tokens else 0
        cuts = bar.low < limit <= bar.high
        mark_cut = "max_length" if self._only_raw else "✂ max_length"
        mark = "◆ " if bar.low < self._proposed <= bar.high else "  "
        label = f"{bar.low + 1:,} – {bar.high:,}"
        beyond = self._in_tokens and bar.low >= limit and not self._only_raw
        room = max(1, width - _LABEL - _ROWS - 4)
        most = max(one.rows for one in self.bars)
        filled = round(bar.rows / most * room) if most else 0
        filled = max(filled, 1 if bar.rows else 0)
        drawn = "▇" * filled
        cells: list[Cell] = [
            (mark, "accent"),
            (f"{label:>{_LABEL - 2}}", "warning" if beyond else ""),
            (f"{numbers.count(bar.rows):>{_ROWS}}  ", "warning" if beyond else ""),
            (drawn, "warning" if beyond else "accent"),
        ]
        if cuts:
            cells.append((f" {mark_cut} {limit:,}"[: max(0, room - filled + 2)], "warning"))
        return cells


def costs(forecast: Forecast, length: int) -> str:
    """What a cut at a length costs, in a sentence."""
    cut = forecast.at(length)
    if not cut.rows_cut:
        return f"max_length {length:,} cuts no row."
    share = cut.rows_cut / max(1, forecast.rows)
    answers = cut.answer_tokens_cut / max(1, forecast.answer_tokens)
    rows, cut_tokens = counted(forecast.rows, "row"), counted(cut.answer_tokens_cut, "answer token")
    lost = counted(cut.rows_lost, "loses its whole answer", "lose their whole answer")
    return (
        f"max_length {length:,} cuts {cut.rows_cut:,} of {rows} ({share:.1%}) and "
        f"{cut_tokens} ({answers:.1%})" + (f"; {lost}." if cut.rows_lost else ".")
    )
