"""What is to be known of the data as a whole, in figures and in words."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tui import numbers
from tui.inert import inert
from tui.inspector.view import View
from tui.rows import Rows

Line = tuple[str, str]


class FactsScroll(VerticalScroll, can_focus=True):
    """Takes the keys, and scrolls."""

    DEFAULT_CSS = "FactsScroll { height: 1fr; scrollbar-size-vertical: 1; }"


class Facts(View):
    """Figures of the survey, and the verdict."""

    NAME = "facts"

    DEFAULT_CSS = "Facts Static { height: auto; }"

    def __init__(self) -> None:
        super().__init__()
        self._text = Static(markup=False)
        self._scroll = FactsScroll()

    def compose(self) -> ComposeResult:
        with self._scroll:
            yield self._text

    def target(self) -> Widget:
        return self._scroll

    def look_again(self) -> None:
        if self.rows is not None and self.display:
            blocks = [_heading("Account"), *map(_line, account(self.rows)), Content("")]
            blocks += [_heading("Lengths"), *map(_line, lengths(self.rows))]
            self._text.update(Content("\n").join(blocks))


def account(rows: Rows) -> list[Line]:
    """read = kept + rejected, and what else was counted."""
    survey = rows.survey
    if survey is None:
        return [("", "nothing was looked at yet")]
    names, codes = rows.reasons()
    kept = int((codes == 0).sum())
    lines = [
        ("rows looked at", f"{numbers.count(rows.known)} of {numbers.count(rows.count)}"),
        ("kept", f"{numbers.count(kept)}  {_share(kept, rows.known)}"),
        (
            "rejected",
            f"{numbers.count(rows.known - kept)}  {_share(rows.known - kept, rows.known)}",
        ),
    ]
    for code, name in enumerate(names):
        count = int((codes == code).sum())
        if code and count:
            lines.append((f"  {name.replace('_', ' ')}", numbers.count(count)))
    tally = survey.tally
    if tally.formats:
        formats = ", ".join(f"{name} {n:,}" for name, n in tally.formats.most_common())
        lines.append(("formats", formats))
    if tally.blank_lines.total():
        lines.append(("blank lines", numbers.count(tally.blank_lines.total())))
    for name, count in tally.notes.most_common():
        lines.append((f"  {name.replace('_', ' ')}", numbers.count(count)))
    if len(rows.overlay):
        by_hand = f"{rows.overlay.dropped:,} dropped, {rows.overlay.edited:,} edited"
        lines.append(("by hand", by_hand))
    return lines


def lengths(rows: Rows) -> list[Line]:
    """Median, 95 of 100, and longest."""
    import numpy as np

    kept = rows.reasons()[1] == 0
    lines = []
    for key, name in (("turns", "turns"), ("chars", "characters"), ("tokens", "tokens"),
                      ("answer", "answer tokens")):  # fmt: skip
        values = rows.number(key)[kept]
        values = values[values > 0]
        if len(values):
            median, high = np.percentile(values, (50, 95))
            lines.append(
                (name, f"median {median:,.0f}  ·  95 of 100 up to {high:,.0f}  ·  longest "
                       f"{int(values.max()):,}  ·  all {int(values.sum()):,}")
            )  # fmt: skip
    return lines or [("", "no row is kept yet")]


def _share(part: int, whole: int) -> str:
    return f"({part / whole:.1%})" if whole else ""


def _heading(text: str) -> Content:
    return Content.styled(text, "bold $accent")


def _line(line: Line) -> Content:
    name, value = line
    return Content.assemble((f"  {inert(name):<26}", "$foreground 60%"), (inert(value), ""))
