"""Overlay files near data: those that decide about it, and the name of a new one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.config.counted import counted
from core.config.errors import FailedError, FinetuiError
from core.config.samples import sample_data
from core.data.overlay import SUFFIX, Overlay, begins_as_overlay
from core.data.read.hub.dataset import named

_NAMED = 2


@dataclass(frozen=True)
class Nearby:
    """An overlay file that decides about data, or that cannot be read."""

    path: Path
    dropped: int = 0
    edited: int = 0
    others: tuple[str, ...] = ()
    """Other files, by their names, about which it decides as well."""
    problem: str = ""
    """Why it cannot be read; empty when it can."""
    torn: bool = False
    """Whether its last line has no end, and is passed over."""

    @property
    def words(self) -> str:
        """What was decided, such as `2 rows dropped, 1 edited`."""
        rows = counted(self.dropped, "row") + " dropped" if self.dropped else ""
        edited = str(self.edited) if rows else counted(self.edited, "row")
        return ", ".join(part for part in (rows, f"{edited} edited" * bool(self.edited)) if part)

    @property
    def about_others(self) -> str:
        """Which other files it is about, too; empty when it is about none."""
        if not self.others:
            return ""
        more = f" and {len(self.others) - _NAMED:,} more" if len(self.others) > _NAMED else ""
        return ", ".join(self.others[:_NAMED]) + more


def near(files: Sequence[str]) -> list[Nearby]:
    """The overlay files that decide about any of these files, the one written last first.

    They are looked for beside the files and in the current folder. One that cannot be read is
    there with its problem when its name is that of the data.
    """
    stems = {Path(name).stem for name in files}
    found = [(path.stat().st_mtime_ns, one) for path in _overlays(files)
             if (one := _looked_into(path, files, stems)) is not None]  # fmt: skip
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def new_path(files: Sequence[str], names: Iterable[str] = ()) -> Path:
    """A path that is free for a new overlay of these files: beside the first of them.

    It is in the current folder where that one cannot be written to, or belongs to a hub's cache
    (``names`` are those that the settings have) or to the samples of the program.
    """
    folder = _folder(files, names)
    stem = next((Path(name).stem for name in files if Path(name).stem), "data")
    tried = (f"{stem}{'' if n == 1 else f'-{n}'}{SUFFIX}" for n in range(1, 1_000_000))
    return next(folder / name for name in tried if _is_free(folder / name))


def _is_free(path: Path) -> bool:
    """Whether nothing is there, or an overlay of which no decision is left."""
    if not os.path.lexists(path):
        return True
    try:
        return path.is_file() and begins_as_overlay(path) and not len(Overlay(path))
    except FinetuiError:
        return False


def _folder(files: Sequence[str], names: Iterable[str]) -> Path:
    if not files or any(named(name) for name in names):
        return Path.cwd()
    folder = Path(files[0]).expanduser().absolute().parent
    return folder if os.access(folder, os.W_OK) and folder != _samples() else Path.cwd()


def _samples() -> Path | None:
    try:
        return sample_data()
    except FailedError:
        return None


def _overlays(files: Sequence[str]) -> Iterator[Path]:
    """All overlay files that may be about these files."""
    folders = dict.fromkeys(Path(name).expanduser().absolute().parent for name in files)
    for folder in dict.fromkeys([*folders, Path.cwd()]):
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(SUFFIX))
        except OSError:
            continue  # a folder that may be entered but not listed: there is nothing to be found
        yield from (folder / name for name in names if (folder / name).is_file())


def _looked_into(path: Path, files: Sequence[str], stems: set[str]) -> Nearby | None:
    """What an overlay file has about these files; None for one that has nothing."""
    ours = any(path.stem == stem or path.stem.startswith(f"{stem}-") for stem in stems)
    try:
        if not begins_as_overlay(path) and not ours:
            return None
        overlay = Overlay(path)
    except FinetuiError as error:
        return Nearby(path, problem=error.message) if ours else None
    places = {overlay.place(name) for name in files}
    marks = [mark for mark in overlay.marks if mark.key[0] in places]
    if not marks:
        return None
    dropped = sum(mark.value is None for mark in marks)
    others = dict.fromkeys(Path(m.key[0]).name for m in overlay.marks if m.key[0] not in places)
    return Nearby(path, dropped, len(marks) - dropped, tuple(others), torn=overlay.torn)
