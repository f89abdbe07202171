"""A Link that plays a journal instead of starting processes, and what a call printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config import files
from core.config.schema import RunConfig
from core.record import events as ev
from core.record import folder
from core.record.folder import RunFolder
from core.record.journal import Journal, Tail
from core.record.state import RunState, status_of


class FakeLink:
    """Starts nothing: a launched job's events come from ``script``; ``sent`` keeps requests.

    An exception among the events is raised when it is reached, as Ctrl-C would be.
    """

    script: list[ev.Event | BaseException] = []
    on_send: dict[str, list[ev.Event]] = {}
    sent: list[str] = []
    launched: list[tuple[str, dict[str, str]]] = []
    caught_up = True

    def __init__(self, run: RunFolder):
        self.folder = run
        self._tail = Tail(run.events)
        self._pending: list[ev.Event | BaseException] = []

    @classmethod
    def start(cls, config: RunConfig, root: Path, job: str = "train") -> FakeLink:
        name = config.run.name or "made-up"
        text, again = files.dump(config), job == "prepare"
        started = cls(folder.create(root, name, text, again=again))
        started.launch(job)
        return started

    def launch(self, job: str, params: Mapping[str, str] | None = None) -> None:
        self.launched.append((job, dict(params or {})))
        self._append(ev.HostStarted(pid=1, job=job), ev.JobStarted(job=job))
        self._pending = list(self.script)

    def send(self, name: str) -> str:
        self.sent.append(name)
        for event in self.on_send.get(name, []):
            self._append(event)
        return f"id-{name}"

    def follow(self) -> None: ...

    def drain(self) -> list[ev.Record]:
        if self._pending:
            nxt = self._pending.pop(0)
            if isinstance(nxt, BaseException):
                raise nxt
            self._append(nxt)
        return self._tail.poll()

    def status(self, state: RunState) -> str:
        return status_of(self.folder, state)

    def close(self) -> None: ...

    def join(self, seconds: float) -> bool:
        return True

    def _append(self, *events: ev.Event) -> None:
        journal = Journal(self.folder.events, attempt=1)
        for event in events:
            journal.append(event)
        journal.close()


class Said:
    """One call of the program: its exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]
