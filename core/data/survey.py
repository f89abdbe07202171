"""One pass over all rows of a configuration: what becomes of each, in arrays of one entry a row.

The inspector filters, sorts and draws from the arrays while they fill; the report and the
preparation take their account from the same pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.config.schema import RunConfig
from core.data.chats import Kept, Pipeline, Tally, fingerprint
from core.data.formats import Defect
from core.data.sources import Rejected, read_rows
from core.data.tokens import ChatCodec

Array = npt.NDArray[Any]

_BATCH = 1024
_COLUMNS = {
    "reason": np.uint16,
    "chars": np.uint32,
    "turns": np.uint16,
    "tokens": np.uint32,
    "loss_tokens": np.uint32,
    "file": np.uint16,
    "line": np.uint32,
    "flags": np.uint32,
    "origin": np.int32,
}


@dataclass
class Progress:
    """How far a survey is: bytes of ``total_bytes``, and for how long it has run."""

    done_bytes: int = 0
    total_bytes: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Bytes a second so far."""
        return self.done_bytes / max(1e-3, time.monotonic() - self.began)

    @property
    def remaining_seconds(self) -> float | None:
        """Seconds that the rest takes at this rate; None before anything is known."""
        return (self.total_bytes - self.done_bytes) / self.rate if self.done_bytes else None


class Survey:
    """The rows of ``config.data.files``, in the order of the files. ``run`` fills it.

    One thread may read while another runs: the arrays always have ``done`` entries. ``reason`` is
    an index into ``reasons`` (0: kept); ``flags`` has a bit for each of ``notes``; ``origin`` is
    the number of the row that this one repeats, else -1; ``tokens`` are those before the cut.
    """

    def __init__(self, config: RunConfig, codec: ChatCodec | None = None):
        self.config = config
        self.codec = codec
        self.files: list[str] = []
        self.reasons: list[str] = ["kept"]
        self.notes: list[str] = []
        self.tally = Tally()
        self.done = 0
        self.complete = False
        self.progress = Progress()
        self._columns: dict[str, Array] = {n: np.zeros(_BATCH, t) for n, t in _COLUMNS.items()}
        self._firsts: dict[bytes, int] = {}

    reason = property(lambda self: self._column("reason"))
    chars = property(lambda self: self._column("chars"))
    turns = property(lambda self: self._column("turns"))
    tokens = property(lambda self: self._column("tokens"))
    loss_tokens = property(lambda self: self._column("loss_tokens"))
    file = property(lambda self: self._column("file"))
    line = property(lambda self: self._column("line"))
    flags = property(lambda self: self._column("flags"))
    origin = property(lambda self: self._column("origin"))

    def run(self, on_progress: Callable[[Survey], None] | None = None) -> Survey:
        """Look at all rows. ``on_progress`` hears of it now and then; it may raise to end it.

        Raises InputError for files that cannot be used at all.
        """
        data, pipeline = self.config.data, Pipeline(self.config)
        self.progress = Progress(total_bytes=sum(Path(n).stat().st_size for n in data.files))
        for name in data.files:
            self.files.append(str(Path(name)))
            rows = read_rows([name], self.tally.blank_lines)
            outcomes = (pipeline.outcome(row) for row in rows)
            while batch := list(islice(outcomes, _BATCH)):
                self._take(batch)
                if on_progress is not None:
                    on_progress(self)
            self.progress.done_bytes += Path(name).stat().st_size
        self.complete = True
        if on_progress is not None:
            on_progress(self)
        return self

    def _column(self, name: str) -> Array:
        done = self.done
        return self._columns[name][:done]

    def _take(self, batch: list[Kept | Rejected]) -> None:
        """Enter rows that come next."""
        self._make_room(self.done + len(batch))
        for number, outcome in enumerate(self._in_tokens(batch), self.done):
            self._columns["file"][number] = len(self.files) - 1
            self._columns["line"][number] = outcome.line
            self._columns["origin"][number] = -1
            if isinstance(outcome, Rejected):
                self._reject(number, outcome.file, outcome.reason)
            else:
                self._keep(number, outcome)
        self.done += len(batch)

    def _in_tokens(self, batch: list[Kept | Rejected]) -> Iterator[Kept | Rejected]:
        """The rows, with the numbers of tokens entered where a codec is there."""
        if self.codec is None:
            yield from batch
            return
        kept = [row for row in batch if isinstance(row, Kept)]
        limit = self.config.data.max_length
        encoded = iter(self.codec.encode_many([row.chat for row in kept], limit))
        for number, row in enumerate(batch, self.done):
            result = next(encoded) if isinstance(row, Kept) else None
            if isinstance(result, Defect):
                yield Rejected(row.file, row.line, result.reason, result.detail)
                continue
            if result is not None:
                self._columns["tokens"][number] = result.full_length
                self._columns["loss_tokens"][number] = result.loss_tokens
            yield row

    def _keep(self, number: int, row: Kept) -> None:
        self._columns["chars"][number] = sum(len(turn["content"]) for turn in row.chat)
        self._columns["turns"][number] = len(row.chat)
        first = self._firsts.setdefault(fingerprint(row.chat), number)
        if first != number:
            self._columns["origin"][number] = first
            self._reject(number, row.file, "duplicate")
            return
        self._columns["flags"][number] = sum(1 << self._note(name) for name in set(row.notes))
        self.tally.keep(row.file)
        self.tally.formats[row.format] += 1
        self.tally.notes.update(row.notes)

    def _reject(self, number: int, file: str, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)
        self._columns["reason"][number] = self.reasons.index(reason)
        self.tally.reject(file, reason)

    def _note(self, name: str) -> int:
        if name not in self.notes:
            self.notes.append(name)
        return self.notes.index(name)

    def _make_room(self, count: int) -> None:
        for name, column in self._columns.items():
            if len(column) < count:
                grown = np.zeros(max(count, 2 * len(column)), column.dtype)
                grown[: len(column)] = column
                self._columns[name] = grown


def survey(
    config: RunConfig,
    codec: ChatCodec | None = None,
    on_progress: Callable[[Survey], None] | None = None,
) -> Survey:
    """Look at all rows of a configuration; with a ``codec`` also in tokens."""
    return Survey(config, codec).run(on_progress)
