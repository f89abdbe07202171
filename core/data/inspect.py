"""A look at data files before anything is started: counts, defects, lengths. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from core.data.chats import Kept, Seen, Tally, read_chats
from core.data.formats import Defect, Format
from core.data.sources import Rejected
from core.data.stats import TokenStats
from core.data.tokens import ChatCodec, pad_token

_BATCH = 256


@dataclass
class Report:
    """What was found. ``problems`` holds the first rejections; the counts hold all of them."""

    tally: Tally
    problems: list[Rejected] = field(default_factory=list)
    tokens: TokenStats | None = None
    model: dict[str, Any] | None = None
    """Template, stop and pad token, when a model was given."""

    @property
    def format(self) -> str:
        """The format of most kept rows; ``unknown`` when none was kept."""
        top = self.tally.formats.most_common(1)
        return top[0][0] if top else "unknown"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with ``read``, ``kept`` and ``rejected`` at the top."""
        plain: dict[str, Any] = self.tally.as_dict() | {"format": self.format}
        plain["problems"] = [
            {"file": p.file, "line": p.line, "reason": p.reason, "detail": p.detail}
            for p in self.problems
        ]
        if self.tokens is not None:
            plain["tokens"] = self.tokens.as_dict()
            plain["model"] = self.model
        return plain


def inspect(
    files: Sequence[str | Path],
    format: Format | Literal["auto"] = "auto",  # noqa: A002
    codec: ChatCodec | None = None,
    max_length: int | None = None,
    *,
    problem_limit: int = 1000,
    on_rows: Callable[[int], None] | None = None,
) -> Report:
    """Read all rows as a run would, and account for each.

    With a ``codec`` rows are also tokenized, as a run would cut them at ``max_length``.
    ``on_rows`` hears the rows read so far now and then; it may raise to end the look.
    Raises InputError for files that cannot be used at all.
    """
    tally = Tally()
    report = Report(tally)
    if codec is not None:
        report.tokens, report.model = TokenStats(), describe(codec)
    outcomes = read_chats(files, format, tally, Seen())
    while batch := list(islice(outcomes, _BATCH)):
        for problem in _problems(batch, codec, max_length, report):
            if len(report.problems) < problem_limit:
                report.problems.append(problem)
        if on_rows is not None:
            on_rows(tally.read)
    report.problems.sort(key=lambda p: (list(tally.by_file).index(p.file), p.line))
    return report


def describe(codec: ChatCodec) -> dict[str, Any]:
    """Template, stop tokens and pad token of a model, in plain values."""
    pad_id, pad, why = pad_token(codec)
    return {
        "template": codec.template.origin,
        "stop_tokens": [codec.tokenizer.id_to_token(token_id) for token_id in codec.stop_ids],
        "pad_token": {"id": pad_id, "token": pad, "why": why},
    }


def _problems(
    batch: list[Kept | Rejected], codec: ChatCodec | None, max_length: int | None, report: Report
) -> Iterator[Rejected]:
    yield from (item for item in batch if isinstance(item, Rejected))
    if codec is None or report.tokens is None:
        return
    kept = [item for item in batch if isinstance(item, Kept)]
    results = codec.encode_many([item.chat for item in kept], max_length)
    for item, result in zip(kept, results, strict=True):
        if isinstance(result, Defect):
            report.tally.reject(item.file, result.reason, was_kept=True)
            yield Rejected(item.file, item.line, result.reason, result.detail)
        else:
            report.tokens.add(result)
            report.tally.notes.update(result.notes)
