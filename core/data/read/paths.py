"""From what a person names (files, folders, patterns, data sets of a hub) to files."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from core.config.errors import InputError
from core.config.names import undecoded
from core.data.read.compressed import SUFFIXES
from core.data.read.hub import dataset as datahub
from core.data.read.hub.sample import WHOLE, Sampling
from core.data.read.row import reason_of, refuse

LINES = (".jsonl", ".ndjson")
DOCUMENTS = (".json",)
TABLES = (".csv", ".tsv")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
TEXTS = (".txt", ".md")
ROWS = (*LINES, *DOCUMENTS, *TABLES, *PARQUET, *ARROW)
"""Files that hold rows; plain text has none of its own."""
SUPPORTED = (*ROWS, *TEXTS)

FOLDER_LIMIT = 100_000
"""A folder with more files below it is refused: it is hardly meant as training data."""
_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".bz2", ".xz", ".7z", ".rar")
_ABOUT = ("readme", "license", "licence", "changelog", "notice", "dataset_info", "dataset_infos")
"""Files about the data, which folders often have."""


def kind_suffix(path: Path) -> str:
    """The suffix that tells what a file holds: ``.csv`` of ``a.csv.gz``."""
    name = path.name.lower()
    for packed in SUFFIXES:
        name = name.removesuffix(packed)
    return Path(name).suffix


def is_packed(path: Path) -> bool:
    """Whether the name says that the file is compressed."""
    return path.name.lower().endswith(SUFFIXES)


def expand(
    names: Sequence[str | Path],
    say: Callable[[str], None] | None = None,
    sampling: Sampling = WHOLE,
) -> list[Path]:
    """The data files that these names mean, those of a folder in the order of their names.

    A data set of a hub is downloaded into the hub's cache first, or a sample of it where it is
    large and ``sampling`` says so; ``say`` hears what and how much. Raises InputError for names
    that mean no file.
    """
    if not names:
        raise InputError(
            "no data file is named",
            kind="no_data",
            remedies=("set data.files to files, folders or a data set of the hub",),
        )
    return [path for name in names for path in _expanded(name, say, sampling)]


def check_name(name: str | Path) -> None:
    """Refuse a name that cannot mean data, without a download. Raises InputError."""
    hub = datahub.named(name)
    if hub is None:
        for path in _local(name, None):
            check_file(path)


def absolute_name(name: str) -> str:
    """A name that means the same from any folder; a data set of a hub keeps its own."""
    return name if datahub.named(name) else str(Path(name).expanduser().absolute())


def _expanded(
    name: str | Path, say: Callable[[str], None] | None, sampling: Sampling
) -> Iterable[Path]:
    hub = datahub.named(name)
    return _local(name, say) if hub is None else datahub.fetch(hub, say, sampling)


def _local(name: str | Path, say: Callable[[str], None] | None) -> list[Path]:
    if not str(name).strip():
        refuse("a name of data is empty", "name a file; this folder is called .", kind="no_data")
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return _in_folder(path, say)
        if path.exists() or not glob.has_magic(str(name)):
            return _named_in_text([path])
        found = {Path(p) for p in _matching(str(path))}
    except (OSError, ValueError, RuntimeError) as error:
        refuse(f"cannot look at {name}: {reason_of(error)}", "check its name and permissions")
    files = sorted(p for p in found if is_data(p) and (p.is_file() or not p.exists()))
    if not files:
        refuse(f"no data file matches {name}", "check the pattern", kind="no_data")
    return _named_in_text(_filled(files, str(name), say))


def _matching(pattern: str) -> set[str]:
    """The paths that a pattern means. ``**`` goes through no link: one may lead to itself."""
    before, deep, rest = _split(pattern)
    if not deep:
        return set(glob.glob(pattern))  # noqa: PTH207 - absolute patterns too
    found: set[str] = set()
    for base in glob.glob(before) if before else [""]:  # noqa: PTH207
        for place, folders, _ in os.walk(base or "."):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found |= _matching(f"{glob.escape(place)}/{rest or '*'}")
    return found


def _split(pattern: str) -> tuple[str, bool, str]:
    """A pattern before and behind its first ``**``, and whether it has one."""
    parts = pattern.split("/")
    if "**" not in parts:
        return pattern, False, ""
    place = parts.index("**")
    before = "/".join(parts[:place])
    return before or ("/" if place else ""), True, "/".join(parts[place + 1 :])


def _filled(files: list[Path], name: str, say: Callable[[str], None] | None) -> list[Path]:
    """The files of a folder or pattern that hold something; ``say`` hears of the others."""
    empty = {path: why for path in files if (why := _emptiness(path))}
    if len(empty) == len(files):
        path, why = next(iter(empty.items()))
        refuse(f"{name} has no file that holds data: {path} {why}", "check it", kind="no_data")
    for path, why in empty.items():
        if say is not None:
            say(f"passed over: {path} {why}")
    return [path for path in files if path not in empty]


def _emptiness(path: Path) -> str:
    """Why a file that a folder lists holds nothing; empty for all others."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return "is a link to nothing"
    except OSError:
        return ""  # it is there: whoever opens it says what is wrong
    return "is empty" if stat.S_ISREG(status.st_mode) and not status.st_size else ""


def _named_in_text(files: list[Path]) -> list[Path]:
    """The files, of which no name holds bytes that are not UTF-8: reports could not name it."""
    for path in files:
        if name := undecoded(str(path)):
            refuse(f"the name of {name} is not UTF-8", "rename the file in UTF-8", kind="bad_name")
    return files


def _in_folder(folder: Path, say: Callable[[str], None] | None) -> list[Path]:
    """The data files below a folder; texts only where nothing else is there."""
    files = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith("."))
        files += [Path(place, n) for n in names if not n.startswith(".") and is_data(Path(n))]
        if len(files) > FOLDER_LIMIT:
            refuse(f"{folder} has more than {FOLDER_LIMIT:,} files", "name a folder further down")
    rows = [path for path in files if kind_suffix(path) in ROWS]
    if not files:
        refuse(
            f"the folder {folder} has no data file; read are {', '.join(SUPPORTED)}",
            "check the path",
            kind="no_data",
        )
    return _named_in_text(_filled(sorted(rows or files), str(folder), say))


def is_data(path: Path) -> bool:
    """Whether a file's name says that it holds rows or text to learn from."""
    return kind_suffix(path) in SUPPORTED and not path.name.lower().startswith(_ABOUT)


def check_file(name: str | Path) -> Path:
    """The path of a usable data file. Raises InputError, saying what to do, for all others."""
    path = Path(name)
    try:
        path = path.expanduser()
        status = path.stat()
    except FileNotFoundError:
        refuse(f"there is no file {path}", "check the path", kind="no_data")
    except (OSError, ValueError, RuntimeError) as error:
        refuse(f"cannot look at {path}: {reason_of(error)}", "check its name and permissions")
    if stat.S_ISDIR(status.st_mode):
        refuse(f"{path} is a folder", "name it in data.files: its data files are found")
    if not stat.S_ISREG(status.st_mode):
        refuse(f"{path} is not a regular file but a device, pipe or socket", "copy it to a file")
    suffix = kind_suffix(path)
    if path.suffix.lower() in _ARCHIVES or suffix in _ARCHIVES:
        refuse(f"{path} is an archive, and no archive is opened", "unpack it, and name the folder")
    if suffix not in SUPPORTED and not (is_packed(path) and not suffix):
        refuse(
            f"{path} is not a kind of file that can be read; supported: {', '.join(SUPPORTED)}, "
            "each also as .gz and .zst",
            "convert it to one JSON object a line, and name it .jsonl",
        )
    if status.st_size == 0:
        refuse(f"{path} is empty", "check how it was written or downloaded")
    return path
