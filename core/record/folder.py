"""The run folder: its names, how it is made, found and listed."""

from __future__ import annotations

import os
import re
import shlex
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from core.config.errors import InputError, RefusedError
from core.config.names import undecoded
from core.record.lock import holder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. Properties name every file in it; nothing else spells these names."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        """Resolved configuration, written once at creation."""
        return self.path / "run.toml"

    @property
    def fingerprint(self) -> Path:
        """Hashes and versions that a resume must find again."""
        return self.path / "fingerprint.json"

    @property
    def events(self) -> Path:
        """The journal."""
        return self.path / "events.jsonl"

    @property
    def commands(self) -> Path:
        """What was asked of the worker."""
        return self.path / "commands.jsonl"

    @property
    def worker_log(self) -> Path:
        return self.path / "worker.log"

    @property
    def host_log(self) -> Path:
        return self.path / "host.log"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def heartbeat(self) -> Path:
        """Touched by the worker's main thread every second."""
        return self.path / "heartbeat"

    @property
    def data(self) -> Path:
        """Frozen tokens, ``report.json`` and ``rejected.jsonl``."""
        return self.path / "data"

    @property
    def adapter(self) -> Path:
        """Best adapter, in PEFT's format."""
        return self.path / "adapter"

    @property
    def merged(self) -> Path:
        """Merged model, in Hugging Face's format."""
        return self.path / "merged"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    def checkpoint(self, step: int) -> Path:
        return self.path / f"checkpoint-{step}"

    def exists(self) -> bool:
        return self.config.is_file()


def runs_root(given: str | None = None) -> Path:
    """Where new runs go: the flag, else ``FINETUI_RUNS``, else ``./runs``.

    Raises InputError when that is a file.
    """
    root = Path(given or os.environ.get("FINETUI_RUNS") or "runs").expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise InputError(
            f"{root} is a file, not a folder for runs",
            kind="no_run_folder",
            remedies=("choose another place with --runs",),
        )
    return root


def create(root: Path, name: str, config_text: str, *, again: bool = False) -> RunFolder:
    """Make a run's folder (mode 0700) with its configuration, and list it.

    ``again`` takes a run that is there already, if it has this very configuration and nothing
    was frozen or trained in it. Raises InputError for a name that cannot be a folder, RefusedError
    when the run exists.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a run: use letters, digits, dot, dash and underscore",
            kind="bad_name",
        )
    folder = RunFolder(root / name)
    for line in (str(folder.path), *config_text.splitlines()):
        if undecoded(line):
            raise InputError(
                f"a name is not UTF-8: {undecoded(line)}",
                kind="bad_name",
                remedies=("rename the file or folder in UTF-8",),
            )
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder.path.mkdir(mode=0o700)
    except FileExistsError as error:
        if again and _is_bare(folder) and _means(folder.config, config_text):
            return folder
        raise RefusedError(
            f"a run named {name} is already in {root}",
            kind="run_exists",
            remedies=_beside(folder),
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot make the run folder {folder.path}: {error.strerror}",
            kind="no_run_folder",
            remedies=("choose another place with --runs",),
        ) from error
    write_private(folder.config, config_text)
    _list(folder)
    return folder


def _beside(folder: RunFolder) -> tuple[str, ...]:
    """What to do where this run is there already."""
    if holder(folder.lock) is not None:
        return (f"watch it: finetui attach {folder.name}", "or choose another run.name")
    if not folder.exists():  # no run, or one that is being made right now
        return ("choose another run.name",)
    if _is_bare(folder):
        return (
            "choose another run.name",
            f"or remove {folder.path}: nothing was frozen or trained in it",
            f"or prepare it with the settings that it has: {preparing(folder)}",
        )
    return (f"resume it: finetui resume {folder.name}", "or choose another run.name")


def _is_bare(folder: RunFolder) -> bool:
    """Whether a run has a configuration and nothing else, and nobody is at work on it."""
    made = (folder.data, folder.adapter, folder.merged, *folder.path.glob("checkpoint-*"))
    bare = folder.exists() and not any(path.exists() for path in made)
    return bare and holder(folder.lock) is None


def _means(config: Path, text: str) -> bool:
    """Whether a configuration has the settings of another one, however they are written."""
    try:
        return tomllib.loads(config.read_text(encoding="utf-8")) == tomllib.loads(text)
    except (OSError, ValueError):
        return False


def preparing(folder: RunFolder) -> str:
    """The command that prepares a run anew, in which nothing was frozen."""
    root = folder.path.parent
    where = "" if root == runs_root() else f" --runs {shlex.quote(str(root))}"
    return f"finetui prepare {shlex.quote(str(folder.config))}{where}"


def free_name(root: Path, stem: str) -> str:
    """``stem``, or ``stem-2``, ``stem-3`` ... whichever is not taken in ``root``."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:80] or "run"
    names = [plain, *(f"{plain}-{n}" for n in range(2, 10_000))]
    return next(name for name in names if not (root / name).exists())


def resolve(name: str, root: Path) -> RunFolder:
    """Find a run by name or folder: a path, then ``root``, then the list of known runs.

    Raises InputError when there is none, or when the name fits several.
    """
    as_path = RunFolder(Path(name).expanduser().absolute())
    if as_path.exists():
        return as_path
    if "/" not in name and RunFolder(root / name).exists():
        return RunFolder(root / name)
    found = [run for run in listed() if run.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(str(run.path) for run in found)
        raise InputError(f"{name} names several runs: {places}. Give the folder", kind="ambiguous")
    known = [run.name for run in list_runs(root)]
    hint = f"; runs here: {', '.join(known[:8])}" if known else f"; there are no runs in {root}"
    raise InputError(f"there is no run named {name}{hint}", kind="no_run")


def list_runs(root: Path) -> list[RunFolder]:
    """The runs below ``root``, the last changed first."""
    if not root.is_dir():
        return []
    runs = [RunFolder(path) for path in root.iterdir() if RunFolder(path).exists()]
    return sorted(runs, key=_changed, reverse=True)


def listed() -> list[RunFolder]:
    """Every run ever made by this user that is still there, wherever it lies."""
    try:
        lines = _list_path().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    runs = (RunFolder(Path(line)) for line in dict.fromkeys(lines) if line)
    return [run for run in runs if run.exists()]


def open_private(path: Path) -> int:
    """A descriptor that appends to a file of mode 0600; for the logs of child processes."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def append_private(path: Path, text: str) -> None:
    """Add text to a log that only its owner reads."""
    with os.fdopen(open_private(path), "a", encoding="utf-8", errors="replace") as file:
        file.write(text)


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600, complete or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _changed(run: RunFolder) -> float:
    newest = run.events if run.events.exists() else run.config
    try:
        return newest.stat().st_mtime
    except OSError:
        return time.time()


def _list_path() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "finetui" / "runs"


def _list(folder: RunFolder) -> None:
    path = _list_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{folder.path}\n")
