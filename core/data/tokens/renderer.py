"""Our side of the process in which chat templates run: one for the whole program, started when
the first template comes, and started again when a template got it killed.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.errors import FailedError
from core.data.tokens import sandbox

STRIKES = 2
"""How often a template may get its process killed before it is not run any more."""

_WALL_SECONDS = 60.0
"""A reply that takes longer than this in real time never comes."""

_JOB_LIMIT = 64 << 20
_STEP_LIMIT = 4 << 20
"""Bytes of one job and of one round trip; they fit into the memory that the process has."""

_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "TZ")
"""What the process gets of the environment: no tokens, no keys."""


class TemplateFault(Exception):  # noqa: N818 - the template's, not the program's
    """The template refused a chat (as some refuse system turns), or failed on it."""


@dataclass(frozen=True)
class RenderJob:
    """One rendering that is asked for: plain messages, and how to render them."""

    messages: list[dict[str, Any]]
    tools: list[Any] | None = None
    add_generation_prompt: bool = False
    marks: bool = False

    @property
    def blob(self) -> bytes:
        """The job on its way through the pipe."""
        return marshal.dumps((self.messages, self.tools, self.add_generation_prompt, self.marks))


class _Died(Exception):  # noqa: N818 - says what happened
    """The process ended before it replied."""


class Renderer:
    """The process, and what it was told. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._known: set[int] = set()
        self._numbers: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._sources: dict[int, tuple[str, dict[str, str]]] = {}
        self._strikes: dict[int, int] = {}

    def compile(self, source: str, variables: Mapping[str, str]) -> int:
        """Take a template, and number it. Raises TemplateFault when it is not valid."""
        key = source, tuple(sorted(variables.items()))
        with self._lock:
            number = self._numbers.setdefault(key, len(self._numbers))
            self._sources[number] = source, dict(variables)
            self._strikes.setdefault(number, 0)
            try:
                self._introduce(number)
            except _Died as died:
                raise TemplateFault(str(died)) from died
        return number

    def render(self, number: int, jobs: Sequence[RenderJob]) -> list[str | TemplateFault]:
        """Each job's text, or why there is none, in as few round trips as their size allows.

        A job that gets the process killed is found by running what is left one by one.
        """
        results: list[str | TemplateFault] = []
        blobs = [job.blob for job in jobs]
        with self._lock:
            alone = False
            while len(results) < len(blobs):
                left = len(blobs) - len(results)
                if self._strikes[number] >= STRIKES:
                    results += [TemplateFault("it was stopped too often and is not run")] * left
                    continue
                step = _step(blobs, len(results), alone)
                if len(step[0]) > _JOB_LIMIT:
                    results.append(TemplateFault("the chat is too large to be rendered"))
                    continue
                try:
                    self._introduce(number)
                    results += self._ask("render", number, step)
                except TemplateFault as fault:
                    results += [fault] * left
                except _Died as died:
                    if len(step) > 1:
                        alone = True
                        continue
                    self._strikes[number] += 1
                    results.append(TemplateFault(str(died)))
        return results

    def worn_out(self, number: int) -> bool:
        """Whether the template has had all its strikes."""
        return self._strikes[number] >= STRIKES

    def close(self) -> None:
        """End the process; the next rendering starts another."""
        with self._lock:
            self._drop()

    def _introduce(self, number: int) -> None:
        """Have a process that knows the template."""
        alive = self._process is not None and self._process.poll() is None
        if not alive or self._owner != os.getpid():
            self._start()
        if number in self._known:
            return
        (answer,) = self._ask("compile", number, self._sources[number])
        if isinstance(answer, TemplateFault):
            raise answer
        self._known.add(number)

    def _start(self) -> None:
        if self._owner == os.getpid():
            self._drop()
        library = importlib.util.find_spec("jinja2")
        if library is None or library.origin is None:
            raise FailedError("jinja2 is not installed", kind="missing_library")
        # A session of its own: the keyboard's interrupt is for the program, not for this.
        # It ends with the pipe, and looks now and then whether the program is still there. The
        # kernel's parent-death signal would follow the thread that happened to start it.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-I", sandbox.__file__, str(Path(library.origin).parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            start_new_session=True,
        )
        self._owner = os.getpid()
        self._known.clear()

    def _drop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process = None

    def _ask(self, kind: str, number: int, body: Sequence[Any]) -> list[str | TemplateFault]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        request: bytes = marshal.dumps((kind, number, tuple(body)))
        try:
            process.stdin.write(struct.pack("<Q", len(request)) + request)
            process.stdin.flush()
            expected = len(body) if kind == "render" else 1
            return _answers(_Reply(process.stdout.fileno()), expected)
        except (BrokenPipeError, _Died) as error:
            why = self._cause(error)
            raise _Died(why) from error
        except BaseException:
            self._drop()  # half a reply may be under way
            raise

    def _cause(self, error: Exception) -> str:
        """Why the process ended, in words for a person."""
        late = str(error) == "late"
        process = self._process
        assert process is not None
        if late:
            process.kill()
        code = process.wait()
        self._drop()
        if late:
            return f"no rendering came within {_WALL_SECONDS:.0f} s"
        if code == -27:  # SIGPROF
            return f"it takes more than {sandbox.CPU_SECONDS:.0f} s of processor time"
        return f"it crashed the process that renders it (exit code {code})"


class _Reply:
    """Bytes of one reply as they come, with an end to the patience."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._deadline = time.monotonic() + _WALL_SECONDS

    def take(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            left = self._deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise _Died("late")
            part = os.read(self._descriptor, min(size, 1 << 20))
            if not part:
                raise _Died("ended")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _step(blobs: Sequence[bytes], start: int, alone: bool) -> list[bytes]:
    """The jobs of the next round trip: as many as fit, at least one."""
    size, end = len(blobs[start]), start + 1
    while not alone and end < len(blobs) and size + len(blobs[end]) <= _STEP_LIMIT:
        size += len(blobs[end])
        end += 1
    return list(blobs[start:end])


def _answers(reply: _Reply, count: int) -> list[str | TemplateFault]:
    heads = list(struct.iter_unpack("<BQ", reply.take(9 * count)))
    total = sum(size for _, size in heads)
    if total > sandbox.MEMORY_BYTES:
        raise _Died("a reply that cannot be")
    body = reply.take(total)
    answers: list[str | TemplateFault] = []
    start = 0
    for status, size in heads:
        text = body[start : start + size].decode("utf-8", "surrogatepass")
        answers.append(text if status == sandbox.OK else TemplateFault(text))
        start += size
    return answers


RENDERER = Renderer()
"""The program's own."""
