"""Random access to the rows of a file that may be too large to read: for the screen.

Of a row only its place is held (20 bytes); it is read and parsed when it is looked at.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

from core.data.scan import Found, scan_of
from core.data.sources import Rejected, Row, check_file, look, open_file

_PIECE_BYTES = 4 << 20


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

    def close(self) -> None:
        """Let go of the file and of what was copied of it."""
        self._scan.close()
        self._file.close()
