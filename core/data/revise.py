"""Decisions by hand taken into a survey that was made, or is being made, without them.

A decision changes its row, and what rows are to each other: when the first of several equal rows
is dropped, the next one is kept in its place. Near duplicates stay as they were found: comparing
them anew is a pass over all rows.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from core.data.blocks import Sample, Scanner
from core.data.overlay import Overlay
from core.data.pieces import Piece
from core.data.read.sources import Rejected, Row
from core.data.repeats.exact import Firsts

if TYPE_CHECKING:
    from core.data.survey import Survey

Array = npt.NDArray[Any]

SAMPLE_ROWS = 2000
"""Rows that are looked at as text, for languages and variety."""
DUPLICATE, NEAR = "duplicate", "near_duplicate"
_NO_KEY = bytes(16)
"""Of rows that are no chat."""
_PLACES = ("line", "place")
"""Columns that no decision changes."""

SampleEntry = tuple[int, int, Sample]


class Revisions:
    """What was decided about rows of a survey since it began. The survey's lock is held."""

    def __init__(self, survey: Survey):
        self._survey = survey
        self._waiting: dict[int, Row | Rejected] = {}
        self.rows: set[int] = set()
        """All rows that were decided about."""
        self._freed: list[int] = []
        """Rows that the last look at equal ones found to be the first."""
        self._keys: set[bytes] = set()
        """What those rows are, or were, told as duplicates by."""

    def add(self, rows: Mapping[int, Row | Rejected], overlay: Overlay) -> None:
        """Look at rows, as their files have them, with the decisions that ``overlay`` has now."""
        self._scan.follow(overlay)
        self.rows |= rows.keys()
        done = self._survey.done
        self._waiting |= {number: row for number, row in rows.items() if number >= done}
        self._apply({number: row for number, row in rows.items() if number < done})

    @cached_property
    def _scan(self) -> Scanner:
        return Scanner(self._survey.config, None, False, self._survey.codec)

    def sampled(self) -> set[int]:
        """Rows that are not to be sampled as they were scanned."""
        if not self.rows:
            return self.rows
        return self.rows | {number for _, number, _ in self._survey.sampled}

    def catch_up(self, first: int) -> None:
        """The rows from ``first`` on have just come in."""
        survey = self._survey
        come = [number for number in self._waiting if number < survey.done]
        self._apply({number: self._waiting.pop(number) for number in come})
        new = set(survey.ledger.keys[first : survey.done].tolist()) if self._keys else set()
        if met := self._keys & new:
            self._regroup(met)

    def _apply(self, rows: dict[int, Row | Rejected]) -> None:
        if not rows:
            return
        survey, ledger = self._survey, self._survey.ledger
        numbers = np.array(sorted(rows), np.int64)
        files = [rows[number] for number in numbers.tolist()]
        block = self._scan(Piece(0, files[0].file, 0, rows=files))
        before = ledger.columns["reason"][numbers]
        changed = set(ledger.keys[numbers].tolist())
        ledger.put(numbers, block, without=_PLACES)
        ledger.columns["origin"][numbers] = -1
        self._move(numbers, before)
        if survey.counted:
            survey.lengths.replace(numbers.tolist(), block.lengths)
        changed |= set(ledger.keys[numbers].tolist())
        changed.discard(_NO_KEY)
        self._keys |= changed
        self._regroup(changed)
        self._sample(rows, [(int(numbers[place]), sample) for place, sample in block.sample])

    def _regroup(self, keys: set[bytes]) -> None:
        """Find out anew which rows with these keys repeat which."""
        survey, ledger = self._survey, self._survey.ledger
        numbers = _with_keys(ledger.keys[: survey.done], keys)
        if not len(numbers):
            return
        columns, words = ledger.columns, ledger.words["reason"]
        before = columns["reason"][numbers]
        origins = Firsts().origins(ledger.keys[numbers], numbers)
        first = origins < 0
        near = first & (before == words.number(NEAR))
        columns["origin"][numbers[~near]] = origins[~near]
        columns["reason"][numbers[~first]] = words.number(DUPLICATE)
        alone = numbers[first & ~near]
        columns["reason"][alone] = columns["late_reason"][alone]
        self._freed = alone.tolist()
        self._move(numbers, before)

    def _move(self, numbers: Array, before: Array) -> None:
        """Let the account follow what became of rows."""
        survey = self._survey
        now, names = survey.ledger.columns["reason"][numbers], survey.reasons
        for place in np.flatnonzero(now != before).tolist():
            file, _ = survey.place(int(numbers[place]))
            survey.tally.move(file, names[int(before[place])], names[int(now[place])])

    def _sample(self, rows: dict[int, Row | Rejected], found: list[tuple[int, Sample]]) -> None:
        """Sample what is kept now: changed rows, and rows in the place of equal ones."""
        survey, reason = self._survey, self._survey.ledger.columns["reason"]
        entries: dict[int, SampleEntry] = {}
        gone: dict[int, Sample] = {}
        for order, number, sample in survey.sampled:
            if number in rows or reason[number]:
                gone[-order] = sample
            else:
                entries[number] = (order, number, sample)
        orders = survey.ledger.keys.view("<u8").reshape(-1, 2)[:, 0]
        for number in self._freed:
            equal = gone.get(int(orders[number]))
            if equal is not None and not reason[number]:
                entries[number] = (-equal.key, number, equal)
        for number, sample in found:
            if not reason[number]:
                entries[number] = (-sample.key, number, sample)
        survey.sampled[:] = heapq.nlargest(SAMPLE_ROWS, entries.values())
        heapq.heapify(survey.sampled)


def _with_keys(keys: Array, wanted: set[bytes]) -> Array:
    """Numbers of the rows that have one of these keys."""
    if not wanted:
        return np.zeros(0, np.int64)
    low = keys.view("<u8").reshape(-1, 2)[:, 0]
    lows = np.frombuffer(b"".join(sorted(wanted)), "<u8")[::2]
    likely = np.flatnonzero(np.isin(low, lows) if len(lows) > 1 else low == lows[0])
    same = [number for number in likely.tolist() if bytes(keys[number]) in wanted]
    return np.array(same, np.int64)
