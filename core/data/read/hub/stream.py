"""Rows drawn from the files of a hub's data set while they are streamed, written as JSON lines.

Runs in a process of its own (``hubsample`` starts it): ``datasets`` draws, and would bring torch
where the screen is. It shuffles the pieces, reads some of them in turn, and shuffles what comes.
The pieces' rows are not read by its builders: those decide on types by a file's first 10 MB, and
end where a later row differs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HfHubHTTPError

from core.config.errors import FailedError, FinetuiError, InputError
from core.data.read.hub.dataset import told_error
from core.data.read.hub.draw import Request, Told, not_kept
from core.data.read.hub.pieces import examples, get_ready, pieces_of
from core.data.read.row import reason_of

_AT_ONCE = 16
"""Pieces that are read in turn."""
_BUFFER_ROWS = 1000
_TELL_SECONDS = 0.5
_PARENT_SECONDS = 2.0


class Stream:
    """The rows of a request on their way to its target, in a thread. Asked, it tells how far."""

    def __init__(self, request: Request):
        os.environ["USE_TORCH"] = "0"  # datasets works without, and needs a fifth of the memory
        _hush()
        self._request = request
        self._told = Told()
        self._error: FinetuiError | None = None
        self._ended = threading.Event()
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        threading.Thread(target=self._run, daemon=True).start()

    def __call__(self, _: object) -> Told:
        """How far it is, at the latest in half a second. Raises what ended it."""
        self._ended.wait(_TELL_SECONDS)
        if self._error is not None:
            raise self._error
        return self._told

    def _run(self) -> None:
        try:
            self._write()
        except Exception as error:  # of three libraries and a network: told, whatever it is
            self._error = meant(self._request, self._told.rows, error)
        finally:
            self._ended.set()

    def _write(self) -> None:
        files, left_out = set[str](), dict[str, None]()
        with Target(Path(self._request.target)) as target:
            for row in drawn(self._request):
                target.add(row["line"])
                files.add(row["file"])
                left_out |= dict.fromkeys(row["left_out"])
                self._told = Told(
                    self._told.rows + 1, target.size_bytes, len(files), tuple(left_out)
                )
        self._told = replace(self._told, done=True)


class Target:
    """The file that is written. Raises FailedError when the disk is full."""

    def __init__(self, path: Path):
        self._path = path
        self.size_bytes = 0

    def __enter__(self) -> Target:
        try:
            self._path.unlink(missing_ok=True)  # somebody that is to end may still write to it
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(descriptor, "wb")
        except OSError as error:
            raise not_kept(self._path.parent, error) from error
        return self

    def add(self, line: bytes) -> None:
        """One row more."""
        try:
            self._file.write(line + b"\n")
        except OSError as error:
            raise not_kept(self._path.parent, error) from error
        self.size_bytes += len(line) + 1

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            if kind is None:  # else what ended it is told
                raise not_kept(self._path.parent, error) from error


def drawn(request: Request) -> Iterator[dict[str, Any]]:
    """The rows of a sample: ``line`` (JSON), ``file`` and the columns that were ``left_out``."""
    from datasets import IterableDataset

    get_ready(request.files[0].url)
    sampling = request.sampling
    pieces = pieces_of(request.files, sampling.rows)
    stream = IterableDataset.from_generator(examples, gen_kwargs={"pieces": pieces})
    try:
        stream = stream.shuffle(
            seed=sampling.seed, buffer_size=_BUFFER_ROWS, max_buffer_input_shards=_AT_ONCE
        )
    except TypeError:  # older versions read pieces one after the other
        stream = stream.shuffle(seed=sampling.seed, buffer_size=_BUFFER_ROWS)
    yield from stream.take(sampling.rows)


def meant(request: Request, rows: int, error: Exception) -> FinetuiError:
    """What an error on the way means to a person."""
    so_far = f" (after {rows:,} rows, of which none is kept)" if rows else ""
    cause = error.__context__ if isinstance(error, FinetuiError) else error
    if isinstance(cause, HfHubHTTPError | ConnectionError | TimeoutError):
        error = cause  # a reader took it for a fault of the file
    if isinstance(error, FailedError):
        return error
    if isinstance(error, InputError):
        message, kind, remedies = f"{request.repo}: {error}", error.kind, error.remedies
    elif type(error) is FileNotFoundError:
        message, kind = f"the hub has no file that you may read: {reason_of(error)}", "no_data"
        remedies = ("for gated data sets log in with hf auth login",)
    elif (told := told_error(request.repo, error)) is not None:
        message, kind, remedies = told.message, told.kind, told.remedies
        if kind == "hub_unreachable":
            remedies = ("check the network, then start again",)
    else:
        what = f"{type(error).__name__}: {reason_of(error)}"
        message, kind = f"{request.repo} cannot be streamed: {what}", "not_streamed"
        remedies = (
            f"name some of its files, such as hf://datasets/{request.repo}/{request.files[0].name}",
            "have all of them downloaded: data.hub_sample_rows = 0",
        )
    return InputError(message + so_far, kind=kind, remedies=remedies)


def _end_with(parent: int) -> None:
    """End at once when whoever asked is gone: threads that wait for a network would hold it up."""
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    os._exit(1)


def _hush() -> None:
    """Nothing is written where a screen may be drawn: what libraries warn of is told as errors."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
