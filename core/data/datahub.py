"""Data sets of a hub: their data files come into the hub's cache and are read as local ones.

No code of a data set is run, and no converted copy is made.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NoReturn, TypeVar

from core.config.counted import counted
from core.config.errors import InputError

_PREFIXES = ("hf://datasets/", "datasets/")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TRAIN = re.compile(r"(^|[/_.-])train([/_.-]|$)", re.IGNORECASE)
_OTHER_SPLIT = re.compile(
    r"(^|[/_.-])(test|valid|validation|val|dev|eval)([/_.-]|$)", re.IGNORECASE
)


Answer = TypeVar("Answer")


LARGE_BYTES = 5_000_000_000
"""Of more than this it is said how to take a part."""


@dataclass(frozen=True)
class HubName:
    """What a name of a hub's data set says: ``hf://datasets/owner/name@revision/files``."""

    repo: str
    revision: str | None = None
    pattern: str = ""
    """Files or a folder of it; empty: those that hold its training rows."""


@dataclass(frozen=True)
class Plan:
    """What will be downloaded."""

    name: HubName
    files: tuple[str, ...]
    size_bytes: int

    @property
    def words(self) -> str:
        """The plan in a sentence."""
        size = f"{self.size_bytes / 1e6:,.1f} MB" if self.size_bytes else "an unknown size"
        shown = ", ".join(self.files[:3]) + (" ..." if len(self.files) > 3 else "")
        said = f"{self.name.repo}: {counted(len(self.files), 'file')}, {size}: {shown}"
        if self.size_bytes < LARGE_BYTES or len(self.files) == 1:
            return said
        return f"{said}; one alone: hf://datasets/{self.name.repo}/{self.files[0]}"


def named(name: str | Path) -> HubName | None:
    """The data set of a hub that a name means; None when it means something local.

    What is there locally is local. ``owner/name`` without the suffix of a data file is a data set.
    """
    text = str(name)
    prefix = next((p for p in _PREFIXES if text.startswith(p)), None)
    if prefix is None:
        from core.data.paths import SUPPORTED, kind_suffix  # it asks us first

        looks_local = kind_suffix(Path(text)) in SUPPORTED or not _ID.fullmatch(
            text.partition("@")[0]
        )
        if looks_local or Path(text).exists():
            return None
        repo, _, revision = text.partition("@")
        return HubName(repo, revision or None)
    parts = text.removeprefix(prefix).split("/", 2)
    if len(parts) < 2 or not all(parts[:2]):
        raise InputError(
            f"{text} names no data set",
            kind="no_data",
            remedies=("write hf://datasets/owner/name, and @revision or /files where needed",),
        )
    second, _, revision = parts[1].partition("@")
    return HubName(f"{parts[0]}/{second}", revision or None, parts[2] if len(parts) > 2 else "")


def plan(name: HubName) -> Plan:
    """Look up which files of a data set will be read. Raises InputError."""
    from huggingface_hub import HfApi

    ask = partial(HfApi().dataset_info, name.repo, revision=name.revision, files_metadata=True)
    info = _asked(name, ask)
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
    files = _chosen(name, sorted(sizes))
    pinned = HubName(name.repo, info.sha or name.revision, name.pattern)
    return Plan(pinned, tuple(files), sum(sizes[file] for file in files))


def fetch(name: HubName, say: Callable[[str], None] | None = None) -> list[Path]:
    """The data files of a data set as local paths; what is in the cache is not loaded again.

    ``say`` hears what will be downloaded before it is. Raises InputError.
    """
    from huggingface_hub import hf_hub_download

    planned = plan(name)
    if say is not None:
        say(planned.words)
    revision = planned.name.revision
    found = []
    for file in planned.files:
        load = partial(hf_hub_download, name.repo, file, repo_type="dataset", revision=revision)
        found.append(Path(_asked(name, load)))
    return found


def _chosen(name: HubName, files: list[str]) -> list[str]:
    """The files that hold the training rows: of the kinds we read, without other splits."""
    from core.data.paths import ROWS, SUPPORTED, kind_suffix

    if name.pattern:
        wanted = name.pattern.rstrip("/")
        files = [
            f for f in files
            if f == wanted or f.startswith(wanted + "/") or fnmatch.fnmatchcase(f, wanted)
        ]  # fmt: skip
    kinds = {file: kind_suffix(Path(PurePosixPath(file).name)) for file in files}
    about = ("readme", "license", "dataset_info", "config.json")
    data = [
        f for f in files
        if kinds[f] in SUPPORTED and not PurePosixPath(f).name.lower().startswith(about)
    ]  # fmt: skip
    found = [f for f in data if kinds[f] in ROWS] or data
    if not name.pattern:
        train = [f for f in found if _TRAIN.search(f)]
        found = train or [f for f in found if not _OTHER_SPLIT.search(f)] or found
    if not found:
        raise InputError(
            f"the data set {name.repo} has no file that can be read",
            kind="no_data",
            remedies=("name its files: hf://datasets/owner/name/folder",),
        )
    return found


def _asked(name: HubName, ask: Callable[[], Answer]) -> Answer:
    """The hub's answer; its errors as ours."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        return ask()
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError) as error:
        _unreachable(name, error)
    except (HfHubHTTPError, HFValidationError) as error:
        raise InputError(
            f"the hub has no data set {name.repo!r} that you may read: {error}".splitlines()[0],
            kind="no_data",
            remedies=(
                "check the name, or the path if a local file is meant",
                "for gated data sets log in with hf auth login",
            ),
        ) from error
    except OSError as error:
        _unreachable(name, error)
    except Exception as error:  # the hub's client lets its transport's own errors through
        if type(error).__module__.startswith(("httpx", "httpcore", "requests")):
            _unreachable(name, error)
        raise


def _unreachable(name: HubName, error: Exception) -> NoReturn:
    raise InputError(
        f"the hub cannot be reached for the data set {name.repo}",
        kind="hub_unreachable",
        remedies=(
            "check the network, or set HF_ENDPOINT to a mirror",
            "if a local file or folder is meant: it is not there",
        ),
    ) from error
