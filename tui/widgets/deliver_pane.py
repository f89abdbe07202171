"""The deliver pane: where the merged model is, how to serve it, and what it answers now."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.config.counted import counted
from core.record import events as ev
from tui import numbers
from tui.bindings import bindings
from tui.inert import inert
from tui.session import Session
from tui.widgets.pane import Pane
from tui.widgets.text_block import TextBlock
from tui.widgets.virtual_list import Cell, VirtualList

_NOTHING = (
    "Nothing is merged yet. When a training has finished, m merges its adapter into the base "
    "model; the result and its answers are shown here."
)


def _merging(session: Session) -> str:
    """What a merge is doing now; empty when none is."""
    state = session.state
    if not session.live or state.job != "merge":
        return ""
    done = state.progress
    far = f", {done.done} of {done.total} {done.unit}" if done is not None and done.total else ""
    return f"Merging: {inert(state.stage) or 'starting'}{far}"


class DeliverPane(Pane):
    """What came out of a run."""

    NAME = "deliver"

    DEFAULT_CSS = """
    DeliverPane {
        #delivered { height: auto; }
        #answers { height: auto; max-height: 12; border-top: solid $border; }
        #answer { height: 2fr; border-top: solid $border; }
        &.-empty #answers, &.-empty #answer { display: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("deliver")]

    def __init__(self) -> None:
        super().__init__()
        self._facts = Static(id="delivered")
        self._list = VirtualList(self._draw, header=self._header, id="answers")
        self._detail = TextBlock(id="answer")
        self._rows: list[int] = []
        self._answers: dict[tuple[int, str], ev.SampleGenerated] = {}

    def compose(self) -> ComposeResult:
        yield self._facts
        yield self._list
        yield self._detail

    def on_mount(self) -> None:
        self.set_class(True, "-empty")
        self._facts.update(Content.styled(_NOTHING, "$foreground 60%"))
        self.head()

    def target(self) -> Widget:
        return self._list

    @property
    def keys(self) -> tuple[str, ...]:
        return ("deliver.row",) if self._rows else ()

    def show(self, session: Session) -> None:
        """Show what the session's run has delivered so far."""
        self._answers = dict(session.answers)
        self._rows = sorted({index for index, _ in self._answers})
        self.set_class(not self._rows, "-empty")
        self._facts.update(self._told(session))
        self._list.set_count(len(self._rows))
        self._list.styles.height = len(self._rows) + 2
        compared = session.state.compared
        self.head(counted(len(self._rows), "answer") if self._rows else "")
        self.foot(_matches(compared) if compared else "")
        self._show_row(self._list.cursor)

    def on_virtual_list_moved(self, event: VirtualList.Moved) -> None:
        event.stop()
        self._show_row(event.index)

    def _told(self, session: Session) -> Content:
        merged, compared = session.state.merged, session.state.compared
        if merged is None:
            return Content.styled(_merging(session) or _NOTHING, "$foreground 60%")
        size, seconds = numbers.size(merged.size_bytes), f"{merged.seconds:.1f} s"
        lines = [
            Content.assemble(("merged model  ", "$foreground 60%"), (inert(merged.path), "bold")),
            Content.styled(f"              {size}, written in {seconds}", "$foreground 60%"),
            Content.assemble(
                ("serve it with ", "$foreground 60%"), (inert(merged.serve_command), "$accent")
            ),
        ]
        if compared is not None:
            lines.append(
                Content.assemble(
                    ("as expected   ", "$foreground 60%"),
                    f"base {compared.base_matches} of {compared.rows}   merged ",
                    (f"{compared.merged_matches} of {compared.rows}", _gain(compared)),
                    ("   held-out rows answered word for word", "$foreground 60%"),
                )
            )
        return Content("\n").join(lines)

    def _header(self, width: int) -> list[Cell]:
        return [(f"{'#':>4}  base  merged  question", "head")]

    def _draw(self, index: int, width: int) -> list[Cell]:
        row = self._rows[index]
        some = next(a for (i, _), a in self._answers.items() if i == row)
        return [
            (f"{row + 1:>4}  ", "dim"),
            *self._verdict(row, "base", 6),
            *self._verdict(row, "merged", 8),
            (inert(some.prompt.replace("\n", " "))[: max(0, width - 20)], ""),
        ]

    def _verdict(self, row: int, model: str, width: int) -> list[Cell]:
        answer = self._answers.get((row, model))
        if answer is None:
            return [("–".ljust(width), "dim")]
        right = matches(answer)
        return [(("✓" if right else "✗").ljust(width), "success" if right else "dim")]

    def _show_row(self, index: int) -> None:
        if not self._rows:
            return
        row = self._rows[min(index, len(self._rows) - 1)]
        answers = [a for (i, _), a in sorted(self._answers.items()) if i == row]
        pieces: list[Cell] = [("question\n", "head"), (answers[0].prompt + "\n\n", "")]
        pieces += [("expected\n", "head"), (answers[0].expected + "\n", "")]
        for answer in answers:
            right = matches(answer)
            verdict = "as expected" if right else "differs"
            pieces.append(
                (f"\n{answer.model} ─ {verdict} ─ {counted(answer.tokens, 'token')}\n", "head")
            )
            pieces.append((answer.text + "\n", "success" if right else ""))
        self._detail.show(pieces)


def _gain(compared: ev.AnswersCompared) -> str:
    """Green where the merged model is better than the base, plain where it is not."""
    better = compared.merged_matches > compared.base_matches
    return "bold $success" if better else "bold"


def matches(answer: ev.SampleGenerated) -> bool:
    """Whether an answer is the expected one, space around it aside."""
    return answer.text.strip() == answer.expected.strip()


def _matches(compared: ev.AnswersCompared) -> str:
    return (
        f"as expected: base {compared.base_matches}, merged {compared.merged_matches} "
        f"of {compared.rows}"
    )
