"""Rows to chats, and the account of every row: read = kept + rejected.

The one pipeline that the inspector, the report and the preparation of a run go through.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from core.config.schema import RunConfig
from core.data.chats.columns import check_columns
from core.data.chats.formats import Chat, Defect, Format, to_chat
from core.data.clean.rules import Cleaner
from core.data.overlay import EDITED, Overlay
from core.data.quick import quick_chat
from core.data.read.row import Marked
from core.data.read.sources import RAW_LIMIT, Rejected, Row
from core.data.unlearned import Unlearned

"""What stands before a turn's content in a hash."""
GROUP_CHARS = 100
"""Characters by which the groups of a stratified split are told apart."""


class Kept(NamedTuple):
    """A row that became a chat, in which format it came, and what was done to it."""

    file: str
    line: int
    chat: Chat
    format: str = ""
    notes: tuple[str, ...] = ()
    group: str = ""
    """Its value of ``data.stratify_by``."""


Draft = tuple[str, int, dict[str, Any], Chat, str, tuple[str, ...], str]
"""A row on its way: file, line, its fields, its chat, format, notes and group. A plain tuple, as
one is made for every row."""


@dataclass
class Tally:
    """The account of all rows."""

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
    unlearned: Unlearned = field(default_factory=Unlearned)

    @classmethod
    def of(cls, tallies: Iterable[Tally]) -> Tally:
        """Several accounts as one."""
        whole = cls()
        for tally in tallies:
            whole.read += tally.read
            whole.kept += tally.kept
            for mine, theirs in (
                (whole.rejected, tally.rejected), (whole.formats, tally.formats),
                (whole.notes, tally.notes), (whole.blank_lines, tally.blank_lines),
            ):  # fmt: skip
                mine.update(theirs)
            whole.unlearned.update(tally.unlearned)
            for name, counts in tally.by_file.items():
                whole._file(name).update(counts)
        return whole

    def enter(self, file: str, kept: int, rejected: Mapping[str, int]) -> None:
        """Take in many rows of a file at once."""
        counts = self._file(file)
        for name, number in (("kept", kept), *rejected.items()):
            counts["read"] += number
            counts[name] += number
            self.read += number
        self.kept += kept
        self.rejected.update(rejected)

    def move(self, file: str, was: str, now: str) -> None:
        """Count a row under another reason than it was entered for; ``kept`` is one of them."""
        counts = self._file(file)
        for name, step in ((was, -1), (now, 1)):
            counts[name] += step
            if name == "kept":
                self.kept += step
                continue
            self.rejected[name] += step
            for names in (counts, self.rejected):
                if not names[name]:
                    del names[name]

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
            "fields_not_learned": self.unlearned.as_list(),
            "blank_lines": self.blank_lines.total(),
            "files": [{"file": name, **counts} for name, counts in self.by_file.items()],
        }

    def _file(self, name: str) -> Counter[str]:
        if name not in self.by_file:
            self.by_file[name] = Counter(read=0, kept=0)
        return self.by_file[name]


class Pipeline:
    """What each row goes through on its own, whoever asks: screen, report or training.

    What rows are to each other (duplicates, split, mix) is for whoever sees all of them.
    """

    def __init__(self, config: RunConfig):
        self._format: Format | Literal["auto"] = config.data.format
        self._columns = config.data.columns or None
        if self._columns:
            check_columns(self._columns)
        self._quick = self._format == "auto" and not self._columns
        self._stratify_by = config.data.stratify_by
        self._cleaner = Cleaner(config.clean)
        self.overlay = Overlay(config.data.overlay)
        self.unlearned = Unlearned()
        """Of the rows so far; who reads it in parts puts a new one in its place."""
        self.passes_plain = self._cleaner.passes_plain

    @property
    def takes_quick(self) -> bool:
        """Whether a plain row is the chat that ``quick`` says, with nothing more to be known."""
        return self._quick and not self.overlay and self._stratify_by is None

    def outcome(self, row: Row | Rejected) -> Kept | Rejected:
        """A row as the chat that would be learned, or the first reason against it."""
        draft = self.drafted(row)
        return draft if isinstance(draft, Rejected) else self.finished(draft)

    def drafted(self, row: Row | Rejected) -> Draft | Rejected:
        """A row as a chat before its repairs."""
        decided = self.overlay.apply(row) if self.overlay else row
        if isinstance(decided, Rejected):
            return decided
        name: str
        notes: tuple[str, ...] = ()
        quick = quick_chat(decided.value) if self._quick else None
        if quick is not None:
            chat, name = quick
        else:
            result = to_chat(decided.value, self._format, self._columns)
            if isinstance(result, Defect):
                return rejection(decided, result.reason, result.detail)
            chat, name, notes = result.chat, result.format, result.notes
            if result.unused:
                self.unlearned.add(result.unused)
        if type(row) is Marked:
            notes = ("byte_order_mark", *notes)
        if decided is not row:
            notes = (EDITED, *notes)
        return row.file, row.line, decided.value, chat, name, notes, self._group(decided)

    def finished(
        self, draft: Draft, *, odd: bool = True, private_data: bool | None = None
    ) -> Kept | Rejected:
        """A draft after its repairs; what is known of its text is for ``Cleaner.clean``."""
        file, line, value, chat, name, notes, group = draft
        cleaned = self._cleaner.clean(chat, odd=odd, private_data=private_data)
        if isinstance(cleaned, Defect):
            return rejection(Row(file, line, value), cleaned.reason, cleaned.detail)
        return Kept(file, line, cleaned.chat, name, (*notes, *cleaned.notes), group)

    def _group(self, row: Row) -> str:
        if self._stratify_by is None:
            return ""
        value = row.value.get(self._stratify_by)
        return "" if value is None else str(value)[:GROUP_CHARS]


def rejection(row: Row, reason: str, detail: str) -> Rejected:
    """A row's rejection, with the beginning of the row to be shown."""
    text = json.dumps(row.value, ensure_ascii=False)
    return Rejected(row.file, row.line, reason, detail, text[:RAW_LIMIT])
