"""Files cut into pieces that can be scanned apart: ranges of whole lines, or rows read here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core.config.errors import FailedError
from core.data.read.hub.sample import WHOLE, Sampling
from core.data.read.sources import Rejected, Row, Source, expand, look, open_file, opened, rows_of

PIECE_BYTES = 4 << 20
FIRST_BYTES = 64 << 10
"""Size of the first piece; each is twice as large as the one before, so that rows show at once."""
PIECE_ROWS = 2000
BOM_BYTES = 3
LOOK_BYTES = 16 << 10
LARGEST_KEY = (1 << 64) - 1
EVERY_KEY = LARGEST_KEY + 1
"""A bound that no key reaches: all rows are sampled."""


@dataclass(frozen=True)
class Piece:
    """Part of a file: whole lines in a range of bytes, or rows that were read from it."""

    number: int
    file: str
    reached: int
    """Bytes of all files that are done with this piece."""
    first_line: int | None = 1
    """Number of its first line; None where lines are only counted when it is scanned."""
    start: int = 0
    end: int = 0
    rows: list[Row | Rejected] | None = None
    below: int = EVERY_KEY
    """Rows with a smaller key are sampled."""


class Pieces:
    """The pieces of all files that ``names`` mean, in order; ``say`` hears of downloads,
    and ``sampling`` says how much of a hub's large data set is taken.

    ``numbered`` pieces know their first line, for which all of a file is read here too. Raises
    InputError for a file that cannot be used at all.
    """

    def __init__(
        self,
        names: Sequence[str | Path],
        say: Callable[[str], None] | None = None,
        *,
        numbered: bool = True,
        sampling: Sampling = WHOLE,
    ):
        if not names:
            expand(names)
        found = [
            (entry, path)
            for entry, name in enumerate(names)
            for path in expand([name], say, sampling)
        ]
        self.paths = [path for _, path in found]
        self.entries = {str(path): entry for entry, path in reversed(found)}
        """Which of the names each file comes from."""
        self.sources: list[Source] = []
        for path in self.paths:
            with open_file(path) as file:
                self.sources.append(look(path, file))
        self.blank_lines: Counter[str] = Counter()
        """Blank lines of files whose rows are read here."""
        self.below = EVERY_KEY
        """The bound that the next piece gets."""
        self._numbered = numbered
        self._piece_bytes = FIRST_BYTES
        self._stamps = [_stamp(path) for path in self.paths]
        self._number = 0

    @property
    def total_bytes(self) -> int:
        return sum(stamp[0] for stamp in self._stamps)

    def __iter__(self) -> Iterator[Piece]:
        before = 0
        for source, (size, *_) in zip(self.sources, self._stamps, strict=True):
            pieces = self._ranges if source.plain else self._batches
            yield from pieces(source, before, size)
            before += size
        self.check()

    def check(self) -> None:
        """Raise FailedError when a file is not as it was when this began."""
        for path, stamp in zip(self.paths, self._stamps, strict=True):
            if _stamp(path) != stamp:
                raise file_changed(path)

    def _ranges(self, source: Source, before: int, _: int) -> Iterator[Piece]:
        name, start, line = str(source.path), BOM_BYTES if source.bom else 0, 1
        with open_file(source.path) as file:
            while True:
                end = _line_end(file.fileno(), start, self._piece_bytes)
                if end == start:
                    return
                first = line if self._numbered else None
                yield Piece(self._next(), name, before + end, first, start, end, below=self.below)
                if self._numbered:
                    line += os.pread(file.fileno(), end - start, start).count(b"\n")
                start = end
                self._piece_bytes = min(2 * self._piece_bytes, PIECE_BYTES)

    def _batches(self, source: Source, before: int, size: int) -> Iterator[Piece]:
        part = [0.0]
        name = str(source.path)
        with opened(source.path) as file:
            rows = rows_of(source, file, self.blank_lines, lambda done: part.__setitem__(0, done))
            while batch := list(islice(rows, PIECE_ROWS)):
                reached = before + int(part[0] * size)
                yield Piece(self._next(), name, reached, rows=batch, below=self.below)

    def _next(self) -> int:
        self._number += 1
        return self._number


def file_changed(path: str | Path) -> FailedError:
    """What to say of a file that is not as it was when its reading began."""
    return FailedError(
        f"{path} was changed while it was read",
        kind="file_changed",
        remedies=("wait until it is written, then start again",),
    )


def _stamp(path: Path) -> tuple[int, int, int]:
    """Size, time of change and inode; what is gone has none of them."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return status.st_size, status.st_mtime_ns, status.st_ino


def _line_end(descriptor: int, start: int, about: int) -> int:
    """Where a line ends, at or behind ``about`` bytes from ``start``, else the end of the file."""
    end = start + about - 1
    while raw := os.pread(descriptor, LOOK_BYTES, end):
        newline = raw.find(b"\n")
        if newline >= 0:
            return end + newline + 1
        end += len(raw)
    return max(start, os.fstat(descriptor).st_size)
