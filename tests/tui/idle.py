"""An idle stand-in for the link: replays a journal and notes what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from textual.app import App
from textual.pilot import Pilot
from textual.worker import WorkerCancelled

from core.config import files
from core.config.schema import RunConfig
from core.record.commands import Name
from core.record.events import Record
from core.record.folder import RunFolder, create
from core.record.journal import read
from core.record.state import RunState

TRAINING = '"type": "StepDone", "event": {"step": 14,'
"""In the middle of the recorded training."""

TRAINED = '"type": "JobFinished"'
"""Behind its end, before the merge."""


async def settle(pilot: Pilot[None]) -> None:
    """Wait until threads are done and what they found is shown."""
    await pilot.pause()
    await _finished(pilot)
    await pilot.pause(0.3)
    await _finished(pilot)
    await pilot.pause()


async def _finished(pilot: Pilot[None]) -> None:
    """Wait for all threads; where one took the place of another, for that one too."""
    for _ in range(10):
        try:
            await pilot.app.workers.wait_for_complete()
        except WorkerCancelled:
            continue
        return


def shown(app: App[None]) -> str:
    """The screen as plain text, a line a row."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text for strip in strips[: app.size.height])


class IdleLink:
    """Gives the records of its folder's journal at once; `more` gives what comes later."""

    def __init__(self, folder: RunFolder, *, alive: bool = True):
        self.folder = folder
        self.sent: list[Name] = []
        self.launched: list[str] = []
        self.closed = False
        self.caught_up = False
        self.alive = alive
        self._waiting = list(read(folder.events)) if folder.events.exists() else []
        self._drained = False

    def more(self, *records: Record) -> None:
        self._waiting += records

    def launch(self, job: str, params: Mapping[str, str] | None = None) -> None:
        self.launched.append(job)

    def send(self, name: Name) -> str:
        self.sent.append(name)
        return "id"

    def follow(self) -> None:
        pass

    def drain(self) -> list[Record]:
        records, self._waiting = self._waiting, []
        self.caught_up = self._drained
        self._drained = True
        return records

    def status(self, state: RunState) -> str:
        return state.status if self.alive or not state.live else "interrupted"

    def close(self) -> None:
        self.closed = True

    def join(self, seconds: float) -> bool:
        return True


class IdleLinks:
    """Makes idle links, and keeps them for a test to look at."""

    def __init__(self, *, alive: bool = True) -> None:
        self.made: list[IdleLink] = []
        self.started: list[RunConfig] = []
        self._alive = alive

    @property
    def link(self) -> IdleLink:
        return self.made[-1]

    def open(self, folder: RunFolder) -> IdleLink:
        self.made.append(IdleLink(folder, alive=self._alive))
        return self.link

    def start(self, config: RunConfig, root: Path) -> IdleLink:
        self.started.append(config)
        folder = create(root, config.run.name or "fresh", files.dump(config))
        return self.open(folder)
