"""What is nearby to choose from: data files and model folders, found without asking any network."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from core.config.errors import FinetuiError
from core.data.read.hub.dataset import named
from core.data.read.paths import is_data, kind_suffix
from core.record.folder import RunFolder
from tui import numbers

Found = tuple[str, str]

DATA = "a file, a folder, or a data set of the hub"
"""What can be opened as data."""
DATA_KINDS = (
    "Read are jsonl, json, csv, tsv, parquet, arrow and txt, also packed as gz or zst: Alpaca, "
    "ShareGPT, messages, prompt and completion, or plain text."
)
"""What may be in it."""

_LOOKED_AT = 2000  # entries of a folder, so that a home full of files costs no second
_SHOWN = 40
_NOT_DATA = {
    "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
    "special_tokens_map.json", "package.json", "package-lock.json", "tsconfig.json",
    "requirements.txt", "constraints.txt",
}  # fmt: skip


def data_files(text: str) -> list[Found]:
    """Data files that fit what was typed: in the folder it names, or here and one folder down."""
    paths = list(_completions(text)) if text else list(_below(Path(), _is_data))
    return [_told(path) for path in paths if path.is_dir() or _is_data(path)][:_SHOWN]


def meant(text: str) -> str:
    """What a beginning of a name means: the one file or folder that begins so, if there is one."""
    try:
        found = [] if Path(text).expanduser().exists() else data_files(text)
    except (OSError, RuntimeError):
        return text
    return found[0][0] if len(found) == 1 else text


def is_there(text: str) -> bool:
    """Whether a name may be data: something that is here, a pattern, or a name on the hub."""
    try:
        return bool(named(text)) or glob.has_magic(text) or Path(text).expanduser().exists()
    except (FinetuiError, OSError, RuntimeError):
        return False


def models(text: str) -> list[Found]:
    """Model folders that fit what was typed, and models of the hub that are downloaded."""
    if text.startswith((".", "/", "~")):
        folders = [path for path in _completions(text) if path.is_dir()]
        return [_told_model(path) for path in folders][:_SHOWN]
    here = [_told_model(path) for path in _below(Path(), _is_model)]
    found = here + [(name, "downloaded from the hub") for name in _cached()]
    return [item for item in found if text.lower() in item[0].lower()][:_SHOWN]


def _below(folder: Path, fits: object) -> Iterator[Path]:
    """What fits in a folder, then one and two levels down; not in hidden folders or runs."""
    assert callable(fits)
    level = [folder]
    for _ in range(3):
        deeper: list[Path] = []
        for place in level:
            for path in _entries(place):
                if fits(path):
                    yield path
                elif path.is_dir() and not path.is_symlink() and not RunFolder(path).exists():
                    deeper.append(path)
        level = deeper[:200]


def _completions(text: str) -> Iterator[Path]:
    """Entries that begin as the text does."""
    path = Path(text).expanduser()
    folder, start = (path, "") if text.endswith("/") else (path.parent, path.name)
    for entry in _entries(folder, hidden=start.startswith(".")):
        if entry.name.startswith(start):
            yield entry


def _entries(folder: Path, *, hidden: bool = False) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_LOOKED_AT), strict=False)]
    except OSError:
        return []  # a folder that may not be read has nothing to offer
    shown = [name for name in names if hidden or not name.startswith((".", "__"))]
    return [folder / name for name in sorted(shown) if name not in ("node_modules", "venv")]


def _is_data(path: Path) -> bool:
    plain = kind_suffix(path) != ".md"  # far more of them tell of something than are data
    return is_data(path) and plain and path.name not in _NOT_DATA and path.is_file()


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def _told(path: Path) -> Found:
    if path.is_dir():
        return f"{path}/", "folder"
    return str(path), numbers.size(path.stat().st_size)


def _told_model(path: Path) -> Found:
    if not _is_model(path):
        return f"{path}/", "folder"
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    text = str(path)
    return (text if "/" in text else f"./{text}"), numbers.size(size)


def _cached() -> list[str]:
    """Names of models in the hub's cache that have weights."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    return [
        path.name.removeprefix("models--").replace("--", "/")
        for path in _entries(hub)
        if path.name.startswith("models--") and any(path.glob("snapshots/*/*.safetensors"))
    ]
