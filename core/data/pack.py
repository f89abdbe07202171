"""Short rows packed into long sequences, so that little of a batch is padding.

Rows that share a sequence do not see each other: positions begin at 0 with each row, which the
attention code takes as its boundary, and a row's first token carries no loss.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.data.encoded import NO_LOSS, Ids


@dataclass(frozen=True)
class Packed:
    """One sequence of tokens; the three arrays have the same length."""

    input_ids: Ids
    labels: Ids
    position_ids: Ids


def pack(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Which rows share a sequence: best fit, longest rows first; the same input, the same result.

    Sequences come in the order of their first row, and rows in order within them. Raises
    ValueError for a row longer than ``max_length``.
    """
    sequences: list[list[int]] = []
    open_by_space: dict[int, list[int]] = {}
    spaces: list[int] = []  # the keys of open_by_space, sorted
    for row in np.argsort(-np.array(lengths, dtype=np.int64), kind="stable").tolist():
        length = lengths[row]
        if length > max_length:
            raise ValueError(f"row {row} has {length} tokens, more than {max_length}")
        place = bisect_left(spaces, length)
        if place == len(spaces):
            space, number = max_length, len(sequences)
            sequences.append([])
        else:
            space = spaces[place]
            number = open_by_space[space].pop()
            if not open_by_space[space]:
                del open_by_space[space], spaces[place]
        sequences[number].append(row)
        left = space - length
        if left:
            if left not in open_by_space:
                open_by_space[left] = []
                insort(spaces, left)
            open_by_space[left].append(number)
    return sorted(sorted(rows) for rows in sequences)


def join(rows: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]) -> Packed:
    """One sequence from rows of ids and labels."""
    ids = [np.asarray(own, np.int32) for own, _ in rows]
    labels = np.concatenate([np.asarray(own, np.int32) for _, own in rows])
    lengths = np.array([len(own) for own in ids])
    starts = np.cumsum(lengths) - lengths
    labels[starts] = NO_LOSS
    positions = np.arange(len(labels), dtype=np.int32) - np.repeat(starts, lengths)
    return Packed(np.concatenate(ids), labels, positions.astype(np.int32))


def efficiency(lengths: Sequence[int], sequences: int, max_length: int) -> float:
    """Part of the sequences' room that tokens fill, 0 to 1."""
    return sum(lengths) / (sequences * max_length) if sequences else 0.0
