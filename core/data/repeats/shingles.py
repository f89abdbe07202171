"""Rows as sets of word groups, and their MinHash signatures, most of it on disk.

Memory holds 170 bytes a row: the keys under which rows that are alike meet. Signatures (512
bytes) and word groups (4 bytes a word) lie in two temporary files that have no name.
"""

from __future__ import annotations

import re
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from core.data.chats.formats import Chat
from core.data.chats.hashes import fingerprint

Array = npt.NDArray[Any]

PERMUTATIONS, BANDS = 128, 16
"""A pair that shares 85 % of its word groups meets in one of the bands with 99.4 %, one that
shares 60 % with 24 %; what meets is then compared truly."""
_WIDTH = PERMUTATIONS // BANDS
_STEP = 4
"""Places of a signature by which a bucket that is too full is parted further."""
_SEED = 42
_BATCH = 1024
_SYLLABIC = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
)
_WORDS = re.compile(rf"[{_SYLLABIC}]|[^\W{_SYLLABIC}]+|[-+*/=<>%^&|~]")
"""Words; single characters where a script writes without spaces; the signs that change a sum."""
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


def words_of(chat: Chat) -> list[str]:
    """The words of a whole row in small letters, each turn begun by its role.

    White space, punctuation and capitals do not count.
    """
    words: list[str] = []
    for turn in chat:
        found = _WORDS.findall(turn["content"].lower())
        words.append(f"<{turn['role']}>")
        words += found or [turn["content"]]
    return words if len(words) >= 3 else [*words, "", ""][:3]


def grouped(rows: list[list[str]]) -> tuple[Array, Array]:
    """Hashes of each row's groups of three words, each once, row behind row; and their starts."""
    lengths = np.fromiter((len(words) for words in rows), np.int64, len(rows))
    flat = [zlib.crc32(word.encode("utf-8", "surrogatepass")) for words in rows for word in words]
    codes = np.array(flat, np.uint64)
    mixed = codes[:-2] * _MIX[0] ^ codes[1:-1] * _MIX[1] ^ codes[2:] * _MIX[2]
    mixed ^= mixed >> np.uint64(29)
    mixed *= _MIX[1]
    ends = np.cumsum(lengths)
    inside = np.ones(len(codes), bool)
    inside[ends - 1] = inside[ends - 2] = False  # a group never reaches into the next row
    owners = np.repeat(np.arange(len(rows), dtype=np.uint64), lengths - 2)
    keyed = np.unique(owners << np.uint64(32) | (mixed >> np.uint64(32))[inside[: len(mixed)]])
    counts = np.bincount((keyed >> np.uint64(32)).astype(np.int64), minlength=len(rows))
    return keyed.astype(np.uint32), np.concatenate([[0], np.cumsum(counts)])


@dataclass
class _Batch:
    """What memory keeps of some rows."""

    numbers: Array
    answers: Array
    """Characters of the rows' answers."""
    prints: Array
    bands: Array


@dataclass
class Shingles:
    """Rows to be compared. Give numbers that name the rows; any order, each once."""

    folder: Path | None = None
    """Where the temporary files lie; None: where the system keeps such files."""
    count: int = 0
    _waiting: list[tuple[int, int, bytes, list[str]]] = field(default_factory=list)
    _batches: list[_Batch] = field(default_factory=list)
    _starts: list[Array] = field(default_factory=list)
    _written: int = 0

    def __post_init__(self) -> None:
        self._signature_file: IO[bytes] = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
        self._group_file: IO[bytes] = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115

    def close(self) -> None:
        self._signature_file.close()
        self._group_file.close()

    def add(self, number: int, chat: Chat) -> None:
        answer = sum(len(turn["content"]) for turn in chat if turn["role"] in ("assistant", "text"))
        self._waiting.append((number, answer, fingerprint(chat), words_of(chat)))
        self.count += 1
        if len(self._waiting) >= _BATCH:
            self._flush()

    def finish(self) -> None:
        """Make all rows readable; more may be added afterwards."""
        self._flush()
        self._signature_file.flush()
        self._group_file.flush()
        if self.count:
            flat = np.memmap(self._signature_file, np.uint32, "r")
            self._signatures = flat.reshape(self.count, PERMUTATIONS)
            self._groups = np.memmap(self._group_file, np.uint32, "r")
            self._begin = np.concatenate([*self._starts, [self._written]])

    @property
    def numbers(self) -> Array:
        return self._column("numbers", np.int64)

    @property
    def answers(self) -> Array:
        return self._column("answers", np.int64)

    @property
    def prints(self) -> Array:
        """Fingerprints, by which exact repetitions are told."""
        return self._column("prints", np.dtype("V16"))

    def band(self, number: int) -> Array:
        """The rows' keys in one band: equal keys are candidates."""
        return np.concatenate([batch.bands[:, number] for batch in self._batches])

    def alike(self, row: int, others: Array) -> Array:
        """How alike rows seem by their signatures, 0 to 1, in places of ``others``."""
        own = self._signatures[row]
        parts = [
            (self._signatures[others[start : start + _BATCH]] == own).mean(axis=1)
            for start in range(0, len(others), _BATCH)
        ]
        return np.concatenate(parts)

    def shares(self, row: int, others: Array) -> Array:
        """The part of all their word groups that a row shares with each other one (Jaccard)."""
        own = self._groups[self._begin[row] : self._begin[row + 1]]
        shares = np.zeros(len(others))
        for place, other in enumerate(others):
            its = self._groups[self._begin[other] : self._begin[other + 1]]
            spots = np.minimum(own.searchsorted(its), len(own) - 1)
            shared = np.count_nonzero(own[spots] == its)
            shares[place] = shared / (len(own) + len(its) - shared)
        return shares

    def split(self, rows: Array, band: int, depth: int) -> Iterator[Array]:
        """The rows, parted by more of their signatures; parts of one row are left out."""
        first = (band * _WIDTH + _WIDTH + depth * _STEP) % PERMUTATIONS
        yield from buckets(_folded(self._signatures[rows, first : first + _STEP]), rows)

    def _column(self, name: str, kind: Any) -> Array:
        if not self._batches:
            return np.empty(0, kind)
        return np.concatenate([getattr(batch, name) for batch in self._batches])

    def _flush(self) -> None:
        if not self._waiting:
            return
        from rensa import RMinHash

        numbers, answers, prints, rows = zip(*self._waiting, strict=True)
        groups, starts = grouped(list(rows))
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            groups.astype(np.uint64), starts.astype(np.uint64), PERMUTATIONS, _SEED
        )
        signatures = np.array(matrix.to_rows(), np.uint32)
        self._signature_file.seek(0, 2)
        self._signature_file.write(signatures.tobytes())
        self._group_file.seek(0, 2)
        self._group_file.write(groups.tobytes())
        self._starts.append(starts[:-1] + self._written)
        self._written += len(groups)
        self._batches.append(
            _Batch(
                np.array(numbers, np.int64),
                np.array(answers, np.int64),
                np.frombuffer(b"".join(prints), np.dtype("V16")),
                _keys(signatures),
            )
        )
        self._waiting.clear()


def buckets(keys: Array, rows: Array) -> Iterator[Array]:
    """Groups of two and more rows with equal keys; each in the order of ``rows``."""
    by_key = np.argsort(keys, kind="stable")
    ordered = keys[by_key]
    bounds = np.flatnonzero(np.diff(ordered)) + 1
    starts, ends = np.concatenate([[0], bounds]), np.concatenate([bounds, [len(keys)]])
    for place in np.flatnonzero(ends - starts > 1):
        yield rows[by_key[starts[place] : ends[place]]]


def _keys(signatures: Array) -> Array:
    """A key for each row and band."""
    bands = [signatures[:, start : start + _WIDTH] for start in range(0, PERMUTATIONS, _WIDTH)]
    return np.stack([_folded(band) for band in bands], axis=1)


def _folded(columns: Array) -> Array:
    """One number for the few in each row."""
    keys = np.zeros(len(columns), np.uint64)
    for place in range(columns.shape[1]):
        keys = (keys ^ columns[:, place].astype(np.uint64)) * _MIX[0]
        keys ^= keys >> np.uint64(31)
    return keys
