"""Files to chats, with an account of every row: read = kept + rejected.

The one pipeline that both the inspector and the preparation of a run go through.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.data.formats import Chat, Defect, Format, shape_of, to_chat
from core.data.sources import Rejected, Row, read_rows


@dataclass(frozen=True)
class Kept:
    """A row that became a chat."""

    file: str
    line: int
    chat: Chat


@dataclass
class Tally:
    """The account of all rows. ``reject`` may also take back a row that was kept before."""

    read: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    by_file: dict[str, Counter[str]] = field(default_factory=dict)
    """Per file: read, kept, and every reason."""
    formats: Counter[str] = field(default_factory=Counter)
    """Formats of the kept rows."""
    notes: Counter[str] = field(default_factory=Counter)
    """What was done to, or is to be known of, rows that were kept."""
    blank_lines: Counter[str] = field(default_factory=Counter)

    def keep(self, file: str) -> None:
        self.read += 1
        self.kept += 1
        counts = self._file(file)
        counts["read"] += 1
        counts["kept"] += 1

    def reject(self, file: str, reason: str, *, was_kept: bool = False) -> None:
        counts = self._file(file)
        if was_kept:
            self.kept -= 1
            counts["kept"] -= 1
        else:
            self.read += 1
            counts["read"] += 1
        self.rejected[reason] += 1
        counts[reason] += 1

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for."""
        return self.read == self.kept + self.rejected.total()

    def as_dict(self) -> dict[str, object]:
        """Plain values for a report; the most frequent reason first."""
        return {
            "read": self.read,
            "kept": self.kept,
            "rejected": dict(self.rejected.most_common()),
            "formats": dict(self.formats.most_common()),
            "notes": dict(self.notes.most_common()),
            "blank_lines": self.blank_lines.total(),
            "files": [{"file": name, **counts} for name, counts in self.by_file.items()],
        }

    def _file(self, name: str) -> Counter[str]:
        if name not in self.by_file:
            self.by_file[name] = Counter(read=0, kept=0)
        return self.by_file[name]


class Seen:
    """Chats met so far, to tell exact repetitions; 16 bytes of hash and a place each."""

    def __init__(self) -> None:
        self._places: dict[bytes, tuple[str, int]] = {}

    def place_of(self, row: Kept) -> tuple[str, int] | None:
        """File and line of the first row with the same chat; notes this one when it is new."""
        key = fingerprint(row.chat)
        first = self._places.get(key)
        if first is None:
            self._places[key] = (row.file, row.line)
        return first


def fingerprint(chat: Chat) -> bytes:
    """Hash of the whole chat; space around a turn and the way accents are composed do not count."""
    digest = hashlib.sha256()
    for message in chat:
        content = unicodedata.normalize("NFC", message["content"].strip())
        digest.update(f"{message['role']} {len(content)} {content}".encode())
    return digest.digest()[:16]


def read_chats(
    files: Sequence[str | Path],
    format: Format | Literal["auto"],  # noqa: A002
    tally: Tally,
    seen: Seen,
    *,
    repeat_reason: str = "duplicate",
) -> Iterator[Kept | Rejected]:
    """Every row of the files as a chat or as a rejection, entered into ``tally``.

    Chats that ``seen`` knows are rejected as ``repeat_reason``. Raises InputError for files that
    cannot be used at all.
    """
    for row in read_rows(files, tally.blank_lines):
        outcome = _outcome(row, format, tally, seen, repeat_reason)
        if isinstance(outcome, Rejected):
            tally.reject(outcome.file, outcome.reason)
        else:
            tally.keep(outcome.file)
        yield outcome


def _outcome(
    row: Row | Rejected,
    format: Format | Literal["auto"],  # noqa: A002
    tally: Tally,
    seen: Seen,
    repeat_reason: str,
) -> Kept | Rejected:
    if isinstance(row, Rejected):
        return row
    result = to_chat(row.value, format)
    if isinstance(result, Defect):
        return rejection(row, result.reason, result.detail)
    kept = Kept(row.file, row.line, result.chat)
    place = seen.place_of(kept)
    if place is not None:
        where = f"line {place[1]}" if place[0] == row.file else f"{place[0]}, line {place[1]}"
        return rejection(row, repeat_reason, f"repeats {where}")
    tally.formats[(shape_of(row.value) or "unknown") if format == "auto" else format] += 1
    tally.notes.update(result.notes)
    return kept


def rejection(row: Row, reason: str, detail: str) -> Rejected:
    """A row's rejection, with the beginning of the row to be shown."""
    text = json.dumps(row.value, ensure_ascii=False)
    return Rejected(row.file, row.line, reason, detail, text[:2048])
