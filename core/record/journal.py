"""The journal: an append-only file of records, one JSON object a line. It is the truth of a run.

One process at a time appends (the holder of the run's lock, or its worker); any number read.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from core.record.events import SCHEMA, Event, JournalOpened, Record, from_dict

_FSYNC_SECONDS = 5.0


class Journal:
    """Appends records. Safe to call from several threads.

    Each line is handed to the operating system at once, so that it survives a kill of this
    process; it is forced to disk every few seconds and on ``sync``, so that it survives the
    machine.
    """

    def __init__(self, path: Path, *, attempt: int = 0, run: str = ""):
        self.attempt = attempt
        self.stage = ""
        self._guard = threading.Lock()
        self._synced = time.monotonic()
        fresh = not path.exists() or path.stat().st_size == 0
        newest = None if fresh else last_line(path)
        self._seq = int(newest["seq"]) if newest else 0
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file: IO[bytes] = os.fdopen(descriptor, "ab", buffering=0)
        if fresh:
            self.append(JournalOpened(schema=SCHEMA, run=run or path.parent.name))
        elif not _ends_with_newline(path):
            self._file.write(b"\n")  # a line torn by a kill stays alone; readers pass over it

    def append(self, event: Event) -> Record:
        """Write one event and return its record."""
        with self._guard:
            self._seq += 1
            record = Record(self._seq, time.time(), self.attempt, self.stage, event)
            self._file.write(encode(record))
            if time.monotonic() - self._synced > _FSYNC_SECONDS:
                self._sync()
        return record

    def sync(self) -> None:
        """Force everything to disk."""
        with self._guard:
            self._sync()

    def close(self) -> None:
        with self._guard:
            if not self._file.closed:
                self._sync()
                self._file.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


class Tail:
    """Reads a journal as it grows. ``poll`` returns the records that came since the last call."""

    def __init__(self, path: Path):
        self.path = path
        self.unreadable = 0
        """Lines that were not records (torn by a kill, or garbage)."""
        self._offset = 0
        self._rest = b""

    def poll(self, limit_bytes: int = 1 << 24) -> list[Record]:
        """New complete records, at most about ``limit_bytes`` of them; a torn last line waits."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(limit_bytes)
        except FileNotFoundError:
            return []
        self._offset += len(chunk)
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        records = (self._decode(line) for line in lines if line.strip())
        return [record for record in records if record is not None]

    def _decode(self, line: bytes) -> Record | None:
        try:
            return decode(line)
        except (ValueError, KeyError, TypeError):
            self.unreadable += 1
            return None


def read(path: Path) -> Iterator[Record]:
    """All records of a journal, in order."""
    tail = Tail(path)
    while batch := tail.poll():
        yield from batch


def encode(record: Record) -> bytes:
    """One line. NaN and infinity become the strings NaN, Infinity, -Infinity: valid JSON."""
    plain = _finite(record.as_dict())
    return json.dumps(plain, ensure_ascii=False, allow_nan=False).encode(
        "utf-8", "surrogatepass"
    ) + b"\n"  # fmt: skip


def decode(line: bytes) -> Record | None:
    """A record from its line; None for a kind that a newer version wrote.

    Raises ValueError, KeyError or TypeError for anything else.
    """
    value = json.loads(line.decode("utf-8", "replace"))
    if not isinstance(value, dict):
        raise TypeError("a journal line must be an object")
    event = value["event"]
    for key, item in event.items():
        if isinstance(item, str) and item in _NAMES:
            event[key] = _NAMES[item]
    return from_dict(value)


_NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def last_line(path: Path) -> dict[str, Any] | None:
    """The newest good line of a journal as plain values, read from the end; None: there is none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        end = file.seek(0, os.SEEK_END)
        window = 1 << 16
        while True:
            start = max(0, end - window)
            file.seek(start)
            lines = file.read(end - start).split(b"\n")
            for line in reversed(lines if start == 0 else lines[1:]):
                try:
                    value = json.loads(line)
                    return {"seq": int(value["seq"]), "attempt": int(value["attempt"]), **value}
                except (ValueError, KeyError, TypeError):
                    continue
            if start == 0:
                return None
            window *= 4


def last_attempt(path: Path) -> int:
    """The number of the newest attempt in a journal; 0 when there was none."""
    line = last_line(path)
    return int(line["attempt"]) if line else 0
