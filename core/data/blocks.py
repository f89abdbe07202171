"""A piece of a file, scanned: what each of its rows becomes on its own, in arrays.

The same in this process and in others, so that large files are scanned on all cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from core.config.schema import RunConfig
from core.data.batch import Batches, Outcomes
from core.data.chats.chat import ROLE_LETTERS
from core.data.chats.formats import Chat, Defect
from core.data.clean.rules import token_defect
from core.data.overlay import Key, Overlay
from core.data.pieces import LARGEST_KEY, Piece, file_changed
from core.data.pipeline import Kept, Pipeline
from core.data.read.lines import line_blocks
from core.data.read.sources import Rejected
from core.data.spool import chats_path, write_chat
from core.data.tokens.codec import ChatCodec, Encoded
from core.data.tokens.forecast import Lengths
from core.data.unlearned import Unlearned

Array = npt.NDArray[Any]

COLUMNS = {
    "reason": np.uint16,
    "late_reason": np.uint16,
    "chars": np.uint32,
    "answer_chars": np.uint32,
    "turns": np.uint16,
    "tokens": np.uint32,
    "tokens_used": np.uint32,
    "loss_tokens": np.uint32,
    "line": np.uint32,
    "flags": np.uint64,
    "format": np.uint8,
    "roles": np.uint16,
    "stop_trained": np.uint8,
    "group": np.uint32,
    "place": np.int64,
}
_BATCH_BYTES = 256 << 10
_BATCH_ROWS = 250
ROLES_SHOWN = 64
"""Turns of a row whose roles are told apart."""
SAMPLE_TEXT = 2000
"""Characters of a sampled turn that are looked at."""


@dataclass(frozen=True)
class Sample:
    """One row looked at as text: the first words said to the model, and its answers."""

    key: int
    prompt: str
    answer: str


@dataclass
class Words:
    """Words by number, numbered as they come."""

    names: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def number(self, name: str) -> int:
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = len(self.names)
            self.names.append(name)
        return found


@dataclass
class Block:
    """What became of the rows of a piece. Numbers of reasons and the like are into its own lists.

    ``line`` counts from 1 where the piece does not know its first one. ``keys`` and ``contents``
    are 16 bytes a row: the chat as duplicates are told, and as it stands. ``late_reason`` is one
    that counts only when the row repeats no other.
    """

    piece: Piece
    blanks: int
    columns: dict[str, Array]
    keys: Array
    contents: Array
    reasons: list[str]
    notes: list[str]
    formats: list[str]
    roles: list[str]
    groups: list[str]
    rejected: list[tuple[int, Rejected]]
    late: list[tuple[int, Rejected]]
    sample: list[tuple[int, Sample]]
    applied: frozenset[Key] = frozenset()
    lengths: Lengths = field(default_factory=Lengths)
    unlearned: Unlearned = field(default_factory=Unlearned)


class Scanner:
    """Scans pieces for one configuration. ``spool``: the folder that takes the kept chats."""

    def __init__(
        self, config: RunConfig, spool: Path | None, tokens: bool, codec: ChatCodec | None = None
    ):
        self._config = config
        self._spool = spool
        self._pipeline = Pipeline(config)
        self._batches = Batches(self._pipeline)
        self._codec = codec
        if tokens and codec is None:
            self._codec = ChatCodec.of(config)

    def follow(self, overlay: Overlay) -> None:
        """Scan with these decisions instead of those that the configuration names."""
        self._pipeline.overlay = overlay

    def __call__(self, piece: Piece) -> Block:
        entries = _Entries(piece.below, keep=self._codec is not None or self._spool is not None)
        for outcomes in self._outcomes(piece):
            entries.add(outcomes)
        entries.close()
        if self._codec is not None:
            entries.count_tokens(self._codec, self._config)
        if self._spool is not None:
            entries.spool(chats_path(self._spool, piece.number))
        # The rows came with the piece; they need not go back to where it came from.
        block = entries.block(replace(piece, rows=None), frozenset(self._pipeline.overlay.applied))
        block.unlearned, self._pipeline.unlearned = self._pipeline.unlearned, Unlearned()
        return block

    def _outcomes(self, piece: Piece) -> Iterator[Outcomes]:
        """Some hundred rows at a time, so that they stay in the processor's cache."""
        if piece.rows is not None:
            for start in range(0, len(piece.rows), _BATCH_ROWS):
                yield self._batches.of_rows(piece.rows[start : start + _BATCH_ROWS])
            return
        number = (piece.first_line or 1) - 1
        with _reopened(piece.file) as file:
            for lines in line_blocks(_Range(file, piece), _BATCH_BYTES):
                yield self._batches.of_lines(lines, piece.file, number)
                number += len(lines)


class _Entries:
    """The rows of a piece, on their way into arrays. ``keep``: their chats are needed to the end;
    ``below``: kept rows with a smaller key are sampled."""

    def __init__(self, below: int, *, keep: bool):
        self.reasons, self.notes = Words(["kept"]), Words()
        self.formats, self.roles, self.groups = Words(), Words([""]), Words([""])
        self.late: list[tuple[int, Rejected]] = []
        self.lengths = Lengths()
        self.rejected: list[tuple[int, Rejected]] = []
        self.rows: list[Kept] = []
        self._below, self._keep = below, keep
        self._known: dict[tuple[str, str, str], tuple[int, int, int]] = {}
        """Numbers of a format, an order of roles and a group."""
        self._blanks = 0
        self._lines: list[int] = []
        self._numbers: list[int] = []
        self._entries: list[tuple[int, ...]] = []
        self._hashes: tuple[list[bytes], list[bytes]] = ([], [])
        self._sample: list[tuple[int, Sample]] = []

    def add(self, outcomes: Outcomes) -> None:
        """Take in the rows that come next."""
        first = len(self._lines)
        kept: list[Kept] = []
        self._lines += [row.line for row in outcomes.rows]
        for number, row in enumerate(outcomes.rows, first):
            if isinstance(row, Kept):
                kept.append(row)
                self._numbers.append(number)
            else:
                self.rejected.append((number, row))
        self._entries += map(self._entry, kept)
        self._blanks += outcomes.blanks
        if self._keep:
            self.rows += kept
        if kept:
            for side, hashes in zip(self._hashes, zip(*outcomes.keys, strict=True), strict=True):
                side.append(b"".join(hashes))
            self._sample += self._sampled(kept, self._numbers[-len(kept) :])

    def _sampled(self, kept: list[Kept], numbers: list[int]) -> Iterator[tuple[int, Sample]]:
        orders = np.frombuffer(self._hashes[0][-1], "<u8").reshape(-1, 2)[:, 0]
        every = self._below > LARGEST_KEY
        few = range(len(kept)) if every else np.flatnonzero(orders < np.uint64(self._below))
        for place in few:
            yield numbers[place], _sampled(kept[place].chat, int(orders[place]))

    def close(self) -> None:
        """Make the arrays, when all rows are there."""
        self.columns = {name: np.zeros(len(self._lines), kind) for name, kind in COLUMNS.items()}
        self.kept = np.array(self._numbers, np.int64)
        names = ("chars", "answer_chars", "turns", "flags", "format", "roles", "group")
        columns = zip(*self._entries, strict=True)
        for name, values in zip(names, columns, strict=bool(self._entries)):
            self.columns[name][self.kept] = values
        self.columns["line"][:] = self._lines
        for number, row in self.rejected:
            self.columns["reason"][number] = self.reasons.number(row.reason)

    def _entry(self, row: Kept) -> tuple[int, ...]:
        _, _, chat, name, notes, group = row
        chars, answers, roles = 0, 0, ""
        for turn in chat:
            size, role = len(turn["content"]), turn["role"]
            chars += size
            roles += ROLE_LETTERS[role]
            if role == "assistant":
                answers += size
        flags = 0
        for note in notes:
            flags |= 1 << self.notes.number(note)
        known = self._known.get((name, roles, group))
        if known is None:
            known = (
                self.formats.number(name), self.roles.number(roles[:ROLES_SHOWN]),
                self.groups.number(group),
            )  # fmt: skip
            self._known[name, roles, group] = known
        return (chars, answers, len(chat), flags, *known)

    def count_tokens(self, codec: ChatCodec, config: RunConfig) -> None:
        whole = codec.encode_many([row.chat for row in self.rows])
        self._enter_lengths(whole)
        results = [cut(row, config) for row in whole]
        for number, row, result in zip(self._numbers, self.rows, results, strict=True):
            if isinstance(result, Defect):
                rejected = Rejected(row.file, row.line, result.reason, result.detail)
                self.columns["late_reason"][number] = self.reasons.number(result.reason)
                self.late.append((number, rejected))
            else:
                self._enter_tokens(number, result)

    def _enter_lengths(self, whole: list[Encoded | Defect]) -> None:
        found = dict(zip(self._numbers, whole, strict=True))
        for number in range(len(self._lines)):
            result = found.get(number)
            self.lengths.add(result if isinstance(result, Encoded) else None)

    def _enter_tokens(self, number: int, result: Encoded) -> None:
        for name, value in token_columns(result):
            self.columns[name][number] = value
        flags = sum(1 << self.notes.number(note) for note in set(result.notes))
        self.columns["flags"][number] |= np.uint64(flags)

    def spool(self, path: Path) -> None:
        """Write the kept chats, and note where each begins; -1 for rows without one."""
        self.columns["place"][:] = -1
        with path.open("xb") as file:
            self.columns["place"][self.kept] = [write_chat(file, row) for row in self.rows]

    def block(self, piece: Piece, applied: frozenset[Key]) -> Block:
        hashes = np.zeros((2, len(self._lines)), "V16")
        for side, joined in enumerate(self._hashes):
            hashes[side][self.kept] = np.frombuffer(b"".join(joined), "V16")
        return Block(
            piece, self._blanks, self.columns, hashes[0], hashes[1], self.reasons.names,
            self.notes.names, self.formats.names, self.roles.names, self.groups.names,
            self.rejected, self.late, self._sample, applied, self.lengths,
        )  # fmt: skip


def cut(whole: Encoded | Defect, config: RunConfig) -> Encoded | Defect:
    """A row as a run cuts it, or why it is not learned from."""
    result = whole if isinstance(whole, Defect) else whole.cut(config.data.max_length)
    if isinstance(result, Defect):
        return result
    return token_defect(config.clean, result.full_length, result.loss_tokens) or result


def token_columns(encoded: Encoded) -> tuple[tuple[str, int], ...]:
    """What is kept of a row in tokens."""
    return (
        ("tokens", encoded.full_length),
        ("tokens_used", encoded.length),
        ("loss_tokens", encoded.loss_tokens),
        ("stop_trained", int(encoded.stop_trained)),
    )


def _sampled(chat: Chat, order: int) -> Sample:
    prompts = [turn["content"] for turn in chat if turn["role"] != "assistant"]
    answers = [turn["content"] for turn in chat if turn["role"] == "assistant"] or prompts
    return Sample(order, prompts[-1][:SAMPLE_TEXT] if prompts else "", answers[-1][:SAMPLE_TEXT])


class _Range:
    """The bytes of a piece, as something to read from."""

    def __init__(self, file: IO[bytes], piece: Piece):
        self._file, self._left = file, piece.end - piece.start
        file.seek(piece.start)

    def read(self, size: int, /) -> bytes:
        raw = self._file.read(min(size, self._left))
        self._left -= len(raw)
        return raw


def _reopened(name: str) -> IO[bytes]:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise file_changed(name) from error
