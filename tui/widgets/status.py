"""The pinned first line (how the run stands) and the last (which keys matter now)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.widget import Widget

from core.record.state import RunState
from tui import numbers
from tui.bindings import PANE_NAMES, Key
from tui.inert import inert

_WORKING = {
    "train": "training",
    "merge": "merging",
    "generate": "answering",
    "prepare": "preparing",
}

_STATES = {
    "new": ("○", "not started", "$foreground 60%"),
    "prepared": ("○", "prepared", "$foreground 60%"),
    "starting": ("◌", "starting", "$accent"),
    "running": ("●", "working", "$accent"),
    "paused": ("‖", "paused", "$warning"),
    "restarting": ("↻", "restarting", "$warning"),
    "finished": ("✓", "finished", "$success"),
    "stopped": ("■", "stopped", "$foreground 80%"),
    "interrupted": ("!", "interrupted", "$warning"),
    "failed": ("✗", "failed", "$error"),
}
"""Glyph, word and colour of a status: the word alone says it all without colours."""


def status_words(status: str, state: RunState) -> tuple[str, str, str]:
    """Glyph, word and style for a status, with what is being worked on."""
    glyph, word, style = _STATES.get(status, ("?", status, "$warning"))
    if status == "running":
        word = _WORKING.get(state.job, state.job or word)
        if state.job == "train" and state.stage and state.step_seconds is None:
            word = state.stage
    elif status == "finished" and state.job not in ("", "train") and state.failure is None:
        word = f"{state.job} done"
    return glyph, word, style


@dataclass(frozen=True)
class Standing:
    """What the status line shows."""

    name: str
    status: str
    state: RunState
    ours_bytes: int | None = None
    memory_kind: str = ""
    """Behind the memory, where it is not a GPU's."""
    note: str = ""


class StatusLine(Widget):
    """How the run stands, in one line that keeps its columns while numbers change."""

    DEFAULT_CSS = "StatusLine { height: 1; background: $panel; color: $foreground; }"

    def __init__(self) -> None:
        super().__init__()
        self._standing = Standing("", "new", RunState())

    def show(self, standing: Standing) -> None:
        """Show how the run stands now."""
        if standing != self._standing or standing.status != "new":
            self._standing = standing
            self.refresh()

    def render(self) -> Content:
        """The parts, as many as there is room for; name and state never fall away."""
        width = self.size.width
        standing = self._standing
        wide = width >= 110
        glyph, word, style = status_words(standing.status, standing.state)
        name = inert(standing.name) or "no run yet"
        mark = " finetui  " if wide else " "
        state = Content.styled(f"{glyph} {word}", f"bold {style}")
        facts = self._facts(wide)
        room = width - len(mark) - state.cell_length - 3
        least_name = min(len(name), 24 if wide else 12)
        for least in ("speed", "memory", "percent", "eta", "progress"):
            if sum(fact.cell_length for fact in facts.values()) > room - least_name:
                facts.pop(least, None)
        right = Content("").join([state, *facts.values()])
        name = _cut(name, max(8, width - len(mark) - right.cell_length - 2))
        head = Content.assemble((mark, "bold $accent"), (name, "bold"))
        gap = max(1, width - head.cell_length - right.cell_length - 1) if wide else 1
        return head + Content(" " * gap) + right

    def _facts(self, wide: bool) -> dict[str, Content]:
        state, standing = self._standing.state, self._standing
        running = standing.status == "running"
        apart = "   " if wide else "  "
        near = apart if wide else " "
        facts: dict[str, Content] = {}
        training = not running or state.job == "train"
        if running and not training:
            facts["step"] = Content(f"{apart}{inert(state.stage)}")
        elif state.total_steps:
            done = str(state.step).rjust(len(str(state.total_steps)))
            word = "   step " if wide else " "
            facts["step"] = Content(f"{word}{done}/{state.total_steps}")
            facts["percent"] = Content(f"{near}{100 * state.step / state.total_steps:3.0f} %")
        if state.progress is not None and running:
            total = state.progress.total
            of = f"/{numbers.short(total)}" if total else ""
            done = numbers.short(state.progress.done)
            facts["progress"] = Content(f"{apart}{done}{of} {state.progress.unit}")
        if running and training and state.total_steps:
            facts["eta"] = _fact(near, "ETA", f"{numbers.clock(state.remaining_seconds):>5}")
        if state.loss is not None and training:
            facts["loss"] = _fact(apart, "loss", f"{numbers.loss(state.loss):>5}")
        if state.tokens_per_second is not None and training:
            speed = state.tokens_per_second
            text = f"{speed:>6,.0f}" if wide else f"{numbers.short(speed):>4}"
            facts["speed"] = Content(f"{apart}{text} tok/s")
        if standing.ours_bytes is not None:
            gib = f"{numbers.gib(standing.ours_bytes):>4} GiB{standing.memory_kind}"
            facts["memory"] = Content(f"{near}{gib}")
        if standing.note:
            facts["note"] = Content.styled(f"{apart}{inert(standing.note)}", "$warning")
        return facts


def _fact(gap: str, word: str, value: str) -> Content:
    return Content.assemble(gap, (f"{word} ", "$foreground 60%"), value)


class TabsLine(Widget):
    """Names of the panes with their numbers, where only one pane fits."""

    DEFAULT_CSS = "TabsLine { height: 1; color: $foreground 70%; }"

    def __init__(self) -> None:
        super().__init__()
        self._current = PANE_NAMES[0]

    def show(self, current: str) -> None:
        """Mark the pane that is shown."""
        self._current = current
        self.refresh()

    def render(self) -> Content:
        parts: list[Content | tuple[str, str] | str] = []
        for number, name in enumerate(PANE_NAMES, 1):
            text = f"{number} {name.title()}"
            if name == self._current:
                parts.append((f"[{text}]", "bold $accent"))
            else:
                parts.append((f" {text} ", "$foreground 70%"))
            parts.append(" ")
        return Content.assemble(" ", *parts)


class FooterLine(Widget):
    """The keys that matter now, from the table of bindings, and the run's folder."""

    DEFAULT_CSS = "FooterLine { height: 1; background: $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[tuple[str, str], ...] = ()
        self._place = ""

    def show(self, keys: Sequence[Key], labels: dict[str, str], place: str) -> None:
        """Show these keys; `labels` replaces words by id, `place` stands at the right end."""
        new = tuple((key.display, labels.get(key.id, key.label)) for key in keys)
        if (new, place) != (self._keys, self._place):
            self._keys, self._place = new, place
            self.refresh()

    def render(self) -> Content:
        """As many keys as fit; the last two, help and commands, always do."""
        width = self.size.width
        keys = list(self._keys)
        while len(keys) > 2 and _length(keys) > width - 1:
            keys.pop(-3)
        if keys and _length(keys) > width - 1:
            keys.pop()
        parts = [part for shown, label in keys for part in _key(shown, label)]
        left = Content.assemble(" ", *parts)
        place = inert(self._place)
        room = width - left.cell_length - 2
        if len(place) > room:
            return left
        gap = " " * (width - left.cell_length - len(place) - 1)
        return left + Content(gap) + Content.styled(place, "$foreground 50%")


def _key(shown: str, label: str) -> tuple[tuple[str, str], ...]:
    return ((shown, "bold $accent"), (f" {label}  ", "$foreground 80%"))


def _length(keys: Sequence[tuple[str, str]]) -> int:
    return 1 + sum(len(shown) + len(label) + 3 for shown, label in keys)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"
