"""Random access to the rows of a file that may be too large to read: for the screen.

Only the places of the lines are held (24 bytes a row). A line is parsed when it is looked at.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.data.sources import (
    LINE_LIMIT_BYTES,
    Rejected,
    Row,
    check_file,
    is_document,
    parse_line,
    read_rows,
)

_CHUNK_BYTES = 4 << 20
Places = npt.NDArray[np.int64]


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
        self._chunks: list[tuple[Places, Places, Places]] = []
        self._firsts: list[int] = []
        self._rows: list[Row | Rejected] | None = None
        self._file = self.path.open("rb")
        self._size = os.fstat(self._file.fileno()).st_size
        self._offset = 0
        self._line_start = 3 if self._file.read(3) == b"\xef\xbb\xbf" else 0
        self._line = 1
        self._file.seek(0)
        self._document = is_document(self.path, self._file)

    @property
    def scanned(self) -> float:
        """Part of the file that was looked through, 0 to 1."""
        return 1.0 if self.complete else self._offset / max(1, self._size)

    def scan(self, limit_bytes: int = _CHUNK_BYTES) -> bool:
        """Look through some more of the file; True while there is more to come."""
        if self.complete:
            return False
        if self._document:
            self._rows = list(read_rows([self.path]))
            self.count, self.complete = len(self._rows), True
            return False
        end = self._offset + limit_bytes
        while self._offset < min(end, self._size):
            self._scan_chunk(min(_CHUNK_BYTES, end - self._offset, self._size - self._offset))
        if self._offset >= self._size:
            if self._line_start < self._size:  # a last line without a newline
                self._add(np.array([self._size], dtype=np.int64))
            self.complete = True
        return not self.complete

    def scan_all(self) -> None:
        """Look through the rest of the file."""
        while self.scan(64 << 20):
            pass

    def row(self, number: int) -> Row | Rejected:
        """One row, read and parsed now. Raises IndexError for a row that was not found (yet)."""
        if not 0 <= number < self.count:
            raise IndexError(f"row {number} of {self.count}")
        if self._rows is not None:
            return self._rows[number]
        chunk = bisect_right(self._firsts, number) - 1
        place = number - self._firsts[chunk]
        starts, ends, lines = self._chunks[chunk]
        start, end, line = int(starts[place]), int(ends[place]), int(lines[place])
        # pread, not mmap: a file that is cut short while it is shown must not kill the screen.
        raw = os.pread(self._file.fileno(), min(end - start, LINE_LIMIT_BYTES + 1), start)
        return parse_line(raw, str(self.path), line)

    def close(self) -> None:
        self._file.close()

    def _scan_chunk(self, length: int) -> None:
        raw = os.pread(self._file.fileno(), length, self._offset)
        if not raw:  # cut short since it was opened
            self._size = self._offset
            return
        newlines = np.flatnonzero(np.frombuffer(raw, dtype=np.uint8) == 10) + self._offset
        self._offset += len(raw)
        if len(newlines):
            self._add(newlines.astype(np.int64))

    def _add(self, ends: Places) -> None:
        """Take in the lines that end at these places (the newline, or the end of the file)."""
        starts = np.concatenate([np.array([self._line_start], dtype=np.int64), ends[:-1] + 1])
        lines = np.arange(self._line, self._line + len(ends), dtype=np.int64)
        self._line_start = int(ends[-1]) + 1
        self._line += len(ends)
        full = ends > starts
        self._clear_blanks(full, starts, ends)
        if full.any():
            self._firsts.append(self.count)
            self._chunks.append((starts[full], ends[full], lines[full]))
            self.count += int(full.sum())

    def _clear_blanks(self, full: npt.NDArray[np.bool_], starts: Places, ends: Places) -> None:
        """Unmark lines of white space. Only those that begin with some are read again."""
        base = int(starts[0])
        raw = np.frombuffer(
            os.pread(self._file.fileno(), int(ends[-1]) - base, base), dtype=np.uint8
        )
        inside = full & (starts - base < len(raw))
        first = np.full(len(starts), ord("{"), dtype=np.uint8)
        first[inside] = raw[starts[inside] - base]
        for place in np.flatnonzero(np.isin(first, np.frombuffer(b" \t\r", dtype=np.uint8))):
            line = raw[starts[place] - base : ends[place] - base].tobytes()
            full[place] = bool(line.strip())
