"""What is to be known of the data as a whole, in figures and in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.config.counted import counted
from core.config.schema import RunConfig
from core.record.folder import list_runs
from core.record.pace import pace_of
from tui import numbers
from tui.inert import inert
from tui.inspector.view import View
from tui.rows import Rows

if TYPE_CHECKING:  # much to load, and nothing that the first rows need
    from core.data.survey import Survey
    from core.data.verdict import Finding

Line = tuple[str, str]

_MARKS = {"warning": ("!", "$warning"), "note": ("·", "$accent"), "good": ("✓", "$success")}
_LABEL = 24


class FactsScroll(VerticalScroll, can_focus=True):
    """Takes the keys, and scrolls."""

    DEFAULT_CSS = "FactsScroll { height: 1fr; scrollbar-size-vertical: 1; }"


class Facts(View):
    """The verdict, and the figures it stands on. Found in a thread when the survey is complete."""

    NAME = "facts"

    DEFAULT_CSS = "Facts Static { height: auto; }"

    def __init__(self) -> None:
        super().__init__()
        self._text = Static(markup=False)
        self._scroll = FactsScroll()
        self._of: tuple[Survey, int, str] | None = None
        """The survey, after how many decisions, and the settings of the training."""
        self.facts: Mapping[str, Any] = {}
        self.findings: list[Finding] = []

    def compose(self) -> ComposeResult:
        with self._scroll:
            yield self._text

    def target(self) -> Widget:
        return self._scroll

    def look_again(self) -> None:
        if self.rows is None or not self.display:
            return
        survey = self.rows.survey
        if survey is not None and survey.complete:
            config = self.rows.config
            settings = config.model_dump_json(exclude={"data", "clean", "evaluate", "run"})
            if self._of != (survey, self.rows.revision, settings):
                self._of = survey, self.rows.revision, settings
                self._find(self._of, config, self.rows.root)
        self._say(self.rows)

    def _find(self, of: tuple[Survey, int, str], config: RunConfig, root: Path | None) -> None:
        survey = of[0]

        def work() -> None:
            from core.data.facts import facts_of, timed
            from core.data.stats import TokenStats
            from core.data.verdict import verdict

            survey.settle()
            facts = facts_of(survey, config=config)
            runs = list_runs(root) if root is not None and survey.counted else []
            facts["training"] = timed(facts["training"], pace_of(config, runs))
            tokens = TokenStats.of(survey) if survey.counted else None
            found = verdict(survey, facts, tokens)
            self.app.call_from_thread(self._found, of, facts, found)

        self.run_worker(work, thread=True, exclusive=True, group="facts")

    def _found(
        self, of: tuple[Survey, int, str], facts: Mapping[str, Any], findings: list[Finding]
    ) -> None:
        if of == self._of and self.rows is not None:
            self.facts, self.findings = facts, findings
            self._say(self.rows)

    def _say(self, rows: Rows) -> None:
        whole = self._of is not None and rows.survey is self._of[0]
        facts = self.facts if whole else {}
        blocks: list[Content] = []
        if facts:
            blocks += [_heading("Verdict"), *map(_finding, self.findings), Content("")]
        for title, lines in (
            ("Account", account(rows)),
            ("Lengths", lengths(facts)),
            ("Training", training(facts)),
            ("Variety", variety(facts)),
        ):
            if lines:
                blocks += [_heading(title), *map(_line, lines), Content("")]
        if not facts:
            blocks.append(Content.styled("The verdict comes when all rows are looked at.",
                                         "$foreground 60%"))  # fmt: skip
        self._text.update(Content("\n").join(blocks))


def account(rows: Rows) -> list[Line]:
    """read = kept + rejected, and what else was counted."""
    survey = rows.survey
    if survey is None:
        return [("", "nothing was looked at yet")]
    names, codes = rows.reasons()
    known, kept = len(codes), int((codes == 0).sum())
    lost = known - kept
    lines = [
        ("rows looked at", f"{numbers.count(known)} of {numbers.count(rows.count)}"),
        ("kept", f"{numbers.count(kept)}  {_share(kept, known)}"),
        ("rejected", f"{numbers.count(lost)}  {_share(lost, known)}"),
    ]
    for code, name in enumerate(names):
        count = int((codes == code).sum())
        if code and count:
            lines.append((f"  {_words(name)}", numbers.count(count)))
    tally = survey.tally
    for source in survey.sources:
        lines.append((source.path.name, source.words))
    lines.append(("formats", _counts(tally.formats)))
    if tally.blank_lines.total():
        lines.append(("blank lines", numbers.count(tally.blank_lines.total())))
    if tally.unlearned.rows:
        lines.append(("not learned", tally.unlearned.words))
    for name, count in tally.notes.most_common():
        lines.append((f"  {_words(name)}", numbers.count(count)))
    if len(rows.overlay):
        by_hand = f"{rows.overlay.dropped:,} dropped, {rows.overlay.edited:,} edited"
        lines.append(("by hand", by_hand))
    return [line for line in lines if line[1]]


def lengths(facts: Mapping[str, Any]) -> list[Line]:
    """Median, 95 of 100, and longest."""
    lines = []
    for key, name in (("tokens", "tokens"), ("chars", "characters"),
                      ("answer_chars", "of them in answers"), ("turns", "turns")):  # fmt: skip
        found = facts.get(key)
        if found:
            spread = f"median {found['median']:,.0f}  ·  95 of 100 up to {found['p95']:,.0f}"
            lines.append((name, f"{spread}  ·  longest {found['max']:,.0f}"))
    if facts.get("roles"):
        lines.append(("turns of roles", _counts(facts["roles"])))
    return lines


def training(facts: Mapping[str, Any]) -> list[Line]:
    """Rows, sequences and steps of a training with these settings."""
    plan = facts.get("training")
    if not plan:
        return []
    about = "" if plan["sequences_are_exact"] else "about "
    lines = [("rows", f"{plan['train_rows']:,} learned, {plan['held_out_rows']:,} held out")]
    lines += [("mix", text) for text in plan.get("mix_in_words", ())]
    if plan["sequences_an_epoch"] is not None:
        lines.append(("sequences an epoch", f"{about}{plan['sequences_an_epoch']:,}"))
        each = f"{plan['steps_an_epoch']:,} an epoch"
        lines.append(("optimizer steps", f"{about}{plan['steps']:,}, {each}"))
        lines += _time(plan)
    else:
        lines.append(("sequences, steps", "known once a base model is chosen (b)"))
    return lines


def _time(plan: Mapping[str, Any]) -> list[Line]:
    """How long the steps take, and how that is known."""
    pace = plan["measured"]
    if pace is None:
        return [("time", "unknown until a run with these settings has been measured")]
    rate = f"{pace['tokens_per_second']:,.0f} tokens/s"
    return [
        ("time", f"{numbers.clock(plan['seconds'])} for the steps, at {rate}"),
        ("", f"as {pace['run']} did on {pace['device']}"),
    ]


def variety(facts: Mapping[str, Any]) -> list[Line]:
    """Languages, and how alike the prompts are."""
    found = facts.get("variety")
    if not found or not found["sampled"]:
        return []
    lines = [("looked at", counted(found["sampled"], "row"))]
    lines.append(("languages of answers", _counts(found["languages"]["counts"])))
    top = list(found["beginnings"]["top"].items())[:3]
    lines += [("prompts begin with", f"“{words}”  {count:,}") for words, count in top if words]
    return [line for line in lines if line[1]]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_words(name)} {count:,}" for name, count in counts.items())


def _words(name: str) -> str:
    return name.replace("_", " ")


def _share(part: int, whole: int) -> str:
    return f"({part / whole:.1%})" if whole else ""


def _heading(text: str) -> Content:
    return Content.styled(text, "bold $accent")


def _finding(finding: Finding) -> Content:
    mark, style = _MARKS[finding.level]
    return Content.assemble((f"  {mark} ", f"bold {style}"), (inert(finding.text), ""))


def _line(line: Line) -> Content:
    name, value = line
    return Content.assemble(
        (f"  {inert(name)[: _LABEL - 1]:<{_LABEL}}", "$foreground 60%"), (inert(value), "")
    )
