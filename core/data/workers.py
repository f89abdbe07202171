"""Spawned processes that share a long job: tasks in, results out in the order of the tasks.

They end when they are done, when the caller stops listening, and when the caller dies: each hangs
on a pipe that only the caller holds open. They never see a key press; the caller cancels them.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from core.config.errors import FailedError, FinetuiError

_LIMIT = 8
"""More processes than this cost memory and wait for the disk."""
_NICE = 10
"""The screen that waits for the work comes first."""
_AHEAD = 3
"""Tasks a process that may be done before an earlier one is: bounds what waits in memory."""

Work = Callable[[Any], Any]


@dataclass(frozen=True)
class _Fault:
    """An error that crosses the pipe."""

    kind: type[FinetuiError]
    message: str
    word: str
    remedies: tuple[str, ...]

    def raised(self) -> FinetuiError:
        return self.kind(self.message, kind=self.word, remedies=self.remedies)


def processes() -> int:
    """How many processes are worth it here: one for each core that we may use."""
    return max(1, min(_LIMIT, len(os.sched_getaffinity(0))))


def in_order(
    make: Callable[..., Work], settings: tuple[Any, ...], tasks: Iterable[Any], count: int
) -> Iterator[Any]:
    """The results of ``make(*settings)(task)``, each task in one of ``count`` processes.

    ``make`` is a function of a module, called once in each process. ``tasks`` are taken one by
    one as processes become free. What the work raises as FinetuiError is raised here, in order;
    FailedError when a process dies.
    """
    _track()
    team = [_start(make, settings) for _ in range(count)]
    try:
        yield from _collect([pipe for _, pipe in team], iter(tasks))
    finally:
        for process, pipe in team:
            pipe.close()
            process.terminate()
        for process, _ in team:
            process.join()


def _track() -> None:
    """Start multiprocessing's own helper while standard error is a file.

    It inherits that, and fails on what a full-screen program has put in its place.
    """
    with redirect_stderr(sys.__stderr__):
        resource_tracker.ensure_running()


def _start(make: Callable[..., Work], settings: tuple[Any, ...]) -> tuple[Any, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, settings), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _collect(pipes: list[Connection], tasks: Iterator[Any]) -> Iterator[Any]:
    idle, busy = list(pipes), dict[Connection, int]()
    results: dict[int, Any] = {}
    given, told, more = 0, 0, True
    while more or busy or results:
        while more and idle and given - told < _AHEAD * len(pipes):
            task = next(tasks, None)
            if task is None:
                more = False
                break
            pipe = idle.pop()
            busy[pipe] = given
            _send(pipe, task)
            given += 1
        for ready in wait(list(busy)) if busy else []:
            assert isinstance(ready, Connection)
            results[busy.pop(ready)] = _receive(ready)
            idle.append(ready)
        while told in results:
            result = results.pop(told)
            told += 1
            if isinstance(result, _Fault):
                raise result.raised()
            yield result


def _send(pipe: Connection, task: Any) -> None:
    try:
        pipe.send(task)
    except OSError as error:
        raise _died() from error


def _receive(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError) as error:
        raise _died() from error


def _died() -> FailedError:
    return FailedError(
        "a process that read the data was killed",
        kind="reader_died",
        remedies=("memory may be short: close other programs, and start again",),
    )


def _serve(pipe: Connection, make: Callable[..., Work], settings: tuple[Any, ...]) -> None:
    """The life of one process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    # Rows are lists in lists without cycles: looking for cycles among them costs and finds none.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    work: Work | None = None
    with suppress(EOFError, OSError):  # the caller has gone: so do we
        while True:
            task = pipe.recv()
            result: Any = None
            try:
                work = work or make(*settings)
                result = work(task)
            except FinetuiError as error:
                result = _Fault(type(error), error.message, error.kind, error.remedies)
            except Exception:
                result = _Fault(FailedError, traceback.format_exc(), "crashed", ())
            pipe.send(result)
