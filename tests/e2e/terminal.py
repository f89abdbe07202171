"""A real pseudo-terminal with a screen one can read, for driving the program as a person does."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import IO

import pyte

ENVIRONMENT = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}


def _environment() -> dict[str, str]:
    """This process's, without the size that a test of Textual may have left in it."""
    sizes = ("COLUMNS", "LINES")
    return {key: value for key, value in os.environ.items() if key not in sizes} | ENVIRONMENT


def _take_terminal() -> None:
    """Make the standard input the controlling terminal, whose loss sends SIGHUP."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """``finetui`` in a terminal of ``columns`` x ``rows``; ``screen`` is what a person sees.

    Its loss is told by SIGHUP, unless not `signalled`: as under launchers that hold it themselves.
    """

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        columns: int = 120,
        rows: int = 40,
        *,
        signalled: bool = True,
        stderr: IO[bytes] | None = None,
    ):
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._guard = threading.Lock()
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tui", *arguments],
            stdin=slave, stdout=slave, stderr=stderr or slave, start_new_session=True, cwd=folder,
            env=_environment(), preexec_fn=_take_terminal if signalled else None,
        )  # fmt: skip
        os.close(slave)
        self._gone = threading.Event()
        self._stalled = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def screen(self) -> str:
        with self._guard:
            return "\n".join(self._screen.display)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, text: str, seconds: float = 60) -> str:
        """Wait until the screen shows ``text``; returns the screen."""
        end = time.monotonic() + seconds
        while text not in (seen := self.screen):
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"{text!r} did not appear in:\n{seen}")
            time.sleep(0.1)
        return seen

    def maps(self) -> str:
        """The libraries that the program has loaded."""
        return Path(f"/proc/{self.process.pid}/maps").read_text(encoding="utf-8")

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()
        self._gone.set()

    def stall(self) -> None:
        """Stop taking what the program writes, as an SSH line does before it breaks."""
        self._stalled.set()

    def hang_up(self, seconds: float = 15) -> int:
        """Lose the connection: the terminal goes away. Returns the program's exit code."""
        self._gone.set()
        return self.process.wait(seconds)

    def wait(self, seconds: float = 15) -> int:
        """Wait for the program to end by itself; returns its exit code."""
        return self.process.wait(seconds)

    def _read(self) -> None:
        """Show what comes, until the terminal is gone. Closing it is left to this thread: a
        descriptor that somebody reads from is not closed by another's close."""
        while not self._gone.is_set():
            if self._stalled.is_set():
                self._gone.wait(0.1)
                continue
            if not select.select([self._master], [], [], 0.1)[0]:
                continue
            try:
                chunk = os.read(self._master, 1 << 16)
            except OSError:  # the program has ended
                break
            with self._guard:
                self._stream.feed(chunk)
        os.close(self._master)
