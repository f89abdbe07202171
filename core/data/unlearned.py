"""The account of fields from which nothing is learned: which, in how many rows, of what kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from core.config.counted import counted

NOTABLE = 0.05
"""Part of the rows in which a field that looks like content is worth a warning."""
_NAMES, _NAME_CHARS, _SHOWN = 500, 60, 12


@dataclass
class Unlearned:
    """Fields that say something and became no part of a chat. Of hostile files, which may have a
    new name in every row, the first 500 names."""

    rows: Counter[str] = field(default_factory=Counter)
    """In how many of the rows that became chats each stands."""
    content: Counter[str] = field(default_factory=Counter)
    """In how many of them it looks like a part of question or answer."""

    def add(self, fields: Mapping[str, bool]) -> None:
        """Count the fields of one row; True: it looks like content."""
        rows = self.rows
        for name, content in fields.items():
            if name in rows and not content:  # nearly all are
                rows[name] += 1
            else:
                self._count(name[:_NAME_CHARS], 1, int(content))

    def update(self, other: Unlearned) -> None:
        """Take in another account."""
        for name, count in other.rows.items():
            self._count(name, count, other.content[name])

    def _count(self, name: str, rows: int, content: int) -> None:
        if name in self.rows or len(self.rows) < _NAMES:
            self.rows[name] += rows
            if content:
                self.content[name] += content

    def as_list(self) -> list[dict[str, str | int]]:
        """Plain values for a report, the most frequent field first."""
        return [
            {"field": name, "rows": count, "like_content": self.content[name]}
            for name, count in self.rows.most_common()
        ]

    @property
    def words(self) -> str:
        """The fields with their rows: ``id (7), choices (1)``; empty where all is learned."""
        return _listed(f"{name} ({count:,})" for name, count in self.rows.most_common())

    def warning(self, rows: int) -> str | None:
        """What to say and do about fields like content in a notable part of so many rows."""
        found = [
            f"{name} in {counted(count, 'row')}"
            for name, count in self.content.most_common()
            if count > NOTABLE * rows
        ]
        if not found:
            return None
        return (
            f"what looks like content is not learned ({_listed(found)}). To join a field of text "
            "to the question: --data.columns input=NAME; what is a list or belongs to another "
            "text has to be written into it. To learn without it, name what is learned with "
            "data.columns"
        )


def _listed(words: Iterable[str]) -> str:
    every = [" ".join(one.split()) for one in words]  # a name may have line ends
    more = f" and {len(every) - _SHOWN:,} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
