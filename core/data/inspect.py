"""A look at data files before anything is started: counts, defects, lengths. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.config.counted import counted
from core.config.schema import RunConfig
from core.data.choice import choose, settled
from core.data.facts import facts_of
from core.data.identity import fingerprint_of
from core.data.leaks import EXACT
from core.data.mix import check_weights
from core.data.pipeline import Tally
from core.data.read.sources import Rejected
from core.data.repeats.near import Cluster
from core.data.stats import TokenStats
from core.data.survey import Survey
from core.data.tokens.codec import ChatCodec, pad_token
from core.data.verdict import Finding, verdict

PROBLEM_LIMIT = 1000
CLUSTER_LIMIT = 100


@dataclass
class Report:
    """What was found. ``problems`` holds the first rejections; the counts hold all of them."""

    survey: Survey
    given: Survey | None = None
    """The rows of ``data.eval_files``."""
    problems: list[Rejected] = field(default_factory=list)
    tokens: TokenStats | None = None
    model: dict[str, Any] | None = None
    """Template, stop and pad token, when a model was given."""
    fingerprint: dict[str, str | None] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    leaks: dict[str, Any] = field(default_factory=dict)
    verdict: list[Finding] = field(default_factory=list)

    @property
    def surveys(self) -> list[Survey]:
        """Those of the files to learn from, and of the evaluation files."""
        return [one for one in (self.survey, self.given) if one is not None]

    @property
    def tally(self) -> Tally:
        """The account of all files."""
        return Tally.of(one.tally for one in self.surveys)

    @property
    def usable(self) -> bool:
        """Whether a run could use the files: each side has a row."""
        return all(one.tally.kept for one in self.surveys)

    @property
    def format(self) -> str:
        """The format of most kept rows; ``unknown`` when none was kept."""
        top = self.tally.formats.most_common(1)
        return top[0][0] if top else "unknown"

    @property
    def formats_in_words(self) -> str:
        """The format of the kept rows, or each of several with its rows."""
        formats = self.tally.formats.most_common()
        if len(formats) < 2:
            return self.format
        return ", ".join(f"{name} in {counted(rows, 'row')}" for name, rows in formats)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with ``read``, ``kept`` and ``rejected`` at the top."""
        plain: dict[str, Any] = self.tally.as_dict() | {"format": self.format}
        plain["sources"] = [
            {"file": str(source.path), "found": source.words}
            for one in self.surveys
            for source in one.sources
        ]
        plain["samples"] = [found.as_dict() for one in self.surveys for found in one.samples]
        plain["leaks"] = self.leaks
        plain["fingerprint"] = self.fingerprint
        plain["statistics"] = self.facts
        plain["verdict"] = [vars(finding) for finding in self.verdict]
        plain["problems"] = [
            {"file": p.file, "line": p.line, "reason": p.reason, "detail": p.detail}
            for p in self.problems
        ]
        plain["clusters"] = [self._cluster(one) for one in self.survey.clusters[:CLUSTER_LIMIT]]
        if self.tokens is not None:
            plain["tokens"] = self.tokens.as_dict()
            plain["model"] = self.model
            plain["forecast"] = self.survey.forecast.as_dict()
        return plain

    def _cluster(self, cluster: Cluster) -> dict[str, Any]:
        """A row that is kept, and those that are near to it."""

        def place(number: int) -> dict[str, Any]:
            file, line = self.survey.place(number)
            return {"file": file, "line": line}

        others = [place(number) | {"share": round(share, 3)} for number, share in cluster.others]
        return {"kept": place(cluster.kept), "others": others}


def inspect(
    config: RunConfig,
    codec: ChatCodec | None = None,
    on_progress: Callable[[Survey], None] | None = None,
    *,
    spool: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Report:
    """Read all rows as a run would, and account for each.

    Evaluation files are read too, and compared with the others. With a ``codec`` rows are also
    tokenized, as a run would cut them. ``on_progress`` hears of it
    now and then; it may raise to end the look. Raises InputError for files that cannot be used at
    all.
    """
    check_weights(config.data)
    problems: dict[tuple[int, int], Rejected] = {}

    def look(side: int, files: Sequence[str], folder: Path | None) -> Survey:
        def note(number: int, rejected: Rejected) -> None:
            if len(problems) < PROBLEM_LIMIT or (side, number) in problems:
                problems[side, number] = rejected

        found = Survey(config, codec, files=files, spool=folder, on_rejected=note, say=say)
        return found.run(on_progress)

    with ExitStack() as stack:
        data = config.data
        places: list[Path | None] = [spool, None]
        if data.eval_files or data.leaks == "near":  # rows are compared as text then
            root = Path(stack.enter_context(TemporaryDirectory(prefix="finetui-")))
            places = [spool or _made(root / "own"), _made(root / "given")]
        survey = look(0, data.files, places[0])
        given = look(1, data.eval_files, places[1]) if data.eval_files else None
        told = on_progress or (lambda _: None)
        chosen = choose(survey, given, told, near=given is not None)
        for one in (survey if spool is None else None, given):
            if one is not None:
                one.close()
    chosen = settled(chosen, survey, given)
    report = Report(survey, given, [problems[place] for place in sorted(problems)])
    for one in report.surveys:
        one.settle()
    if codec is not None:
        report.tokens, report.model = TokenStats.of(survey), describe(codec)
    given_sha256 = given.content_sha256 if given is not None else ""
    report.fingerprint = fingerprint_of(config, survey.content_sha256, codec, given_sha256)
    report.facts = facts_of(survey, chosen)
    report.leaks = chosen.leaks
    report.verdict = [*_unusable(given), *verdict(survey, report.facts, report.tokens)]
    return report


def _unusable(given: Survey | None) -> list[Finding]:
    """What ends a preparation for its evaluation files."""
    if given is None or given.tally.kept:
        return []
    return [Finding("warning", nothing_held_out(given.tally))]


def nothing_held_out(tally: Tally) -> str:
    """Why ``data.eval_files`` come to no row."""
    if set(tally.rejected) == {EXACT}:
        return "every row of data.eval_files repeats a training row"
    return "no row of data.eval_files can be used"


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def describe(codec: ChatCodec) -> dict[str, Any]:
    """Template, stop tokens and pad token of a model, in plain values."""
    pad_id, pad, why = pad_token(codec)
    return {
        "template": codec.template.origin,
        "stop_tokens": [codec.tokenizer.id_to_token(token_id) for token_id in codec.stop_ids],
        "pad_token": {"id": pad_id, "token": pad, "why": why},
    }
