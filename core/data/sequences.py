"""Rows in tokens on disk, between tokenizing and packing: memory holds 8 bytes a row."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from core.data.stats import TokenStats
from core.data.tokens.codec import Encoded

Tokens = npt.NDArray[np.int32]

_PAIR = 8
"""Bytes of an id and its label."""


class TokenSpool:
    """Rows of one side in tokens, in the order they were added, and what is known of them.

    A row is one sequence; a long raw text is several. ``numbers`` are the rows' numbers in their
    survey, ``lengths`` the tokens of each sequence.
    """

    def __init__(self, path: Path):
        self.stats = TokenStats()
        self.numbers = array("q")
        self._ends = array("q")
        self._firsts = array("q")
        self._path = path
        self._file: IO[bytes] | None = path.open("xb")
        self._written: IO[bytes] | None = None

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.numbers)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        ends = np.asarray(self._ends, np.int64)
        return np.asarray(ends - np.append(0, ends)[:-1])

    @property
    def row_lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each row, all its sequences together."""
        if not self._firsts:
            return np.zeros(0, np.int64)
        return np.add.reduceat(self.lengths, np.asarray(self._firsts, np.int64))

    def sequences_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Places of the sequences of these rows, in the rows' order."""
        starts = np.append(np.asarray(self._firsts, np.int64), len(self._ends))
        counts = starts[rows + 1] - starts[rows]
        before = np.repeat(starts[rows] - (np.cumsum(counts) - counts), counts)
        return before + np.arange(int(counts.sum()))

    def add(self, number: int, encoded: Encoded) -> None:
        """The next row."""
        assert self._file is not None
        self._firsts.append(len(self._ends))
        self.numbers.append(number)
        for ids, labels in encoded.sequences:
            pairs = np.stack([ids, labels], 1).astype(np.int32)
            self._file.write(pairs.tobytes())
            self._ends.append((self._ends[-1] if self._ends else 0) + len(pairs))
        self.stats.add(encoded)

    def finish(self) -> None:
        """No row comes any more; from here on they can be read."""
        if self._file is not None:
            self._file.close()
            self._file = None
            # Read piece by piece: all pages of a map would count as this program's memory.
            self._written = self._path.open("rb", buffering=0)

    def sequence(self, place: int) -> tuple[Tokens, Tokens]:
        """Ids and labels of one sequence."""
        assert self._written is not None
        start = self._ends[place - 1] if place else 0
        self._written.seek(start * _PAIR)
        raw = self._written.read((self._ends[place] - start) * _PAIR)
        pairs = np.frombuffer(raw, np.int32).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def close(self) -> None:
        """Remove the file."""
        self.finish()
        if self._written is not None:
            self._written.close()
            self._written = None
        self._path.unlink(missing_ok=True)
