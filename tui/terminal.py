"""The terminal as Textual drives it, but one that may go away at any moment.

Textual takes a terminal for granted. When one is lost, its writing thread dies of the failed
write, and the screen then waits for ever for room in the queue that nobody empties; its reading
thread spins on the end of the input. An SSH line that stalls and then breaks does both: a screen
nobody sees, on a whole core.
"""

from __future__ import annotations

import select
import sys
import threading
from io import TextIOWrapper
from typing import IO, Any, cast

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

LOOK_MS = 1000
"""How long the watch sleeps at most, so that it ends soon after the screen does. The loss of the
terminal wakes it at once."""


class LossyFile:
    """Writes to `file` until that fails, then drops what comes: nobody could read it."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.lost = threading.Event()

    def write(self, text: str) -> int:
        if not self.lost.is_set():
            try:
                return self._file.write(text)
            except OSError:
                self.lost.set()
        return len(text)

    def flush(self) -> None:
        if not self.lost.is_set():
            try:
                self._file.flush()
            except OSError:
                self.lost.set()

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()


class TerminalDriver(LinuxDriver):
    """Ends the screen when its terminal is lost, whatever its threads are waiting for then."""

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        # Textual draws on stderr, which may be a file by now.
        drawn_on = (sys.__stderr__, sys.__stdout__)
        self._output = LossyFile(next((f for f in drawn_on if f and f.isatty()), sys.stderr))
        self._file = cast(TextIOWrapper, self._output)
        self._closed = threading.Event()

    def start_application_mode(self) -> None:
        super().start_application_mode()  # type: ignore[no-untyped-call]
        threading.Thread(target=self._watch, name="finetui-terminal", daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        super().close()

    def _watch(self) -> None:
        """Wait for the loss, which comes with no signal under some launchers (`setsid`, a
        container's init)."""
        hang_up = select.poll()
        hang_up.register(self.fileno, 0)  # no event asked for: only the hang-up is told
        while not self._closed.is_set():
            if hang_up.poll(LOOK_MS) or self._output.lost.is_set():
                self._output.lost.set()
                self.exit_event.set()  # the reading thread
                self._loop.call_soon_threadsafe(self._app.exit)
                return
