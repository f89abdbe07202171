"""Random access to the rows of a file that may be too large to read: for the screen.

Of a row only its place is held (20 bytes); it is read and parsed when it is looked at.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from core.data.read.scan import Found, Places, scan_of
from core.data.read.sources import Rejected, Row, check_file, look, open_file

_PIECE_BYTES = 4 << 20
_ESCAPED = re.compile(rb"\\u00[2-7]")
"""Letters that JSON need not escape, and some writers do."""


class RowIndex:
    """The rows of one data file by number, from 0. Blank lines are no rows.

    ``scan`` finds rows piece by piece, so that the first show at once; one thread may scan while
    another reads. Raises InputError for a file that cannot be used at all.
    """

    def __init__(self, name: str | Path):
        self.path = check_file(name)
        self.count = 0
        """Rows found so far; all of them once ``complete``."""
        self.complete = False
        self._found: list[Found] = []
        self._firsts: list[int] = []
        self._file = open_file(self.path)
        try:
            self.source = look(self.path, self._file)
            self._scan = scan_of(self.source, self._file)
        except BaseException:
            self._file.close()
            raise

    @property
    def scanned(self) -> float:
        """Part of the file that was looked through, 0 to 1."""
        return 1.0 if self.complete else min(1.0, self._scan.part)

    def scan(self, limit_bytes: int = _PIECE_BYTES) -> bool:
        """Look through some more of the file; True while there is more to come.

        Raises InputError where the file turns out to be broken; the rows before stay readable.
        """
        if not self.complete:
            for found in self._scan.step(limit_bytes):
                self._firsts.append(self.count)
                self._found.append(found)
                self.count += len(found.starts)
            self.complete = self._scan.ended
        return not self.complete

    def scan_all(self) -> None:
        """Look through the rest of the file."""
        while self.scan():
            pass

    def row(self, number: int) -> Row | Rejected:
        """One row, read and parsed now. Raises IndexError for a row that was not found (yet)."""
        if not 0 <= number < self.count:
            raise IndexError(f"row {number} of {self.count}")
        piece = bisect_right(self._firsts, number) - 1
        place, found = number - self._firsts[piece], self._found[piece]
        return self._scan.row(
            int(found.starts[place]), int(found.lengths[place]), int(found.lines[place])
        )

    def holding(
        self, needles: Sequence[bytes], start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[Places, int]]:
        """Numbers of the rows from ``start`` to ``stop`` that may hold each of ``needles`` (lower
        case, as JSON writes them) in some case, piece by piece, and up to where they are known."""
        stop = self.count if stop is None else min(stop, self.count)
        for first, found in zip(list(self._firsts), list(self._found), strict=False):
            end = first + len(found.starts)
            if end <= start or first >= stop:
                continue
            numbers = self._holding(found, needles) + first
            yield numbers[(numbers >= start) & (numbers < stop)], min(end, stop)

    def _holding(self, found: Found, needles: Sequence[bytes]) -> Places:
        """Places among the rows of a piece."""
        base = int(found.starts[0])
        size = int(found.starts[-1]) - base + int(found.lengths[-1])
        raw = os.pread(self._scan.fd, size, base)
        lower = raw.lower()
        escaped = [match.start() for match in _ESCAPED.finditer(raw)]
        rows: Places | None = None
        for needle in needles:
            hits = [match.start() for match in re.finditer(re.escape(needle), lower)]
            places = np.array(sorted(hits + escaped), dtype=np.int64) + base
            some = np.unique(np.searchsorted(found.starts, places, "right")) - 1
            rows = some if rows is None else np.intersect1d(rows, some, assume_unique=True)
        return np.arange(len(found.starts)) if rows is None else rows

    def close(self) -> None:
        """Let go of the file and of what was copied of it."""
        self._scan.close()
        self._file.close()
