"""A sample of a hub's data set is drawn: streamed by another process, kept when it is whole."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from core.config.errors import FailedError, InputError
from core.data.read.hub.sample import (
    ABOUT,
    HubSample,
    Sampling,
    cache_folder,
    read_sample,
    size_words,
)
from core.data.read.row import reason_of
from core.record.folder import sync, write_private

if TYPE_CHECKING:  # the first asks us; nobody pays for processes who has no large data set
    from core.data.read.hub.dataset import Plan
    from core.data.workers import Work

Say = Callable[[str], None]

SAY_SECONDS = 3.0
"""How often it is said how far a sample is."""
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class Remote:
    """One file to draw rows from."""

    url: str
    name: str
    """Its path in the data set."""
    size_bytes: int

    @property
    def divisible(self) -> bool:
        """Whether it can be read from the midst of it."""
        from core.data.read.paths import LINES, PARQUET, is_packed, kind_suffix  # it asks us first

        path = Path(self.name)
        return kind_suffix(path) in (*LINES, *PARQUET) and not is_packed(path)


@dataclass(frozen=True)
class Request:
    """What the streaming process is asked for. ``target`` is written anew."""

    repo: str
    files: tuple[Remote, ...]
    sampling: Sampling
    target: str


@dataclass(frozen=True)
class Told:
    """How far it is."""

    rows: int = 0
    size_bytes: int = 0
    """Of the rows as JSON."""
    files: int = 0
    """From how many files rows have come."""
    left_out: tuple[str, ...] = ()
    """Columns of images or sound, which are not loaded."""
    done: bool = False


def take(planned: Plan, asked: str | None, sampling: Sampling, say: Say) -> HubSample:
    """Stream a sample of these files into the cache, or find it there.

    ``asked`` is the revision as it was named. ``say`` hears how far it is, and may raise to end
    it: nothing of it is kept then. Raises InputError for what cannot be streamed, FailedError
    when the disk is full.
    """
    name = planned.name
    stem = f"{name.repo.replace('/', '--')}@{(name.revision or 'main')[:12]}"
    if name.pattern:
        stem += "-" + hashlib.sha256(name.pattern.encode()).hexdigest()[:8]
    folder = cache_folder() / f"{stem}-{sampling.rows}-{sampling.seed}"
    with _alone(folder, name.repo, say):
        found = read_sample(folder / ABOUT)
        if found is None:
            path = folder / f"{folder.name}.jsonl"
            told = _streamed(planned, path, sampling, say)
            found = _sample(planned, path, sampling, told)
        if (asked or "") not in found.asked:
            found = _noted(replace(found, asked=(*found.asked, asked or "")))
    return found


def _streamed(planned: Plan, path: Path, sampling: Sampling, say: Say) -> Told:
    """The rows at ``path``; a file appears there when all of it is on disk."""
    part = path.with_name(f"{path.name}.part")
    request = Request(planned.name.repo, planned.remotes, sampling, str(part))
    try:
        told = _followed(request, say)
        part.replace(path)
        sync(path.parent)
    finally:
        part.unlink(missing_ok=True)
    return told


def _followed(request: Request, say: Say) -> Told:
    """Have it streamed, and say how far it is."""
    from core.data.workers import in_order

    told = Told()
    began = said = time.monotonic()

    def asks() -> Iterator[bool]:
        while not told.done:
            yield True

    answers = cast("Generator[Told]", in_order(_streaming, (request,), asks(), 1))
    with closing(answers):  # which ends the process
        for told in answers:
            now = time.monotonic()
            if told.done or now - said >= SAY_SECONDS:
                said = now
                say(f"{request.repo}: {_progress(request, told, now - began)}")
    if not told.rows:
        raise InputError(
            f"the data set {request.repo} has no row in the files that were chosen",
            kind="no_data",
            remedies=("name other files: hf://datasets/owner/name/folder",),
        )
    return told


def _progress(request: Request, told: Told, seconds: float) -> str:
    if not told.rows:
        return f"waiting for its first rows, {seconds:.0f} s"
    return (
        f"{told.rows:,} of {request.sampling.rows:,} rows streamed, "
        f"{told.rows / max(1e-3, seconds):,.0f} rows/s, {size_words(told.size_bytes)}"
    )


def _streaming(request: Request) -> Work:
    """What streams, in the process that does. By name, so that no other process can load it."""
    work: Work = import_module("core.data.read.hub.stream").Stream(request)
    return work


def _sample(planned: Plan, path: Path, sampling: Sampling, told: Told) -> HubSample:
    return HubSample(
        path=path,
        repo=planned.name.repo,
        revision=planned.name.revision or "",
        asked=(),
        pattern=planned.name.pattern,
        files=len(planned.files),
        size_bytes=planned.size_bytes,
        wanted_rows=sampling.rows,
        rows=told.rows,
        seed=sampling.seed,
        files_read=told.files,
        from_beginning=sum(not remote.divisible for remote in planned.remotes),
        left_out=told.left_out,
        streamed=datetime.now(UTC).date().isoformat(),
        sample_bytes=path.stat().st_size,
    )


def _noted(sample: HubSample) -> HubSample:
    """The sample with its record on disk, by which it is found from now on."""
    about = sample.path.with_name(ABOUT)
    plain = sample.as_dict() | {"file": sample.path.name}
    try:
        write_private(about, json.dumps(plain, indent=1) + "\n")
        sync(about.parent)
    except OSError as error:
        raise not_kept(about.parent, error) from error
    return sample


def not_kept(folder: Path, error: OSError) -> FailedError:
    """What to say when a sample cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "the disk is full" if full else reason_of(error)
    return FailedError(
        f"cannot keep a sample in {folder}: {what}",
        kind="no_disk_space" if full else "not_written",
        remedies=("free some space there, or set XDG_CACHE_HOME to another folder",),
    )


@contextmanager
def _alone(folder: Path, repo: str, say: Say) -> Iterator[None]:
    """The folder, made where it is not there, for this process alone: another waits for it.

    It goes again when nothing came into it.
    """
    said = 0.0
    while (descriptor := _locked(folder)) is None:
        now = time.monotonic()
        if now - said >= SAY_SECONDS:
            said = now
            say(f"{repo}: another process streams the same sample; waiting for it")
        time.sleep(_WAIT_SECONDS)
    try:
        yield
    finally:
        with suppress(OSError):  # it holds the sample
            folder.rmdir()
        os.close(descriptor)


def _locked(folder: Path) -> int | None:
    """The folder, open and locked; None while another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None  # removed in between
    except OSError as error:
        raise not_kept(folder, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass  # another has it, or has removed it
    os.close(descriptor)
    return None
