"""Rows dropped and edited by hand, kept in a file of their own: the data itself is never changed.

A decision belongs to a place (file and line) and to the content that stood there. When the data
changes, decisions that fit no row any more are noticed, and a run is refused until they are
settled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.counted import counted
from core.config.errors import FailedError, InputError, RefusedError
from core.data.read.sources import Rejected, Row, show

DROPPED = "dropped_by_hand"
"""The reason of rows that were dropped in the inspector."""
EDITED = "edited_by_hand"
"""The note of rows whose text was changed in the inspector."""
SUFFIX = ".overlay"

_HEADER = {"finetui_overlay": 1}
_HEADER_BYTES = 200
_NAMED = 3

Key = tuple[str, int, str]
"""File, line and digest of the row as the file has it."""


@dataclass(frozen=True)
class Mark:
    """What was decided about one row. ``value`` is what takes its place; None: it is dropped."""

    key: Key
    value: dict[str, Any] | None


class Overlay:
    """Decisions about rows, by their place and content. ``path`` None: none, and none can be made.

    One process writes; each decision is one line at the end of the file, and is there when the
    method returns. Raises InputError for a file that is no overlay.
    """

    def __init__(self, path: str | Path | None = None):
        self.path = None if path is None else Path(path).expanduser().absolute()
        self.applied: set[Key] = set()
        """Decisions that found their row so far. Add what other processes found."""
        self.written = 0
        """Decisions, and taking them back, that were written to the file since it was read."""
        self._marks: dict[Key, Mark] = {}
        self._at: dict[tuple[str, int], int] = {}
        self._places: dict[str, str] = {}
        self._undo: list[dict[Key, Mark | None]] = []
        """What each decision changed: keys, and what had been decided about them before."""
        self.torn = False
        """Whether the last line of the file was passed over, since it has no end."""
        if self.path is not None and self.path.exists():
            for mark, taken_back in _read(self.path):
                self._put(mark.key, None if taken_back else mark)
            self.torn = _is_torn(self.path)

    def __len__(self) -> int:
        return len(self._marks)

    @property
    def marks(self) -> list[Mark]:
        """All decisions, in the order they were made."""
        return list(self._marks.values())

    @property
    def dropped(self) -> int:
        return sum(mark.value is None for mark in self._marks.values())

    @property
    def edited(self) -> int:
        return len(self._marks) - self.dropped

    @property
    def fingerprint(self) -> str:
        """Hash of all decisions, in any order; the same as that of no file when there are none."""
        lines = sorted(json.dumps([*mark.key, mark.value]) for mark in self._marks.values())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    # -- reading -------------------------------------------------------------------------------

    def apply(self, row: Row | Rejected) -> Row | Rejected:
        """The row as it was decided: itself, changed, or rejected as dropped by hand."""
        mark = self.mark_of(row)
        if mark is None:
            return row
        self.applied.add(mark.key)
        if mark.value is not None:
            return Row(row.file, row.line, mark.value)
        raw = row.raw if isinstance(row, Rejected) else show(_text(row.value).encode())
        return Rejected(row.file, row.line, DROPPED, "dropped by hand in the inspector", raw)

    def mark_of(self, row: Row | Rejected) -> Mark | None:
        """What was decided about a row as the file has it."""
        if not self._at:
            return None
        place = self.place(row.file)
        if (place, row.line) not in self._at:
            return None
        return self._marks.get((place, row.line, digest(row)))

    def unmet(self) -> list[Mark]:
        """Decisions that found no row. Ask when all rows were read.

        What is about another file, which is there and of which no row was read, is not missed: it
        belongs to other data.
        """
        lost = [mark for key, mark in self._marks.items() if key not in self.applied]
        other = {place for place in {mark.key[0] for mark in lost} if self._elsewhere(place)}
        return [mark for mark in lost if mark.key[0] not in other]

    def join(self, found: Overlay) -> None:
        """Take in what another reading of data, with the same decisions, has found."""
        self.applied |= found.applied
        self._places |= found._places

    def _elsewhere(self, place: str) -> bool:
        """Whether a file, as the overlay names it, is there and not among those that were read."""
        if self.path is None or place in self._places.values():
            return False
        return (self.path.parent / place).is_file()

    def check(self) -> None:
        """Raise RefusedError when a decision found no row: the data changed since it was made."""
        lost = self.unmet()
        if lost:
            places = ", ".join(f"{mark.key[0]}:{mark.key[1]}" for mark in lost[:_NAMED])
            more = f" and {len(lost) - _NAMED:,} more" if len(lost) > _NAMED else ""
            raise RefusedError(
                f"{len(lost):,} of {counted(len(self), 'decision')} in {self.path} "
                f"{'fits' if len(lost) == 1 else 'fit'} no row any more: "
                f"{places}{more}; the data was changed since they were made",
                kind="overlay_unmet",
                remedies=(
                    "open the data in the inspector: its problems list them, and lets them go",
                    "or clear data.overlay, to take the data as it is now",
                ),
            )

    # -- deciding ------------------------------------------------------------------------------

    def drop(self, *rows: Row | Rejected, goes_on: bool = False) -> None:
        """Leave rows out; all of them are in the file when this returns, or none is. ``goes_on``:
        `undo` takes them back together with the decision before."""
        marks = (Mark(self.key(row), None) for row in rows)
        self._decide_all({mark.key: mark for mark in marks}, goes_on=goes_on)

    def edit(self, row: Row | Rejected, value: dict[str, Any]) -> None:
        """Let ``value`` take the place of this row."""
        key = self.key(row)
        self._decide(key, Mark(key, value))

    def restore(self, *rows: Row | Rejected, goes_on: bool = False) -> None:
        """Take rows as the file has them again, as ``drop`` leaves them out."""
        self._decide_all({self.key(row): None for row in rows}, goes_on=goes_on)

    def forget(self, marks: Iterable[Mark]) -> None:
        """Let decisions go, such as those that fit no row any more."""
        for mark in list(marks):
            self._decide(mark.key, None)

    @property
    def last(self) -> list[Key]:
        """Of which rows `undo` takes the decision back; none when there is nothing to undo."""
        return list(self._undo[-1]) if self._undo else []

    def undo(self) -> list[Key]:
        """Take back what was decided last since the data was opened, of all its rows at once."""
        if not self._undo:
            return []
        self._write(*self._undo[-1].items())
        changed = self._undo.pop()
        for key, before in changed.items():
            self._put(key, before)
        return list(changed)

    def _decide(self, key: Key, mark: Mark | None) -> None:
        self._decide_all({key: mark})

    def _decide_all(self, marks: Mapping[Key, Mark | None], *, goes_on: bool = False) -> None:
        new = {key: mark for key, mark in marks.items() if self._marks.get(key) != mark}
        if not new:
            return
        self._write(*new.items())
        if not (goes_on and self._undo):
            self._undo.append({})
        for key, mark in new.items():
            self._undo[-1].setdefault(key, self._marks.get(key))
            self._put(key, mark)

    def _put(self, key: Key, mark: Mark | None) -> None:
        had = self._marks.pop(key, None) is not None
        if mark is not None:
            self._marks[key] = mark
        at = key[:2]
        self._at[at] = self._at.get(at, 0) + (mark is not None) - had
        if not self._at[at]:
            del self._at[at]

    def _write(self, *decided: tuple[Key, Mark | None]) -> None:
        if self.path is None:
            raise InputError(
                "there is no overlay file to keep this in",
                kind="no_overlay",
                remedies=(f"set data.overlay to a name that ends in {SUFFIX}",),
            )
        try:
            _append(self.path, [_entry(key, mark) for key, mark in decided])
        except OSError as error:
            raise FailedError(
                f"cannot write {self.path}: {error.strerror}; nothing was decided",
                kind="overlay_not_written",
                remedies=("set data.overlay to a file in a folder that can be written to",),
            ) from error
        self.written += len(decided)

    def key(self, row: Row | Rejected) -> Key:
        """What a decision about a row belongs to."""
        return self.place(row.file), row.line, digest(row)

    def place(self, name: str) -> str:
        """A file as the overlay names it: from its own folder, so that both may move together."""
        if name not in self._places:
            path = Path(name).expanduser().absolute()
            base = self.path.parent if self.path is not None else Path.cwd()
            self._places[name] = os.path.relpath(path, base) if path.exists() else name
        return self._places[name]


def require(path: str | Path | None) -> None:
    """Raise InputError for an overlay that settings name and that is not there."""
    if path is not None and not Path(path).expanduser().is_file():
        raise InputError(
            f"there is no file {path}, which data.overlay names: what was decided about rows by "
            "hand would be forgotten",
            kind="no_overlay",
            remedies=(
                "name the file where it is, or start from the folder that it is in",
                "or clear data.overlay, to take the data as it stands",
            ),
        )


def digest(row: Row | Rejected) -> str:
    """Hash of a row as the file has it."""
    text = row.raw if isinstance(row, Rejected) else _text(row.value)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def begins_as_overlay(path: Path) -> bool:
    """Whether a file is an overlay of any version, by its first line. Raises InputError for one
    that cannot be read."""
    try:
        with path.open("rb") as file:
            first = file.readline(_HEADER_BYTES)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", kind="bad_overlay") from error
    try:
        found = json.loads(first)
    except ValueError:
        return False
    return isinstance(found, dict) and found.keys() == _HEADER.keys()


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _entry(key: Key, mark: Mark | None) -> dict[str, Any]:
    entry: dict[str, Any] = dict(zip(("file", "line", "sha256"), key, strict=True))
    entry["do"] = "restore" if mark is None else "drop" if mark.value is None else "edit"
    if mark is not None and mark.value is not None:
        entry["row"] = mark.value
    return entry


def _append(path: Path, entries: list[dict[str, Any]]) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        had = file.readall()
        # What a kill tore was never told to be there; a whole line that lost its end stays.
        whole = _is_json(had[had.rfind(b"\n") + 1 :])
        size = len(had) if whole else had.rfind(b"\n") + 1
        os.ftruncate(descriptor, size)
        lines = entries if size else [_HEADER, *entries]
        text = "".join(json.dumps(line, ensure_ascii=True, default=str) + "\n" for line in lines)
        try:
            left = memoryview((b"\n" if whole else b"") + text.encode())
            while left:
                left = left[file.write(left) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)  # half of what was decided is not left behind
            raise


def _is_torn(path: Path) -> bool:
    """Whether a file that could be read ends in a line that is none."""
    last = path.read_bytes().rpartition(b"\n")[2]
    return bool(last.strip()) and not _is_json(last)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _read(path: Path) -> Iterator[tuple[Mark, bool]]:
    """The decisions of a file in their order, and whether each was taken back."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", kind="bad_overlay") from error
    if lines == [b""]:
        return  # made this moment, and not written yet
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line) if line.strip() else None
            if number == 1 and entry != _HEADER:
                raise ValueError("it does not begin as one")
            if number > 1 and entry is not None:
                yield _mark(entry), entry["do"] == "restore"
        except (ValueError, KeyError, TypeError) as error:
            if 1 < number == len(lines) and not _is_json(line):
                return  # torn by a kill, for it has no end: it was never told to be there
            raise _damaged(path, number, error) from error


def _damaged(path: Path, number: int, error: Exception) -> InputError:
    """A line that says nothing: what was decided in it would be forgotten."""
    where = f"{path}:{number}"
    if number == 1:
        return InputError(
            f"{where} is no overlay of finetui: {error}",
            kind="bad_overlay",
            remedies=("set data.overlay to a file that the inspector wrote, or clear it",),
        )
    return InputError(
        f"{where} is damaged, and with it a decision about a row: {error}",
        kind="bad_overlay",
        remedies=(
            "take the file from a backup",
            f"or remove line {number}, and decide about its row again",
        ),
    )


def _mark(entry: dict[str, Any]) -> Mark:
    key = (str(entry["file"]), int(entry["line"]), str(entry["sha256"]))
    value = entry["row"] if entry["do"] == "edit" else None
    if value is not None and not isinstance(value, dict):
        raise ValueError("an edited row is not an object")
    return Mark(key, value)
