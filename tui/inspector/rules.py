"""The rules of cleaning: switched on and off, each with what it does to these rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from core.config.counted import counted
from core.config.data import CleanConfig
from core.config.errors import InputError
from core.config.files import check_value
from core.data.clean.preview import Pieces
from core.data.clean.rules import RULES, Rule
from core.data.repeats.near import Cluster
from core.data.trial import Trial
from tui import numbers
from tui.bindings import bindings
from tui.draft import text_of
from tui.inert import inert
from tui.inspector.ask_line import AskLine
from tui.inspector.view import Listed
from tui.rows import Rows
from tui.scan import Ended, Stopwatch
from tui.widgets.field import choices, help_of
from tui.widgets.text_block import TextBlock
from tui.widgets.virtual_list import Cell, VirtualList

SECTION = "clean"
SAMPLE = 20_000
"""Rows that every rule looks at, spread evenly over all of them."""

_NAME, _VALUE, _COUNT = 20, 16, 9
_OF_TOKENS = {"min_answer_tokens": "too_short", "max_tokens": "too_long"}
"""Limits that the survey judges, and their reasons."""
_SHOWN_ROWS, _SHOWN_WORDS = 50, 200
"""Rows of a group of near duplicates that are shown, and characters of each."""


class RuleList(VirtualList):
    """As the list, but space switches instead of turning the page."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "select", "Switch", show=False)]


class Rules(Listed):
    """One setting a line. Below: what it means, and a row before and after it."""

    NAME = "rules"

    DEFAULT_CSS = """
    Rules {
        VirtualList { height: 1fr; min-height: 4; }
        #about { height: auto; max-height: 4; color: $foreground 70%; margin-top: 1; }
        TextBlock { height: 1fr; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("data.rules")]

    def __init__(self) -> None:
        super().__init__(RuleList, headed=True)
        self._about = Static(id="about", markup=False)
        self._preview = TextBlock()
        self.ask = AskLine()
        self._fields = list(CleanConfig.model_fields)
        self._rules = {rule.name: rule for rule in RULES}
        self.trial: Trial | None = None
        self._tried: object = None
        self._done = False
        self._example = 0

    def compose(self) -> ComposeResult:
        yield self.list
        yield self._about
        yield self._preview
        yield self.ask

    @property
    def keys(self) -> tuple[str, ...]:
        return ("rules.switch", "rules.value", "rules.example", "rules.filter")

    @property
    def caption(self) -> str:
        trial = self.trial
        if trial is None or self.rows is None:
            return ""
        looked, rows = numbers.count(trial.looked), counted(self.rows.count, "row")
        going = "" if self._done else " …"
        return f"counted in {looked} of {rows}{going}"

    @property
    def _clean(self) -> CleanConfig:
        return self.rows.config.clean if self.rows is not None else CleanConfig()

    @property
    def _field(self) -> str:
        return self._fields[self.list.cursor]

    def on_mount(self) -> None:
        self.list.set_count(len(self._fields))

    def show(self, rows: Rows | None) -> None:
        self.trial, self._tried = None, None
        super().show(rows)

    def look_again(self) -> None:
        if self.rows is None or not self.display:
            return
        self._try(self.rows)
        self.list.refresh()
        self._say()

    # -- counting, in a thread -----------------------------------------------------------------

    def _try(self, rows: Rows) -> None:
        """Let the rules look at the rows, when that was not done for these settings yet."""
        wanted = (id(rows), rows.config.data.model_dump_json(), self._clean.model_dump_json())
        if not rows.complete or wanted == self._tried:
            return
        self._tried, self._done = wanted, False
        trial = Trial(rows.config, rows.overlay)
        chosen = np.unique(np.linspace(0, rows.count - 1, min(SAMPLE, rows.count)).astype(int))

        def tick(_: float) -> None:
            if self._tried is not wanted or not self.is_attached:
                raise Ended
            self.app.call_from_thread(self._counted, trial, done=False)

        def work() -> None:
            watch = Stopwatch(tick, len(chosen))
            try:
                for at, number in enumerate(chosen.tolist()):
                    watch.at(at)
                    trial.look(number, rows.source(number))
                tick(1.0)
            except Ended:
                return
            self.app.call_from_thread(self._counted, trial, done=True)

        self.run_worker(work, thread=True, exclusive=True, group="trial")

    def _counted(self, trial: Trial, *, done: bool) -> None:
        first = self.trial is not trial and not self.trial
        self.trial, self._done = trial, done
        self.list.refresh()
        if first or done:
            self._say()
        self.post_message(self.Changed())

    # -- keys ----------------------------------------------------------------------------------

    def _moved(self) -> None:
        self._example = 0
        self._say()

    def _chosen(self, index: int) -> None:
        self.action_switch()

    def action_switch(self) -> None:
        """On or off, or the next choice; ask for what is no choice."""
        name = self._field
        options = choices((SECTION, name))
        if options:
            now = text_of(getattr(self._clean, name))
            text = options[(options.index(now) + 1) % len(options)]
            self.post_message(self.Set(SECTION, name, text))
        else:
            self.action_value()

    def action_value(self) -> None:
        """Ask for a value."""
        name = self._field
        value = text_of(getattr(self._clean, name))
        hint = help_of((SECTION, name), text_of(CleanConfig.model_fields[name].default))
        self.ask.ask(name.replace("_", " "), value, hint, None, lambda text: _check(name, text))

    def on_ask_line_given(self, event: AskLine.Given) -> None:
        event.stop()
        self.screen.set_focus(self.list)
        self.post_message(self.Set(SECTION, self._field, event.text))

    def action_example(self, by: int) -> None:
        """Another row that the rule would do something to."""
        self._example += by
        self._say()

    def action_filter(self) -> None:
        """Go to the row of the example; of near duplicates, to the one that is kept."""
        numbers_ = [one.kept for one in self._clusters()] or self._examples()
        if numbers_:
            self.post_message(self.Wanted(number=numbers_[self._example % len(numbers_)]))

    # -- words ---------------------------------------------------------------------------------

    def _examples(self) -> Sequence[int]:
        return self.trial.examples.get(self._field, ()) if self.trial is not None else ()

    def _clusters(self) -> Sequence[Cluster]:
        """Groups of near duplicates, where the rule of the cursor is about them."""
        survey = self.rows.survey if self.rows is not None else None
        near = self._field.startswith("near_") and self._clean.near_duplicates
        return survey.clusters if survey is not None and near else ()

    def _show_cluster(self, rows: Rows, clusters: Sequence[Cluster]) -> None:
        at = self._example % len(clusters)
        one = clusters[at]
        group = counted(len(one.others) + 1, "row")
        cells: list[Cell] = [(f"group {at + 1} of {len(clusters)}: {group}\n", "dim")]
        cells += [("kept", "success"), *_line_of(rows, one.kept)]
        for number, share in one.others[:_SHOWN_ROWS]:
            cells += [(f"{share:4.0%}", "error"), *_line_of(rows, number)]
        if len(one.others) > _SHOWN_ROWS:
            cells.append((f"… {len(one.others) - _SHOWN_ROWS:,} more", "dim"))
        self._preview.show(cells)

    def _say(self) -> None:
        name = self._field
        text = help_of((SECTION, name), text_of(CleanConfig.model_fields[name].default))
        self._about.update(Content(inert(text)))
        rule, examples, clusters = self._rules.get(name), self._examples(), self._clusters()
        if clusters and self.rows is not None:
            self._show_cluster(self.rows, clusters)
            return
        if rule is None or not examples or self.trial is None or self.rows is None:
            self._preview.show([(self._nothing(name, rule), "dim")])
            return
        at = self._example % len(examples)
        number = examples[at]
        row = self.rows.source(number)
        head = f"row {number + 1:,}  ·  example {at + 1} of {len(examples)}\n"
        self._preview.show([(head, "dim"), *_pieces(self.trial.shown(rule, row))])

    def _header(self, width: int) -> list[Cell]:
        return [(f"    {'rule':<{_NAME}}{'value':<{_VALUE}}{'finds':>{_COUNT}}", "head")]

    def _draw(self, index: int, width: int) -> list[Cell]:
        name = self._fields[index]
        value = getattr(self._clean, name)
        rule = self._rules.get(name)
        on = bool(value) and value != "show"
        own = rule is not None or isinstance(value, bool)
        mark = "✓" if on and own else " "
        shown = "" if isinstance(value, bool) else text_of(value) or "–"
        count = self._count(name, rule)
        about = str(CleanConfig.model_fields[name].description)
        return [
            (f" {mark}  ", "accent"),
            (f"{name.replace('_', ' '):<{_NAME}}", "bold" if on and own else ""),
            (f"{inert(shown)[: _VALUE - 1]:<{_VALUE}}", ""),
            (f"{count:>{_COUNT}}  ", "warning" if on and own and count != "0" else ""),
            (inert(about)[: max(0, width - _NAME - _VALUE - _COUNT - 6)], "dim"),
        ]

    def _count(self, name: str, rule: Rule | None) -> str:
        """In how many rows the rule finds something; a dash where that is not known."""
        if name == "near_duplicates" and self.rows is not None and self._clean.near_duplicates:
            names, codes = self.rows.reasons()
            if "near_duplicate" in names:
                return numbers.count(int((codes == names.index("near_duplicate")).sum()))
            return "0" if self.rows.survey is not None and self.rows.survey.complete else "–"
        late = _OF_TOKENS.get(name)
        if late is not None and self.rows is not None and getattr(self._clean, name):
            count = self.rows.late(late)
            return "–" if count is None else numbers.count(count)
        if self.trial is None or rule is None or not _counts(rule, self._clean):
            return "" if rule is None else "–"
        return numbers.count(self.trial.found.get(name, 0))

    def _nothing(self, name: str, rule: Rule | None) -> str:
        """Why there is no example."""
        if name.startswith("near_"):
            if not self._clean.near_duplicates:
                return "Once near duplicates is on, they are counted, and their groups shown here."
            whole = self.rows is not None and self.rows.looked_at
            return "No two rows are that much alike." if whole else "looking …"
        if rule is None:
            return ""
        if name in _OF_TOKENS:
            return _of_tokens(bool(getattr(self._clean, name)))
        if not _counts(rule, self._clean):
            return "It has no value: once e gives it one, the rows that it rejects are counted."
        return "It finds nothing in these rows." if self._done else "looking …"


def _counts(rule: Rule, clean: CleanConfig) -> bool:
    """Whether a rule can count without a value that it has not."""
    if rule.name in _OF_TOKENS:
        return False
    return isinstance(rule.default, bool | str) or bool(getattr(clean, rule.name))


def _check(name: str, text: str) -> None:
    """Raise for a value that cannot stand."""
    wrong = check_value(SECTION, name, text)
    if wrong is not None:
        gap = " " if wrong.startswith("is ") else ": "
        raise InputError(f"{name}{gap}{wrong}", kind="bad_value")


def _pieces(found: tuple[Pieces, Pieces] | str) -> list[Cell]:
    """Before and after, with what the rule is about marked."""
    if isinstance(found, str):
        return [(found, "")]
    before, after = found
    cells: list[Cell] = [("before  ", "head")]
    cells += [(_seen(text) if about else text, "error" if about else "") for text, about in before]
    if after:
        cells.append(("\nafter   ", "head"))
        cells += [(_seen(text) if about else text, "success" if about else "")
                  for text, about in after]  # fmt: skip
    return cells


def _seen(text: str) -> str:
    """What a rule is about, so that spaces and line ends are seen too."""
    return text.replace(" ", "·").replace("\n", "↵\n").replace("\t", "→")


def _of_tokens(given: bool) -> str:
    """Of a limit in tokens, which the survey counts."""
    if given:
        return "Counted in tokens, with a base model: its rows stand in problems."
    return "It has no value: once e gives it one, the rows that it rejects are counted in tokens."


def _line_of(rows: Rows, number: int) -> list[Cell]:
    """A row of a group in a line."""
    words = rows.glance(number).words
    return [(f"  row {number + 1:,}  ", "dim"), (f"{inert(words)[:_SHOWN_WORDS]}\n", "")]
