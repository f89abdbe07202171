"""What each ``max_length`` would cut: rows, answers' tokens, whole rows; and which to take.

All lengths are answered at once from counts of places, so that a slider may ask at every step.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from core.config.data import LONGEST
from core.data.tokens.encoded import Encoded

Counts = npt.NDArray[np.int64]

USUAL = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
"""Lengths that people choose from."""

WHOLE = 0.99
"""Part of the rows, and of the answers' tokens, that a proposed length keeps whole. The longest
hundredth would make every step pay for room that it rarely fills."""

STEP = 64
"""A proposed length is a multiple of this: what tensor cores like."""


@dataclass(frozen=True)
class Cut:
    """What one ``max_length`` cuts."""

    max_length: int
    rows_cut: int
    rows_lost: int
    """Rows of which no answer is left, and which are therefore rejected."""
    answer_tokens_cut: int
    tokens_cut: int


@dataclass(frozen=True)
class Forecast:
    """The cuts at any length, for the rows it was made from."""

    rows: int
    tokens: int
    answer_tokens: int
    longest: int
    _above: Counts
    """For each length, the rows that are longer."""
    _lost: Counts
    """For each length, the rows whose first answer begins there or later."""
    _answer_tokens: Counts
    _tokens: Counts

    def at(self, max_length: int) -> Cut:
        """What is cut at a length."""
        place = max(0, min(max_length, self.longest))
        return Cut(
            max_length,
            int(self._above[place]),
            int(self._lost[place]),
            int(self._answer_tokens[place]),
            int(self._tokens[place]),
        )

    @cached_property
    def table(self) -> list[Cut]:
        """The cuts at the usual lengths, up to the first that cuts nothing."""
        below = [length for length in USUAL if length < self.longest]
        beyond = next((length for length in USUAL if length >= self.longest), self.longest)
        return [self.at(length) for length in [*below, beyond]]

    @cached_property
    def proposed(self) -> int:
        """The shortest length that leaves nearly all rows and nearly all answers whole, or the
        longest that there is."""
        spare_rows = int(self.rows * (1 - WHOLE))
        spare_tokens = int(self.answer_tokens * (1 - WHOLE))
        enough = (self._above <= spare_rows) & (self._answer_tokens <= spare_tokens)
        shortest = int(np.argmax(enough)) if self.rows else STEP
        return min(LONGEST, max(STEP, -(-shortest // STEP) * STEP))

    def as_dict(self) -> dict[str, object]:
        """Plain values for a report."""
        return {"proposed_max_length": self.proposed, "cuts": [vars(cut) for cut in self.table]}


class Lengths:
    """Collects what a forecast needs: 8 bytes for each row and 8 for each answer."""

    def __init__(self) -> None:
        self._lengths, self._counts = array("I"), array("I")
        self._starts, self._ends = array("I"), array("I")

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, encoded: Encoded | None) -> None:
        """The next row, before it is cut; None for one that has no tokens.

        A raw text is never cut, and does not count.
        """
        answers = () if encoded is None or encoded.raw else encoded.loss
        self._lengths.append(encoded.full_length if encoded is not None and answers else 0)
        self._counts.append(len(answers))
        for start, end in answers:
            self._starts.append(start)
            self._ends.append(end)

    def extend(self, others: Lengths) -> None:
        """The rows that come next, all at once."""
        self._lengths += others._lengths
        self._counts += others._counts
        self._starts += others._starts
        self._ends += others._ends

    def replace(self, numbers: Sequence[int], others: Lengths) -> None:
        """Let ``others`` take the place of the rows with these numbers, which are in order."""
        ends = np.cumsum(np.array(self._counts))
        theirs = np.cumsum([0, *others._counts]).tolist()
        starts, finishes, reached = array("I"), array("I"), 0
        for place, number in enumerate(numbers):
            end, new = int(ends[number]), slice(theirs[place], theirs[place + 1])
            first = end - self._counts[number]
            starts += self._starts[reached:first] + others._starts[new]
            finishes += self._ends[reached:first] + others._ends[new]
            reached = end
            self._lengths[number] = others._lengths[place]
        for place, number in enumerate(numbers):
            self._counts[number] = others._counts[place]
        self._starts, self._ends = starts + self._starts[reached:], finishes + self._ends[reached:]

    def forecast(self, chosen: npt.NDArray[np.bool_] | None = None) -> Forecast:
        """The forecast for the rows so far, or for those that ``chosen`` says."""
        count = len(self) if chosen is None else len(chosen)
        lengths, counts = np.array(self._lengths[:count]), np.array(self._counts[:count])
        rows = lengths > 0 if chosen is None else (lengths > 0) & chosen
        ends = np.cumsum(counts)
        total = int(ends[-1]) if count else 0
        answers = np.repeat(rows, counts)
        starts = np.array(self._starts[:total])
        firsts = starts[(ends - counts)[rows]]
        return forecast(
            lengths[rows], firsts, starts[answers], np.array(self._ends[:total])[answers]
        )


def forecast(
    lengths: npt.NDArray[np.integer],
    firsts: npt.NDArray[np.integer],
    starts: npt.NDArray[np.integer],
    ends: npt.NDArray[np.integer],
) -> Forecast:
    """The forecast for rows of ``lengths`` tokens whose first answers begin at ``firsts``.

    ``starts`` and ``ends`` are the places of all answers of all rows, in any order.
    """
    longest = int(lengths.max()) if len(lengths) else 0
    above = _reaching(lengths, longest)
    answers = _beyond(ends, longest) - _beyond(starts, longest)
    return Forecast(
        rows=len(lengths),
        tokens=int(lengths.sum()),
        answer_tokens=int(ends.sum() - starts.sum()),
        longest=longest,
        _above=np.append(above[1:], 0),
        _lost=_reaching(firsts, longest),
        _answer_tokens=answers,
        _tokens=_beyond(lengths, longest),
    )


def _reaching(places: npt.NDArray[np.integer], longest: int) -> Counts:
    """For each length up to the longest, how many places are at it or beyond."""
    counts: Counts = np.bincount(places, minlength=longest + 1)
    reaching: Counts = np.cumsum(counts[::-1])[::-1]
    return reaching


def _beyond(places: npt.NDArray[np.integer], longest: int) -> Counts:
    """For each length L up to the longest, the sum of max(0, place - L)."""
    # A place beyond L is reached by every length from L + 1 to itself: once for each.
    reaching = _reaching(places, longest)
    sums: Counts = np.cumsum(np.append(reaching[1:], 0)[::-1])[::-1]
    return sums
