"""A sample of a hub's data set that is too large to be downloaded: kept in a cache as JSON lines.

A seeded draw of rows is streamed once, in a process of its own, and found here from then on, also
without a network. What it was drawn from stands beside it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.counted import counted
from core.config.schema import RunConfig

if TYPE_CHECKING:  # it asks us
    from core.data.read.hub.dataset import HubName

ABOUT = "sample.json"
"""The record of a sample, beside it."""


@dataclass(frozen=True)
class Sampling:
    """How many rows of a large data set are taken, and by which seed. 0 rows: whole files."""

    rows: int = 0
    seed: int = 0

    @classmethod
    def of(cls, config: RunConfig) -> Sampling:
        """What the settings say."""
        return cls(config.data.hub_sample_rows, config.data.seed)


WHOLE = Sampling()


@dataclass(frozen=True)
class HubSample:
    """A sample that is there, and what it was drawn from."""

    path: Path
    repo: str
    revision: str
    """The commit."""
    asked: tuple[str, ...]
    """Names of the revision that led to it; empty: the newest at that time."""
    pattern: str
    files: int
    size_bytes: int
    """Of those files."""
    wanted_rows: int
    rows: int
    seed: int
    files_read: int
    from_beginning: int
    """Files of which only the first rows could be drawn from."""
    left_out: tuple[str, ...]
    streamed: str
    """The day."""
    sample_bytes: int

    @property
    def words(self) -> str:
        """What it is, in a sentence."""
        said = (
            f"{self.repo}@{self.revision[:12]}: a sample of {counted(self.rows, 'row')} from "
            f"{self.files_read:,} of {counted(self.files, 'file')} "
            f"({size_words(self.size_bytes)}), seed {self.seed}, streamed {self.streamed}"
        )
        if self.from_beginning:
            said += f"; {beginnings(self.from_beginning)}"
        return said + (f"; left out: {', '.join(self.left_out)}" if self.left_out else "")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for reports, without the place."""
        plain = asdict(self)
        del plain["path"]
        return plain


def beginnings(files: int) -> str:
    """What to say of files from whose midst no row is drawn."""
    return f"of {counted(files, 'file')} only the beginning (packed, or of a kind read in order)"


def size_words(size_bytes: int) -> str:
    """A size for a person."""
    if not size_bytes:
        return "an unknown size"
    if size_bytes < 1_000_000_000:
        return f"{size_bytes / 1e6:,.1f} MB"
    return f"{size_bytes / 1e9:,.1f} GB"


def cache_folder() -> Path:
    """Where samples are kept, a folder each."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "finetui" / "hub"


def find(name: HubName, sampling: Sampling) -> HubSample | None:
    """The newest sample of this name that is there, without asking the hub."""
    found = [
        sample
        for about in cache_folder().glob(f"*/{ABOUT}")
        if (sample := read_sample(about)) is not None
        and (sample.repo, sample.pattern) == (name.repo, name.pattern)
        and (sample.wanted_rows, sample.seed) == (sampling.rows, sampling.seed)
        and (name.revision == sample.revision or (name.revision or "") in sample.asked)
    ]
    return max(found, key=lambda sample: sample.path.stat().st_mtime, default=None)


def sample_at(path: Path) -> HubSample | None:
    """The sample that a data file is; None for any other file."""
    return read_sample(path.with_name(ABOUT)) if path.parent.parent == cache_folder() else None


def read_sample(about: Path) -> HubSample | None:
    """The sample that a record speaks of, when it is there as it was written."""
    try:
        plain = json.loads(about.read_text(encoding="utf-8"))
        for name in ("asked", "left_out"):
            plain[name] = tuple(plain[name])
        sample = HubSample(path=about.parent / plain.pop("file"), **plain)
        return sample if sample.path.stat().st_size == sample.sample_bytes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is streamed anew
