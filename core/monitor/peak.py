"""How much of a GPU's memory was in use at most, while something ran."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.monitor.nvml import NoNvmlError, Nvml

LOOK_SECONDS = 0.01


class Peak:
    """Looks at one GPU, that of a ``uuid`` or else the first, with all that uses it.

    Answers are None where NVML, or the GPU, is not there.
    """

    def __init__(self, uuid: str | None = None):
        self._nvml, self._handle = _card(uuid)
        self.before_bytes = self.used_bytes()
        """In use when this was made."""
        self._most = 0

    def used_bytes(self) -> int | None:
        memory = self._nvml.memory(self._handle) if self._nvml else None
        return memory.used_bytes if memory else None

    @property
    def most_bytes(self) -> int | None:
        """Highest use while it was last watched."""
        return self._most if self._nvml else None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note the highest use, in a thread."""
        self._most, over = self.used_bytes() or 0, threading.Event()
        looker = threading.Thread(target=self._look, args=(over,), daemon=True)
        looker.start()
        try:
            yield
        finally:
            over.set()
            looker.join()

    def _look(self, over: threading.Event) -> None:
        while self._nvml and not over.wait(LOOK_SECONDS):
            self._most = max(self._most, self.used_bytes() or 0)


def _card(uuid: str | None) -> tuple[Nvml | None, Any]:
    try:
        nvml = Nvml()
    except NoNvmlError:
        return None, None
    handle = next(iter(nvml.handles()), None) if uuid is None else nvml.by_uuid(uuid)
    return (nvml, handle) if handle is not None else (None, None)
