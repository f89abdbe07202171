"""Near duplicates: rows that share most of their word groups, and held-out rows that do so.

MinHash signatures bring together what may be alike; what is said to be alike has been compared
truly, so no false meeting rejects a row. The result depends on the rows alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from core.data.chats.formats import Chat
from core.data.repeats.shingles import BANDS, Array, Shingles, buckets

_MARGIN = 0.1
"""Three standard deviations of the estimate by signature: below, a pair is not compared truly."""
_PATIENCE = 64
"""True comparisons that may fail in a bucket of up to so many rows; in a fuller one, as many as it
has rows. What is left then is parted further, so that rows which are all somewhat alike (made from
one pattern, by the thousand) do not cost a comparison for each pair."""
_DEPTH = 8
"""How often a bucket is parted."""
_TRAINING_ROWS = 1000
"""In one bucket a held-out row is compared with this many training rows at most."""


@dataclass(frozen=True)
class Cluster:
    """Rows that are near duplicates of one that is kept."""

    kept: int
    others: tuple[tuple[int, float], ...]
    """The rows to leave out, each with the part of word groups it shares with the kept one."""


@dataclass(frozen=True)
class Leak:
    """A held-out row that is also learned from."""

    held_out: int
    train: int
    similarity: float
    exact: bool
    """The same row; otherwise a near duplicate."""


class NearDuplicates:
    """Collects rows one after another, then tells which are near duplicates.

    ``keep`` says which of a cluster stays: the ``first``, or the one with the ``longest_answer``.
    Memory grows by 170 bytes a row; about 1.2 KB for a row of 1 KB lie in temporary files.
    """

    def __init__(
        self,
        threshold: float = 0.85,
        keep: Literal["first", "longest_answer"] = "first",
        folder: Path | None = None,
    ):
        self._threshold, self._keep = threshold, keep
        self._rows = Shingles(folder)

    def __enter__(self) -> NearDuplicates:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the temporary files."""
        self._rows.close()

    def add(self, number: int, chat: Chat) -> None:
        """Take a row. ``number`` names it and stands for its place in the order of the files."""
        self._rows.add(number, chat)

    def clusters(self, on_rows: Callable[[int], None] | None = None) -> list[Cluster]:
        """All clusters of two and more rows, in the order of their kept rows.

        Every row left out has been compared with the kept one. ``on_rows`` hears how far it is,
        in rows; it may raise to end it.
        """
        self._rows.finish()
        numbers = self._rows.numbers
        order = (
            np.argsort(numbers, kind="stable")
            if self._keep == "first"
            else np.lexsort((numbers, -self._rows.answers))
        )
        near: _Near = defaultdict(dict)
        for band in range(BANDS):
            for bucket in buckets(self._rows.band(band)[order], order) if len(order) else ():
                self._compare(bucket, band, 0, near)
            if on_rows is not None:
                on_rows(len(order) * (band + 1) // BANDS)
        found = [
            Cluster(
                int(numbers[kept]),
                tuple(sorted((int(numbers[row]), share) for row, share in others.items())),
            )
            for kept, others in self._stars(near, order).items()
        ]
        return sorted(found, key=lambda cluster: cluster.kept)

    def _compare(self, bucket: Array, band: int, depth: int, near: _Near) -> None:
        """Enter the pairs of a bucket that are truly near, found from its first rows on."""
        patience = max(_PATIENCE, len(bucket))
        while len(bucket) > 1 and patience > 0:
            leader, others = int(bucket[0]), bucket[1:]
            seems = self._rows.alike(leader, others) >= self._threshold - _MARGIN
            likely = others[seems]
            shares = self._rows.shares(leader, likely)
            for other, share in zip(likely.tolist(), shares.tolist(), strict=True):
                if share >= self._threshold:
                    near[leader][other] = near[other][leader] = share
                else:
                    patience -= 1
            seems[seems] = shares >= self._threshold
            bucket = others[~seems]
        if len(bucket) > 1 and depth < _DEPTH:
            for part in self._rows.split(bucket, band, depth):
                self._compare(part, band, depth + 1, near)

    def _stars(self, near: _Near, order: Array) -> dict[int, dict[int, float]]:
        """Kept rows, each with rows near to it; a row that is left out keeps no other one."""
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        gone: set[int] = set()
        stars: dict[int, dict[int, float]] = {}
        for row in sorted(near, key=lambda row: int(rank[row])):
            if row in gone:
                continue
            star = {o: s for o, s in near[row].items() if o not in gone and rank[o] > rank[row]}
            # The neighbours' neighbours too: they may have met only a row that is now left out.
            beyond = {far for other in star for far in near[other]} - near[row].keys() - gone
            more = np.array([far for far in sorted(beyond) if rank[far] > rank[row]], np.int64)
            for far, share in zip(more.tolist(), self._rows.shares(row, more), strict=True):
                if share >= self._threshold:
                    star[far] = float(share)
            gone |= star.keys()
            if star:
                stars[row] = star
        return stars


_Near = defaultdict[int, dict[int, float]]
"""For each row the rows near to it, with the part they share."""


def leaks(
    train: Iterable[tuple[int, Chat]],
    held_out: Iterable[tuple[int, Chat]],
    threshold: float = 0.85,
    folder: Path | None = None,
) -> list[Leak]:
    """Held-out rows that repeat or nearly repeat a training row, with the row most like each.

    Rows are named by numbers, each side by its own.
    """
    rows = Shingles(folder)
    try:
        for number, chat in train:
            rows.add(number, chat)
        learned = rows.count
        for number, chat in held_out:
            rows.add(number, chat)
        rows.finish()
        best = _overlaps(rows, learned, threshold) if 0 < learned < rows.count else {}
        numbers, prints = rows.numbers, rows.prints
        return [
            Leak(int(numbers[one]), int(numbers[other]), share, bool(prints[one] == prints[other]))
            for one, (share, other) in sorted(best.items())
        ]
    finally:
        rows.close()


def _overlaps(rows: Shingles, learned: int, threshold: float) -> dict[int, tuple[float, int]]:
    """For each held-out row that is near a training row, the share and that row."""
    best: dict[int, tuple[float, int]] = {}
    prints, order = rows.prints, np.arange(rows.count)
    for band in range(BANDS):
        for bucket in buckets(rows.band(band), order):
            known = bucket[bucket < learned][:_TRAINING_ROWS]
            for row in map(int, bucket[bucket >= learned] if len(known) else ()):
                if row in best and best[row][0] == 1.0:
                    continue
                likely = rows.alike(row, known)
                other = int(known[int(likely.argmax())])
                if likely.max() < threshold - _MARGIN:
                    continue
                same = known[prints[known] == prints[row]]
                other = int(same[0]) if len(same) else other
                share = float(rows.shares(row, np.array([other]))[0])
                if share >= threshold and share > best.get(row, (0.0, 0))[0]:
                    best[row] = (share, other)
    return best
