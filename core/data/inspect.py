"""A look at data files before anything is started: counts, defects, lengths. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.config.schema import RunConfig
from core.data.dedup import Cluster
from core.data.facts import facts_of
from core.data.identity import fingerprint_of
from core.data.mix import check_weights
from core.data.sources import Rejected
from core.data.stats import TokenStats
from core.data.survey import Survey
from core.data.tokens import ChatCodec, pad_token
from core.data.verdict import Finding, verdict

PROBLEM_LIMIT = 1000
CLUSTER_LIMIT = 100


@dataclass
class Report:
    """What was found. ``problems`` holds the first rejections; the counts hold all of them."""

    survey: Survey
    problems: list[Rejected] = field(default_factory=list)
    tokens: TokenStats | None = None
    model: dict[str, Any] | None = None
    """Template, stop and pad token, when a model was given."""
    fingerprint: dict[str, str | None] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    verdict: list[Finding] = field(default_factory=list)

    @property
    def format(self) -> str:
        """The format of most kept rows; ``unknown`` when none was kept."""
        top = self.survey.tally.formats.most_common(1)
        return top[0][0] if top else "unknown"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with ``read``, ``kept`` and ``rejected`` at the top."""
        plain: dict[str, Any] = self.survey.tally.as_dict() | {"format": self.format}
        plain["sources"] = [
            {"file": str(source.path), "found": source.words} for source in self.survey.sources
        ]
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

    With a ``codec`` rows are also tokenized, as a run would cut them. ``on_progress`` hears of it
    now and then; it may raise to end the look. Raises InputError for files that cannot be used at
    all.
    """
    check_weights(config.data)
    problems: list[tuple[int, Rejected]] = []

    def note(number: int, rejected: Rejected) -> None:
        if len(problems) < PROBLEM_LIMIT:
            problems.append((number, rejected))

    survey = Survey(config, codec, spool=spool, on_rejected=note, say=say).run(on_progress)
    report = Report(survey, [row for _, row in sorted(problems, key=lambda pair: pair[0])])
    if codec is not None:
        report.tokens, report.model = TokenStats.of(survey), describe(codec)
    report.fingerprint = fingerprint_of(config, survey.content_sha256, codec)
    report.facts = facts_of(survey)
    report.verdict = verdict(survey, report.facts, report.tokens)
    return report


def describe(codec: ChatCodec) -> dict[str, Any]:
    """Template, stop tokens and pad token of a model, in plain values."""
    pad_id, pad, why = pad_token(codec)
    return {
        "template": codec.template.origin,
        "stop_tokens": [codec.tokenizer.id_to_token(token_id) for token_id in codec.stop_ids],
        "pad_token": {"id": pad_id, "token": pad, "why": why},
    }
