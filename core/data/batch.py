"""Many rows at once through the pipeline: the same outcomes as one by one, at half the cost.

Rows become chats one after the other; then one glance at all of their texts tells which of them
need the rules' searches at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.data.chats.formats import Chat
from core.data.chats.hashes import HEADS, keys
from core.data.clean.glance import glance
from core.data.pipeline import Draft, Kept, Pipeline
from core.data.quick import quick_line
from core.data.read.lines import parse_line
from core.data.read.row import Rejected, Row

_sha256 = hashlib.sha256


@dataclass
class Outcomes:
    """What became of some rows, in their order."""

    rows: list[Kept | Rejected] = field(default_factory=list)
    keys: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Of each kept row, as ``chats.keys`` gives them."""
    blanks: int = 0
    """Lines without a row."""


class Batches:
    """Takes rows of one configuration, some hundred at a time."""

    def __init__(self, pipeline: Pipeline):
        self._pipeline = pipeline

    def of_lines(self, lines: Sequence[bytes], file: str, before: int) -> Outcomes:
        """The outcomes of lines of JSON, which come behind so many others in their file."""
        drafted, quick = self._pipeline.drafted, self._pipeline.takes_quick
        drafts: list[Draft | Rejected] = []
        blanks = 0
        for number, raw in enumerate(lines, before + 1):
            found = quick_line(raw) if quick else None
            if found is not None:
                row, chat, name = found
                drafts.append((file, number, row, chat, name, (), ""))
            elif raw and not raw.isspace():
                drafts.append(drafted(parse_line(raw, file, number)))
            else:
                blanks += 1
        return self._finished(drafts, blanks)

    def of_rows(self, rows: Sequence[Row | Rejected]) -> Outcomes:
        """The outcomes of rows that were read elsewhere."""
        return self._finished([self._pipeline.drafted(row) for row in rows], 0)

    def _finished(self, drafts: list[Draft | Rejected], blanks: int) -> Outcomes:
        outcomes = Outcomes(blanks=blanks)
        texts: list[bytes] = []
        plains: list[bool] = []
        marks = 0
        for draft in drafts:
            if isinstance(draft, Rejected):
                texts.append(b"")
                plains.append(False)
                continue
            chat = draft[3]
            marks += 2 * len(chat)
            text, plain = _text_of(chat)
            texts.append(text)
            plains.append(plain)
        seen = glance(texts, marks)
        passes = self._pipeline.passes_plain
        for draft, text, plain, odd, private in zip(
            drafts, texts, plains, seen.odd, seen.private, strict=True
        ):
            if isinstance(draft, Rejected):
                outcomes.rows.append(draft)
                continue
            file, line, _, chat, name, notes, group = draft
            if plain and passes and not odd and not private:
                row: Kept | Rejected = Kept(file, line, chat, name, notes, group)
            else:
                row = self._pipeline.finished(draft, odd=odd, private_data=private)
            outcomes.rows.append(row)
            if isinstance(row, Kept):
                same = plain and not odd and row.chat is chat and text.isascii()
                outcomes.keys.append(_plain_keys(text) if same else keys(row.chat))
        return outcomes


def _plain_keys(text: bytes) -> tuple[bytes, bytes]:
    """``chats.keys`` of a plain chat in ASCII."""
    exact = _sha256(text).digest()[:16]
    return exact, exact


def _text_of(chat: Chat) -> tuple[bytes, bool]:
    """A chat as it is hashed, and whether it is plain: nothing but contents, none of which is
    empty or has space around it."""
    parts: list[str] = []
    plain = True
    for turn in chat:
        content = turn["content"]
        parts += (HEADS[turn["role"]], content)
        if len(turn) > 2 or not content or content != content.strip():
            plain = False
    text = "".join(parts)
    return text.encode("utf-8", "surrogatepass"), plain
