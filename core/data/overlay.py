"""Rows dropped and edited by hand, kept in a file of their own: the data itself is never changed.

A decision belongs to a place (file and line) and to the content that stood there. When the data
changes, decisions that fit no row any more are noticed, and a run is refused until they are
settled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.counted import counted
from core.config.errors import FailedError, InputError, RefusedError
from core.data.sources import Rejected, Row, show

DROPPED = "dropped_by_hand"
"""The reason of rows that were dropped in the inspector."""
EDITED = "edited_by_hand"
"""The note of rows whose text was changed in the inspector."""
SUFFIX = ".overlay"

_HEADER = {"finetui_overlay": 1}
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
        self._marks: dict[Key, Mark] = {}
        self._at: dict[tuple[str, int], int] = {}
        self._places: dict[str, str] = {}
        self._undo: list[tuple[Key, Mark | None]] = []
        if self.path is not None and self.path.exists():
            for mark, taken_back in _read(self.path):
                self._put(mark.key, None if taken_back else mark)

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
        """Decisions that found no row. Ask when all rows were read."""
        return [mark for key, mark in self._marks.items() if key not in self.applied]

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

    def drop(self, row: Row | Rejected) -> None:
        """Leave this row out."""
        self._decide(self._key(row), None, dropped=True)

    def edit(self, row: Row | Rejected, value: dict[str, Any]) -> None:
        """Let ``value`` take the place of this row."""
        self._decide(self._key(row), value)

    def restore(self, row: Row | Rejected) -> None:
        """Take the row as the file has it again."""
        self._decide(self._key(row), None)

    def forget(self, marks: Iterable[Mark]) -> None:
        """Let decisions go, such as those that fit no row any more."""
        for mark in list(marks):
            self._decide(mark.key, None)

    def undo(self) -> Key | None:
        """Take the last decision of this session back; None when there is none left."""
        if not self._undo:
            return None
        key, before = self._undo.pop()
        self._write(key, before)
        self._put(key, before)
        return key

    def _decide(self, key: Key, value: dict[str, Any] | None, *, dropped: bool = False) -> None:
        before = self._marks.get(key)
        mark = Mark(key, value) if dropped or value is not None else None
        if mark != before:
            self._write(key, mark)
            self._put(key, mark)
            self._undo.append((key, before))

    def _put(self, key: Key, mark: Mark | None) -> None:
        had = self._marks.pop(key, None) is not None
        if mark is not None:
            self._marks[key] = mark
        at = key[:2]
        self._at[at] = self._at.get(at, 0) + (mark is not None) - had
        if not self._at[at]:
            del self._at[at]

    def _write(self, key: Key, mark: Mark | None) -> None:
        if self.path is None:
            raise InputError(
                "there is no overlay file to keep this in",
                kind="no_overlay",
                remedies=(f"set data.overlay to a name that ends in {SUFFIX}",),
            )
        entry: dict[str, Any] = dict(zip(("file", "line", "sha256"), key, strict=True))
        entry["do"] = "restore" if mark is None else "drop" if mark.value is None else "edit"
        if mark is not None and mark.value is not None:
            entry["row"] = mark.value
        try:
            _append(self.path, entry)
        except OSError as error:
            raise FailedError(
                f"cannot write {self.path}: {error.strerror}", kind="overlay_not_written"
            ) from error

    def _key(self, row: Row | Rejected) -> Key:
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


def default_path(files: Iterable[str], folder: Path, taken: Callable[[Path], bool]) -> Path:
    """A name for a new overlay of these files, in ``folder``, that is not taken."""
    stem = next((Path(name).stem for name in files if Path(name).stem), "data")
    names = (f"{stem}{'' if n == 1 else f'-{n}'}{SUFFIX}" for n in range(1, 1_000_000))
    return next(folder / name for name in names if not taken(folder / name))


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _append(path: Path, entry: dict[str, Any]) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        lines = [entry] if size else [_HEADER, entry]
        text = "".join(json.dumps(line, ensure_ascii=True, default=str) + "\n" for line in lines)
        if size:
            file.seek(size - 1)
            text = text if file.read(1) == b"\n" else "\n" + text  # a line torn by a kill
        file.write(text.encode())
        os.fsync(descriptor)


def _read(path: Path) -> Iterator[tuple[Mark, bool]]:
    """The decisions of a file in their order, and whether each was taken back."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", kind="bad_overlay") from error
    if lines == [""]:
        return  # made this moment, and not written yet
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line) if line.strip() else None
            if number == 1 and entry != _HEADER:
                raise ValueError("it does not begin as one")
            if number > 1 and entry is not None:
                yield _mark(entry), entry["do"] == "restore"
        except (ValueError, KeyError, TypeError) as error:
            if number > 1 and isinstance(error, json.JSONDecodeError):
                continue  # torn by a kill: it was never told to be there
            raise InputError(
                f"{path}:{number} is no overlay of finetui: {error}",
                kind="bad_overlay",
                remedies=("set data.overlay to a file that the inspector wrote, or clear it",),
            ) from error


def _mark(entry: dict[str, Any]) -> Mark:
    key = (str(entry["file"]), int(entry["line"]), str(entry["sha256"]))
    value = entry["row"] if entry["do"] == "edit" else None
    if value is not None and not isinstance(value, dict):
        raise ValueError("an edited row is not an object")
    return Mark(key, value)
