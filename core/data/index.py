"""Random access to the rows of a file that may be too large to read: for the screen.

Of a row only its place is held (20 bytes); it is read and parsed when it is looked at.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.data.scan import Found, Places, scan_of
from core.data.sources import Rejected, Row, check_file, look, open_file

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

    def holding(self, needle: bytes) -> Iterator[tuple[Places, float]]:
        """Numbers of the rows that may hold ``needle`` (lower case, as JSON writes it) in some
        case, piece by piece, each with the part of the rows that is done by then."""
        for first, found in zip(list(self._firsts), list(self._found), strict=False):
            base = int(found.starts[0])
            raw = os.pread(
                self._scan.fd, int(found.starts[-1]) - base + int(found.lengths[-1]), base
            )
            hits = [match.start() for match in re.finditer(re.escape(needle), raw.lower())]
            hits += [match.start() for match in _ESCAPED.finditer(raw)]
            places = np.array(sorted(hits), dtype=np.int64) + base
            rows = np.searchsorted(found.starts, places, "right")
            yield np.unique(rows) - 1 + first, (first + len(found.starts)) / max(1, self.count)

    def close(self) -> None:
        """Let go of the file and of what was copied of it."""
        self._scan.close()
        self._file.close()
