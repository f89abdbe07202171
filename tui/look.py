"""One row as it is looked at: at a glance, as a line of the table, and closely."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.data.chats.formats import Chat
from core.data.filter import field_of, texts_of
from core.data.read.sources import Rejected, Row
from core.data.tokens.encoded import Encoded

if TYPE_CHECKING:
    from tui.rows import Rows

_WORDS = 400
"""Characters of a text that are looked at for a line."""
LONG = 30_000
"""Characters from which a row is not cleaned or tokenized while keys wait for it."""
TOO_LONG = 500_000
"""Characters from which a row is neither cleaned nor tokenized to be looked at: that takes seconds,
and hundreds of bytes a character. The survey does it once, and tells."""


@dataclass(frozen=True)
class Glance:
    """What a line of the table shows of a row."""

    file: str
    line: int
    reason: str
    """Why it is rejected, as far as the row itself tells; empty for a good one."""
    words: str
    turns: int
    chars: int
    decided: str
    """`dropped` or `edited` by hand; else empty."""
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """One row looked at closely."""

    source: Row | Rejected
    """As the file has it."""
    row: Row | Rejected
    """As it was decided by hand; the same where nothing was."""
    chat: Chat | None
    encoded: Encoded | None
    reason: str
    problem: str
    """Why the row is not learned from; empty for a good one."""
    notes: tuple[str, ...] = ()
    twin: int | None = None
    """The number of the row that this one repeats."""
    twin_chat: Chat | None = None
    too_long: bool = False
    """The chat is as the row has it, before any repair, and is not in tokens."""

    @property
    def edited(self) -> bool:
        return self.row is not self.source and isinstance(self.row, Row)


def glance(rows: Rows, number: int) -> Glance:
    """What a line of the table shows of a row."""
    source = rows.source(number)
    row = rows.overlay.apply(source)
    reason, chat = _chat(rows, source)
    said = next((m["content"] for m in chat if m["role"] in ("user", "text")), "")
    if not said:
        shown = source if isinstance(row, Rejected) else row
        said = next((text for text in texts_of(shown) if " " in text.strip()), "")
    decided = "" if row is source else "edited" if isinstance(row, Row) else "dropped"
    return Glance(
        source.file,
        source.line,
        reason,
        " ".join(said[:_WORDS].split()),
        len(chat),
        sum(len(message["content"]) for message in chat),
        decided,
        tuple(" ".join((field_of(row, name) or "")[:_WORDS].split()) for name in rows.fields),
    )


def _chat(rows: Rows, source: Row | Rejected) -> tuple[str, Chat]:
    """Why a row is rejected as far as the row itself tells, and its chat. Of a long one, whose
    cleaning takes its time, as it is before that; the survey tells the rest."""
    if is_long(source):
        draft = rows.pipeline.drafted(source)
        return (draft.reason, []) if isinstance(draft, Rejected) else ("", draft[3])
    outcome = rows.pipeline.outcome(source)
    return (outcome.reason, []) if isinstance(outcome, Rejected) else ("", outcome.chat)


def is_long(row: Row | Rejected) -> bool:
    """Whether a row has so much text that work on it is to be seen."""
    return _is_longer(row, LONG)


def is_too_long(row: Row | Rejected) -> bool:
    """Whether a row has so much text that it is left to the survey to clean and tokenize it."""
    return _is_longer(row, TOO_LONG)


def _is_longer(row: Row | Rejected, characters: int) -> bool:
    left = characters
    for text in texts_of(row):
        left -= len(text)
        if left < 0:
            return True
    return False


def look(rows: Rows, number: int) -> Look:
    """A row, with all that is known of it."""
    source = rows.source(number)
    row = rows.overlay.apply(source)
    if is_too_long(row):
        return _look_at_long(rows, number, source, row)
    outcome = rows.pipeline.outcome(source)
    if isinstance(outcome, Rejected):
        return Look(source, row, None, None, outcome.reason, outcome.detail)
    reason = rows.reason(number)
    problem = _problem(rows, number, reason) if reason else ""
    twin = rows.origin(number)
    if twin is not None and reason:
        chat = rows.chat(twin)
        return Look(source, row, outcome.chat, None, reason, problem, outcome.notes, twin, chat)
    if rows.codec is None:
        return Look(source, row, outcome.chat, None, reason, problem, outcome.notes)
    encoded = rows.codec.encode(outcome.chat, rows.config.data.max_length)
    if isinstance(encoded, Encoded):
        rows.counted(number, encoded.full_length)
        notes = (*outcome.notes, *encoded.notes)
        return Look(source, row, outcome.chat, encoded, reason, problem, notes)
    return Look(source, row, outcome.chat, None, encoded.reason, encoded.detail, outcome.notes)


def _look_at_long(rows: Rows, number: int, source: Row | Rejected, row: Row | Rejected) -> Look:
    """A row of megabytes: as it is before the repairs, with what the survey found of it."""
    draft = rows.pipeline.drafted(source)
    if isinstance(draft, Rejected):
        return Look(source, row, None, None, draft.reason, draft.detail)
    reason, twin = rows.reason(number), rows.origin(number)
    problem = _problem(rows, number, reason) if reason else ""
    return Look(
        source, row, draft[3], None, reason, problem, draft[5],
        twin if reason else None, too_long=True,
    )  # fmt: skip


def _problem(rows: Rows, number: int, reason: str) -> str:
    """Why a row that is good by itself is rejected: what it is to another."""
    origin = rows.origin(number)
    if origin is None:
        return reason.replace("_", " ")
    twin = rows.glance(origin)
    where = f"row {origin + 1:,}, {Path(twin.file).name}:{twin.line}"
    if reason == "duplicate":
        return f"repeats {where}"
    share = _shares(rows).get(number)
    return f"shares {share:.0%} of its word groups with {where}" if share else f"like {where}"


def _shares(rows: Rows) -> dict[int, float]:
    """How near near duplicates are to the row that is kept."""
    if rows.survey is None:
        return {}
    clusters = rows.survey.clusters
    return {number: share for one in clusters for number, share in one.others}
