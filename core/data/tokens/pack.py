"""Short rows packed into long sequences, so that little of a batch is padding.

Rows that share a sequence do not see each other: positions begin at 0 with each row, which the
attention code takes as its boundary, and a row's first token carries no loss.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.tokens.encoded import NO_LOSS, Ids

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Packed:
    """One sequence of tokens; the three arrays have the same length."""

    input_ids: Ids
    labels: Ids
    position_ids: Ids


class Groups:
    """Which rows each sequence has: 8 bytes a row, where lists would take a hundred.

    ``rows`` are those of all sequences, one after the other; ``ends`` says where each ends.
    """

    def __init__(self, rows: Array, ends: Array):
        self.rows = rows
        self.ends = ends

    @classmethod
    def single(cls, rows: Array) -> Groups:
        """Each row a sequence of its own."""
        return cls(rows, np.arange(1, len(rows) + 1))

    def of(self, places: Array) -> Groups:
        """The same sequences, where the rows are numbers in ``places``."""
        return Groups(places[self.rows], self.ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for end in self.ends:
            yield self.rows[start:end].tolist()
            start = end


def pack(lengths: npt.ArrayLike, max_length: int) -> Groups:
    """Which rows share a sequence: best fit, longest rows first; the same input, the same result.

    Sequences come in the order of their first row, and rows in order within them. Raises
    ValueError for a row longer than ``max_length``.
    """
    sizes = np.asarray(lengths, np.int64)
    own = np.empty(len(sizes), np.int64)  # the sequence of each row
    count = 0
    open_by_space: dict[int, list[int]] = {}
    spaces: list[int] = []  # the keys of open_by_space, sorted
    for row in np.argsort(-sizes, kind="stable"):
        length = int(sizes[row])
        if length > max_length:
            raise ValueError(f"row {row} has {length} tokens, more than {max_length}")
        place = bisect_left(spaces, length)
        if place == len(spaces):
            space, number = max_length, count
            count += 1
        else:
            space = spaces[place]
            number = open_by_space[space].pop()
            if not open_by_space[space]:
                del open_by_space[space], spaces[place]
        own[row] = number
        left = space - length
        if left:
            if left not in open_by_space:
                open_by_space[left] = []
                insort(spaces, left)
            open_by_space[left].append(number)
    return _grouped(own, count)


def _grouped(own: Array, count: int) -> Groups:
    """Rows by sequence; sequences in the order of their first row."""
    _, firsts = np.unique(own, return_index=True)
    place = np.empty(count, np.int64)
    place[np.argsort(firsts)] = np.arange(count)
    place = place[own]
    rows = np.argsort(place, kind="stable")
    return Groups(rows, np.cumsum(np.bincount(place, minlength=count)))


def join(rows: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]) -> Packed:
    """One sequence from rows of ids and labels."""
    ids = [np.asarray(own, np.int32) for own, _ in rows]
    labels = np.concatenate([np.asarray(own, np.int32) for _, own in rows])
    lengths = np.array([len(own) for own in ids])
    starts = np.cumsum(lengths) - lengths
    labels[starts] = NO_LOSS
    positions = np.arange(len(labels), dtype=np.int32) - np.repeat(starts, lengths)
    return Packed(np.concatenate(ids), labels, positions.astype(np.int32))


def efficiency(tokens: int, sequences: int, max_length: int) -> float:
    """Part of the sequences' room that tokens fill, 0 to 1."""
    return tokens / (sequences * max_length) if sequences else 0.0
