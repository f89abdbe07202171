"""Data sets of a hub: their data files come into the hub's cache and are read as local ones.

No code of a data set is run, and no converted copy is made. Of a set that is too large for that a
sample of its rows is streamed.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from core.config.counted import counted
from core.config.errors import FinetuiError, InputError
from core.config.hub import is_transport
from core.config.names import nearest_path
from core.data.read.hub import draw as hubdraw
from core.data.read.hub import sample as hubsample
from core.data.read.hub.draw import Remote
from core.data.read.hub.sample import WHOLE, Sampling, beginnings, size_words

_PREFIXES = ("hf://datasets/", "datasets/")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TRAIN = re.compile(r"(^|[/_.-])train([/_.-]|$)", re.IGNORECASE)
_OTHER_SPLIT = re.compile(
    r"(^|[/_.-])(test|valid|validation|val|dev|eval)([/_.-]|$)", re.IGNORECASE
)


Answer = TypeVar("Answer")


LARGE_BYTES = 5_000_000_000
"""Of more than this a sample is streamed, or it is said how to take a part."""
_PATIENCE_SECONDS = 20.0
"""Without it the hub's client waits for ever for a network that swallows what it is given."""


@dataclass(frozen=True)
class HubName:
    """What a name of a hub's data set says: ``hf://datasets/owner/name@revision/files``."""

    repo: str
    revision: str | None = None
    pattern: str = ""
    """Files or a folder of it; empty: those that hold its training rows."""


@dataclass(frozen=True)
class Plan:
    """What will be downloaded, or sampled."""

    name: HubName
    files: tuple[str, ...]
    size_bytes: int
    sizes: tuple[int, ...] = ()
    """Of each file."""

    @property
    def large(self) -> bool:
        """Whether that is more than is downloaded without a second thought."""
        return self.size_bytes > LARGE_BYTES

    @property
    def words(self) -> str:
        """The plan of a download in a sentence."""
        shown = ", ".join(self.files[:3]) + (" ..." if len(self.files) > 3 else "")
        said = (
            f"{self.name.repo}: {counted(len(self.files), 'file')}, {size_words(self.size_bytes)}"
        )
        said = f"{said}: {shown}"
        if not self.large or len(self.files) == 1:
            return said
        return f"{said}; one alone: hf://datasets/{self.name.repo}/{self.files[0]}"

    @property
    def remotes(self) -> tuple[Remote, ...]:
        """The files as a sample is drawn from them."""
        return tuple(
            Remote(address(self.name, file), file, size)
            for file, size in zip(self.files, self.sizes, strict=True)
        )

    def sample_words(self, rows: int) -> str:
        """The plan of a sample in a sentence."""
        whole = f"{size_words(self.size_bytes)} in {counted(len(self.files), 'file')}"
        sample = f"a sample of {counted(rows, 'row')} is streamed (data.hub_sample_rows)"
        said = f"{self.name.repo}: {whole}: {sample}"
        ordered = sum(not remote.divisible for remote in self.remotes)
        return f"{said}; {beginnings(ordered)}" if ordered else said


def address(name: HubName, file: str) -> str:
    """Where a file of a data set is read from while it is streamed."""
    return f"hf://datasets/{name.repo}@{name.revision or 'main'}/{file}"


def named(name: str | Path) -> HubName | None:
    """The data set of a hub that a name means; None when it means something local.

    What is there locally is local. ``owner/name`` without the suffix of a data file is a data set.
    """
    text = str(name)
    prefix = next((p for p in _PREFIXES if text.startswith(p)), None)
    if prefix is None:
        from core.data.read.paths import SUPPORTED, kind_suffix  # it asks us first

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

    ask = partial(
        HfApi().dataset_info,
        name.repo,
        revision=name.revision,
        timeout=_PATIENCE_SECONDS,
        files_metadata=True,
    )
    info = _asked(name, ask)
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
    files = _chosen(name, sorted(sizes))
    pinned = HubName(name.repo, info.sha or name.revision, name.pattern)
    of_each = tuple(sizes[file] for file in files)
    return Plan(pinned, tuple(files), sum(of_each), of_each)


def fetch(
    name: HubName, say: Callable[[str], None] | None = None, sampling: Sampling = WHOLE
) -> list[Path]:
    """The data files of a data set as local paths; what is in the cache is not loaded again.

    Of a large one a sample, if ``sampling`` says so: that is one file, and the hub is not even
    asked when it is there. ``say`` hears what will be downloaded before it is, and how far a
    sample is; it may raise to end that. Raises InputError, and FailedError when the disk is full.
    """
    tell = say or (lambda _: None)
    if sampling.rows and (sample := hubsample.find(name, sampling)) is not None:
        tell(sample.words)
        return [sample.path]
    planned = plan(name)
    if sampling.rows and planned.large:
        tell(planned.sample_words(sampling.rows))
        sample = hubdraw.take(planned, name.revision, sampling, tell)
        tell(sample.words)
        return [sample.path]
    from huggingface_hub import hf_hub_download

    tell(planned.words)
    revision = planned.name.revision
    found = []
    for file in planned.files:
        load = partial(hf_hub_download, name.repo, file, repo_type="dataset", revision=revision)
        found.append(Path(_asked(name, load)))
    return found


def _chosen(name: HubName, files: list[str]) -> list[str]:
    """The files that hold the training rows: of the kinds we read, without other splits."""
    from core.data.read.paths import ROWS, SUPPORTED, kind_suffix

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
    try:
        return ask()
    except Exception as error:
        told = told_error(name.repo, error)
        if told is None:
            raise
        raise told from error


def told_error(repo: str, error: Exception) -> FinetuiError | None:
    """What an error of the hub's client means to a person; None for one that is not of the hub."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    if isinstance(
        error, LocalEntryNotFoundError | OfflineModeIsEnabled | ConnectionError | TimeoutError
    ):
        return _unreachable(repo)
    if isinstance(error, HfHubHTTPError | HFValidationError):
        return InputError(
            f"the hub has no data set {repo!r} that you may read: {error}".splitlines()[0],
            kind="no_data",
            remedies=(
                *_nearest(repo),
                "check the name, or the path if a local file is meant",
                "for gated data sets log in with hf auth login",
            ),
        )
    return _unreachable(repo) if is_transport(error) else None


def _nearest(repo: str) -> tuple[str, ...]:
    close = nearest_path(repo)
    return (f"did you mean the local {close}?",) if close else ()


def _unreachable(repo: str) -> InputError:
    return InputError(
        f"the hub cannot be reached for the data set {repo}",
        kind="hub_unreachable",
        remedies=(
            *_nearest(repo),
            "check the network, or set HF_ENDPOINT to a mirror",
            "if a local file or folder is meant: it is not there",
        ),
    )
