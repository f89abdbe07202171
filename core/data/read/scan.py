"""Looking through a file piece by piece for the places of its rows: what stands behind RowIndex.

Lines of UTF-8 stay where they are. All else is copied while it is looked through, into a file
without a name on disk: the text where it is lines, else the rows, one after the other.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections import Counter
from contextlib import suppress
from typing import IO, NoReturn, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from core.config.errors import FailedError, FinetuiError
from core.data.read import row as limits
from core.data.read.compressed import spool_folder
from core.data.read.row import Rejected, Row, reason_of
from core.data.read.sources import Source, parse_line, rows_of

Places = npt.NDArray[np.int64]

_CHUNK_BYTES = 4 << 20
_BOM_BYTES = 3
_SPACES = np.frombuffer(b" \t\r\v\f", dtype=np.uint8)
_ROW, _REJECTED = b"+", b"-"


class Found:
    """Rows of one piece: where they begin, how long they are (0 to 4 GiB), on which line."""

    def __init__(self, starts: Places, lengths: Places, lines: Places):
        self.starts = starts
        self.lengths = np.minimum(lengths, 0xFFFFFFFF).astype(np.uint32)
        self.lines = lines


class Scan(Protocol):
    """A way to look through one file."""

    ended: bool
    fd: int
    """Where the rows lie at their places, as JSON."""

    @property
    def part(self) -> float:
        """Part of the file that was looked through, 0 to 1."""
        ...

    def step(self, limit_bytes: int) -> list[Found]:
        """Look through about so many bytes more."""
        ...

    def row(self, start: int, length: int, line: int) -> Row | Rejected:
        """The row at a place that was found."""
        ...

    def close(self) -> None:
        """Let go of what was copied."""
        ...


def scan_of(source: Source, file: IO[bytes]) -> Scan:
    """The way to look through this file."""
    return LineScan(source, file) if source.kind == "lines" else RowScan(source, file)


class LineScan:
    """Lines, in the file itself or in a copy of its text as UTF-8."""

    def __init__(self, source: Source, file: IO[bytes]):
        self.ended = False
        self._name = str(source.path)
        self._packed = file
        self._packed_size = max(1, os.fstat(file.fileno()).st_size)
        self._spool = None if source.plain else Spool()
        self._stream = None if source.plain else source.text(file)
        self.fd = file.fileno() if self._spool is None else self._spool.fd
        self._offset = 0
        self._line_start = _BOM_BYTES if source.plain and source.bom else 0
        self._line = 1

    @property
    def part(self) -> float:
        """Part of the file that was looked through, 0 to 1."""
        done = self._offset if self._spool is None else self._packed.tell()
        return done / self._packed_size

    def step(self, limit_bytes: int) -> list[Found]:
        """Look through about so many bytes more."""
        found, end = [], self._offset + limit_bytes
        while not self.ended and self._offset < end:
            block = self._next(min(_CHUNK_BYTES, end - self._offset))
            if block:
                places = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
                found.append(self._lines(places + self._offset, block))
                self._offset += len(block)
            else:
                self.ended = True
                if self._line_start < self._offset:  # a last line without a newline
                    found.append(self._lines(np.array([self._offset], dtype=np.int64), b""))
        return [piece for piece in found if len(piece.starts)]

    def row(self, start: int, length: int, line: int) -> Row | Rejected:
        """The row at a place that was found."""
        # pread, not mmap: a file that is cut short while it is shown must not kill the screen.
        return parse_line(self._read(start, length), self._name, line)

    def close(self) -> None:
        """Let go of the copy."""
        if self._spool is not None:
            self._spool.close()

    def _next(self, size: int) -> bytes:
        if self._stream is None or self._spool is None:
            return os.pread(self.fd, size, self._offset)
        block = self._stream.read(size)
        self._spool.add(block)
        return block

    def _lines(self, ends: Places, block: bytes) -> Found:
        """The lines that end at these places, without blank ones. The last block is empty."""
        if not len(ends):
            return Found(ends, ends, ends)
        starts = np.concatenate([np.array([self._line_start], dtype=np.int64), ends[:-1] + 1])
        lines = np.arange(self._line, self._line + len(ends), dtype=np.int64)
        self._line_start = int(ends[-1]) + 1
        self._line += len(ends)
        full = ends > starts
        for place in self._doubtful(starts, full, block):
            length = int(ends[place] - starts[place])
            if length <= limits.LINE_LIMIT_BYTES:
                full[place] = not self._read(int(starts[place]), length).isspace()
        return Found(starts[full], (ends - starts)[full], lines[full])

    def _doubtful(self, starts: Places, full: npt.NDArray[np.bool_], block: bytes) -> Places:
        """Which of the lines begin with white space: they may be nothing else."""
        inside = full & (starts >= self._offset) & (starts < self._offset + len(block))
        first = np.zeros(len(starts), dtype=np.uint8)
        first[inside] = np.frombuffer(block, dtype=np.uint8)[starts[inside] - self._offset]
        for place in np.flatnonzero(full & ~inside):
            first[place] = self._read(int(starts[place]), 1)[0] if full[place] else 0
        return np.flatnonzero(np.isin(first, _SPACES))

    def _read(self, start: int, length: int) -> bytes:
        return os.pread(self.fd, min(length, limits.LINE_LIMIT_BYTES + 1), start)


class RowScan:
    """Rows of any other kind of file, read once and copied."""

    def __init__(self, source: Source, file: IO[bytes]):
        self.ended = False
        self._name = str(source.path)
        self._file = file
        self._size = max(1, os.fstat(file.fileno()).st_size)
        self._part = 0.0
        self._spool = Spool()
        self._error: Exception | None = None
        self.fd = self._spool.fd
        self._rows = rows_of(source, file, Counter(), self._tell)
        self._columnar = source.kind in ("parquet", "arrow")

    @property
    def part(self) -> float:
        """Part of the file that was looked through, 0 to 1."""
        return self._part if self._columnar else self._file.tell() / self._size

    def step(self, limit_bytes: int) -> list[Found]:
        """Read on for about so many bytes of rows. What ends the file badly is raised at last."""
        if self._error is not None:
            self.ended = True
            raise self._error
        start, parts, lines, size = self._spool.size, [], [], 0
        try:
            while size < limit_bytes:
                row = next(self._rows, None)
                if row is None:
                    self.ended = True
                    break
                parts.append(_packed(row))
                lines.append(row.line)
                size += len(parts[-1])
        except FinetuiError as error:
            self._error = error
            if not parts:
                self.ended = True
                raise
        if not parts:
            return []
        self._spool.add(b"".join(parts))
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths + start
        return [Found(starts, lengths, np.array(lines, dtype=np.int64))]

    def row(self, start: int, length: int, line: int) -> Row | Rejected:
        """The row at a place that was found."""
        raw = os.pread(self._spool.fd, length, start)
        value = json.loads(raw[1:])
        return (
            Row(self._name, line, value) if raw[:1] == _ROW else Rejected(self._name, line, *value)
        )

    def close(self) -> None:
        """Let go of the copy."""
        self._spool.close()

    def _tell(self, part: float) -> None:
        self._part = part


class Spool:
    """A file without a name: it is gone when it is closed, however the program ends."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(dir=spool_folder(), buffering=0)  # noqa: SIM115
        self.fd = self._file.fileno()
        self.size = 0

    def add(self, block: bytes) -> None:
        """Write behind what is there. Raises FailedError when the disk is full."""
        left = memoryview(block)
        try:
            while left:
                left = left[os.pwrite(self.fd, left, self.size + len(block) - len(left)) :]
        except OSError as error:
            _no_room(error)
        self.size += len(block)

    def close(self) -> None:
        """Give the room back."""
        with suppress(OSError):  # a full disk may complain once more
            self._file.close()


def _no_room(error: OSError) -> NoReturn:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "the disk is full" if full else reason_of(error)
    raise FailedError(
        f"cannot unpack a data file in {spool_folder()} to look at it: {what}",
        kind="no_disk_space",
        remedies=("free some space there, or set TMPDIR to another folder",),
    ) from error


def _packed(row: Row | Rejected) -> bytes:
    if isinstance(row, Rejected):
        return _REJECTED + json.dumps([row.reason, row.detail, row.raw]).encode()
    try:
        return _ROW + orjson.dumps(row.value)
    except TypeError:  # a whole number beyond 64 bits
        return _ROW + json.dumps(row.value).encode()
