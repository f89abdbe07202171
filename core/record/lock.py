"""One writer a run: a kernel lock that ends with its process, and a note of who holds it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from core.config.errors import RefusedError


@dataclass(frozen=True)
class Holder:
    """Who holds a run. ``started`` is the process's start time, which tells reused pids apart."""

    pid: int
    started: float
    host: str


class RunLock:
    """Holds a run's lock until ``release`` or the end of the process, however it ends."""

    def __init__(self, path: Path):
        """Take the lock. Raises RefusedError, with the holder, when somebody has it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            who = _note(path)
            text = f"process {who.pid} on {who.host}" if who else "another process"
            raise RefusedError(
                f"the run {path.parent.name} is already being worked on by {text}",
                kind="run_locked",
                remedies=(f"watch it: finetui attach {path.parent.name}",),
            ) from error
        import psutil  # the screen only asks who holds a lock, and starts without it

        me = psutil.Process()
        note = json.dumps(asdict(Holder(me.pid, me.create_time(), socket.gethostname())))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note.encode(), 0)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holder(path: Path) -> Holder | None:
    """Who works on the run now, or None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _note(path) or Holder(0, 0.0, "?")
    finally:
        os.close(descriptor)
    return None


def _note(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # the holder is between taking the lock and writing its note
