"""What every job body is given: the run, its settings, a way to tell and a way to be told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from core.config.schema import RunConfig
from core.record.commands import Control
from core.record.events import Event, LineLogged, Progressed, StageChanged
from core.record.folder import RunFolder

Result = dict[str, str | int | float]
"""Plain facts that a job leaves in its JobFinished event."""

_PROGRESS_SECONDS = 0.25


@dataclass
class Job:
    """One job on one run. A body is a function ``(Job) -> Result`` in the engine's thread.

    It emits events, looks at ``control`` between steps, raises FinetuiError for what a person can
    mend, and ``Aborted`` (through ``control.check``) when told to.
    """

    name: str
    folder: RunFolder
    config: RunConfig
    emit: Callable[[Event], None]
    control: Control = field(default_factory=Control)
    params: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    step: int = 0
    """The newest optimizer step; the worker stamps its samples with it."""
    _progressed: float = 0.0

    def stage(self, stage: str, detail: str = "") -> None:
        """Say which stage comes now."""
        self._progressed = 0.0
        self.emit(StageChanged(stage=stage, detail=detail))

    def progress(self, done: int, total: int, unit: str, detail: str = "") -> None:
        """Say how far the stage is, and give an abort its chance.

        Call it as often as you like: the journal gets a few a second, and the last.
        """
        self.control.check()
        now = time.monotonic()
        if done == total or now - self._progressed >= _PROGRESS_SECONDS:
            self._progressed = now
            self.emit(Progressed(done=done, total=total, unit=unit, detail=detail))

    def log(self, text: str, level: str = "info") -> None:
        """A line for the log pane."""
        self.emit(LineLogged(level=level, text=text))
