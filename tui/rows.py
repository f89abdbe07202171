"""The rows of the chosen data files as the data pane looks at them: by number, checked, in tokens.

Nothing here is imported before the first paint: the readers and the tokenizer load in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from core.data.chats import Seen, Tally, read_chats
from core.data.formats import Chat, Converted, Format, to_chat
from core.data.index import RowIndex
from core.data.sources import Rejected, Row
from core.data.template import TemplateFault
from core.data.tokens import NO_LOSS, ChatCodec, Encoded

Piece = tuple[str, str]
"""Text of any origin, and the style it is shown in."""

OPEN, CLOSE = "⟦", "⟧"
"""Stand around what carries loss, so that it shows without colours too."""

_CHECK_EVERY = 500


@dataclass(frozen=True)
class Look:
    """One row looked at closely."""

    row: Row | Rejected
    chat: Chat | None
    encoded: Encoded | None
    problem: str
    """Why the row is not learned from; empty for a good one."""

    @property
    def first_words(self) -> str:
        """What the row is about, for the list: the first words of the user."""
        if self.problem:
            return self.problem
        turns = [m["content"] for m in self.chat or [] if m["role"] == "user"]
        return " ".join(turns[0][:400].split()) if turns else ""


@dataclass
class Rows:
    """The rows of several files, one after the other."""

    files: Sequence[str]
    format: Format | Literal["auto"] = "auto"
    max_length: int | None = None
    codec: ChatCodec | None = None
    problems: dict[int, Rejected] = field(default_factory=dict)
    """Rows that will be rejected, by number, as far as was checked."""
    checked: int = 0
    _indexes: list[RowIndex] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.look = lru_cache(maxsize=512)(self._look)

    def open(self) -> None:
        """Find all rows. Takes a second a gigabyte: call it in a thread. Raises InputError."""
        self._indexes = [RowIndex(name) for name in self.files]
        for index in self._indexes:
            index.scan_all()

    def check(self, told: Callable[[], bool]) -> Tally:
        """Find the rows that will be rejected: for a thread. `told` is called now and then, and
        says whether to go on."""
        tally = Tally()
        for number, outcome in enumerate(read_chats(self.files, self.format, tally, Seen())):
            if isinstance(outcome, Rejected):
                self.problems[number] = outcome
            self.checked = number + 1
            if self.checked % _CHECK_EVERY == 0 and not told():
                break
        told()
        return tally

    def close(self) -> None:
        for index in self._indexes:
            index.close()
        self._indexes = []

    @property
    def count(self) -> int:
        return sum(index.count for index in self._indexes)

    def use(self, codec: ChatCodec | None, max_length: int | None) -> None:
        """Look at rows through another tokenizer."""
        self.codec, self.max_length = codec, max_length
        self.look.cache_clear()

    def next_problem(self, after: int) -> int | None:
        """The number of the next rejected row behind `after`, beginning again at the top."""
        known = sorted(self.problems)
        return next((n for n in known if n > after), known[0] if known else None)

    def _look(self, number: int) -> Look:
        row = self._row(number)
        found = self.problems.get(number)
        if isinstance(row, Rejected):
            return Look(row, None, None, row.detail)
        converted = to_chat(row.value, self.format)
        if not isinstance(converted, Converted):
            return Look(row, None, None, converted.detail)
        problem = found.detail if found else ""
        if self.codec is None:
            return Look(row, converted.chat, None, problem)
        encoded = self.codec.encode(converted.chat, self.max_length)
        if isinstance(encoded, Encoded):
            return Look(row, converted.chat, encoded, problem)
        return Look(row, converted.chat, None, problem or encoded.detail)

    def _row(self, number: int) -> Row | Rejected:
        for index in self._indexes:
            if number < index.count:
                return index.row(number)
            number -= index.count
        raise IndexError(number)


def raw_view(look: Look) -> list[Piece]:
    """The row as it stands in the file."""
    if isinstance(look.row, Rejected):
        return [(look.row.raw or "(nothing of it can be shown)", "")]
    return [(json.dumps(look.row.value, ensure_ascii=False, indent=2), "")]


def rendered_view(look: Look, codec: ChatCodec | None) -> list[Piece]:
    """The row as the model sees it; what carries loss stands between marks."""
    if look.chat is None:
        return raw_view(look)
    if look.encoded is not None:
        return _runs(look.encoded)
    if codec is not None:
        try:
            return [(codec.render(look.chat), "")]
        except TemplateFault as fault:
            return [(f"The model's chat template says: {fault}\n\n", "error"), *_plain(look.chat)]
    return [
        ("b chooses a base model; then its own template is shown.\n\n", "dim"),
        *_plain(look.chat),
    ]


def token_view(look: Look) -> list[Piece]:
    """Token by token; what carries loss stands between marks and on a ground of its own."""
    if look.encoded is None:
        why = "b chooses a base model; then its tokens are shown.\n\n" if not look.problem else ""
        return [(why, "dim"), *rendered_view(look, None)]
    pieces: list[Piece] = []
    before = False
    for text, label in zip(look.encoded.pieces, look.encoded.labels, strict=True):
        loss = label != NO_LOSS
        if loss != before:
            pieces.append((OPEN if loss else CLOSE, "accent"))
        elif pieces:
            pieces.append(("│", "dim"))
        pieces.append((text.replace("\n", "↵\n"), "loss" if loss else ""))
        before = loss
    if before:
        pieces.append((CLOSE, "accent"))
    return pieces + _cut(look.encoded)


def caption(look: Look) -> str:
    """What the loss mask comes to, in a few words."""
    if look.problem:
        return "will be rejected"
    encoded = look.encoded
    if encoded is None:
        return ""
    stop = "✓" if encoded.stop_trained else "✗ not learned"
    cut = f" ─ cut from {encoded.full_length:,}" if encoded.truncated else ""
    return f"{encoded.loss_tokens:,} of {len(encoded.ids):,} tokens carry loss ─ stop {stop}{cut}"


def _runs(encoded: Encoded) -> list[Piece]:
    pieces: list[Piece] = []
    for text, label in zip(encoded.pieces, encoded.labels, strict=True):
        style = "loss" if label != NO_LOSS else ""
        if pieces and pieces[-1][1] == style:
            pieces[-1] = (pieces[-1][0] + text, style)
        else:
            pieces.append((text, style))
    marked: list[Piece] = []
    for text, style in pieces:
        ends = [(OPEN, "accent"), (text, style), (CLOSE, "accent")]
        marked += ends if style else [(text, style)]
    return marked + _cut(encoded)


def _cut(encoded: Encoded) -> list[Piece]:
    if not encoded.truncated:
        return []
    left = encoded.full_length - len(encoded.ids)
    return [(f"\n✂ {left:,} tokens more are cut off by max_length", "warning")]


def _plain(chat: Chat) -> list[Piece]:
    pieces: list[Piece] = []
    for message in chat:
        pieces += [(message["role"] + "\n", "head"), (message["content"] + "\n\n", "")]
    return pieces
