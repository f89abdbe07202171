"""What can be asked of a running job, and how a job hears it.

A command goes into ``commands.jsonl`` with an id and the attempt it is meant for. The worker
reads the file and passes commands to the Control that its job looks at between steps.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Name = Literal["Pause", "Continue", "SaveNow", "StopAndSave", "Abort"]
NAMES: tuple[Name, ...] = ("Pause", "Continue", "SaveNow", "StopAndSave", "Abort")


@dataclass(frozen=True)
class Command:
    """One request. ``attempt`` keeps a late command from hitting the attempt after it."""

    name: Name
    attempt: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float = field(default_factory=time.time)


def send(path: Path, command: Command) -> None:
    """Append a command; one write, so that commands of several screens do not mix."""
    line = json.dumps(asdict(command)).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


class CommandTail:
    """Reads commands as they come; skips lines that are not commands."""

    def __init__(self, path: Path):
        self._path = path
        self._offset = 0

    def poll(self) -> Iterator[Command]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(1 << 20)
        except FileNotFoundError:
            return
        complete, newline, rest = chunk.rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        if not newline and len(rest) == 1 << 20:
            self._offset += len(rest)  # a line without end is garbage: never wait for its rest
        for line in complete.split(b"\n"):
            command = _parse(line)
            if command is not None:
                yield command


def _parse(line: bytes) -> Command | None:
    try:
        value = json.loads(line)
        command = Command(
            name=value["name"],
            attempt=int(value["attempt"]),
            id=str(value["id"])[:64],
            time=float(value["time"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
    return command if command.name in NAMES else None


class Aborted(Exception):  # noqa: N818 - not an error: somebody asked
    """Raised inside a job when it was told to abort."""


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked
    """Raised inside a job that ended early on request, after it saved what it could."""

    def __init__(self, step: int, reason: str, saved: str = ""):
        super().__init__(reason)
        self.step = step
        self.reason = reason
        self.saved = saved


class Control:
    """The requests that a running job has not yet met. Thread-safe.

    The worker's main thread sets; the job, in the engine's thread, looks between steps.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._paused = False
        self._save = False
        self._stop = ""
        self._abort = False

    def take(self, command: Name, reason: str = "asked") -> None:
        """Note a command for the job."""
        with self._changed:
            match command:
                case "Pause":
                    self._paused = True
                case "Continue":
                    self._paused = False
                case "SaveNow":
                    self._save = True
                case "StopAndSave":
                    self._stop = reason
                    self._paused = False
                case "Abort":
                    self._abort = True
                    self._paused = False
            self._changed.notify_all()

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def stop_reason(self) -> str:
        """Why the job should stop and save; empty when it should not."""
        return self._stop

    def take_save(self) -> bool:
        """Whether a save was asked for since the last call."""
        with self._changed:
            asked, self._save = self._save, False
        return asked

    def wait_while_paused(self, seconds: float = 0.5) -> bool:
        """Sleep while paused, at most ``seconds``; True while the pause goes on."""
        with self._changed:
            if self._paused:
                self._changed.wait(seconds)
            return self._paused

    def check(self) -> None:
        """Raise Aborted when the job was told to abort. Cheap: call it often."""
        if self._abort:
            raise Aborted
