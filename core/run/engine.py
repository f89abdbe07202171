"""The engine: the background thread that runs jobs, always and everywhere."""

from __future__ import annotations

import importlib
import os
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Literal

from core.config.errors import FinetuiError
from core.config.schema import RunConfig
from core.model import kernels
from core.monitor.remedies import explain
from core.record.commands import Aborted, Control, Stopped
from core.record.events import (
    Event,
    JobFailed,
    JobFinished,
    JobStarted,
    JobStopped,
    LineLogged,
    StageChanged,
)
from core.record.folder import RunFolder, append_private
from core.record.job import Job, Result
from core.record.journal import Journal

Body = Callable[[Job], Result]
Outcome = Literal["running", "finished", "stopped", "failed"]

JOBS: Mapping[str, str] = {
    "prepare": "core.data.prepare:prepare",
    "train": "core.train.trainer:train",
    "merge": "core.deliver.merge:merge",
    "generate": "core.evaluate.generate:generate",
}
"""Job bodies by name. They are imported in the engine's thread, so that torch is loaded there."""


class Engine:
    """Runs one job in a thread of its own and writes what happens into the journal.

    ``control`` is how others reach the job; ``outcome`` and ``ended`` say when it is over.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, journal: Journal):
        self.control = Control()
        self.ended = threading.Event()
        self.outcome: Outcome = "running"
        self._folder = folder
        self._config = config
        self._journal = journal
        self._job: Job | None = None

    @property
    def step(self) -> int:
        """The newest optimizer step of the job."""
        return self._job.step if self._job else 0

    def start(self, name: str, params: Mapping[str, str] | None = None) -> None:
        """Begin a job; returns at once."""
        self._job = Job(
            name=name,
            folder=self._folder,
            config=self._config,
            emit=self._emit,
            control=self.control,
            params=dict(params or {}),
            attempt=self._journal.attempt,
        )
        threading.Thread(target=self._run, args=(self._job,), name="engine", daemon=True).start()

    def _run(self, job: Job) -> None:
        try:
            self._journal.append(JobStarted(job=job.name))
            last = self._perform(job)
            self._journal.append(last)
            self._journal.sync()
        finally:
            self.ended.set()

    def _perform(self, job: Job) -> Event:
        """Run the job's body; say how it ended."""
        try:
            job.stage("starting", "loading libraries")
            kernels.block()
            os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
            _use_first_gpu(job.config)
            result = _body(job.name)(job)
        except Stopped as stop:
            self.outcome = "stopped"
            return JobStopped(job=job.name, step=stop.step, reason=stop.reason, saved=stop.saved)
        except Aborted:
            self.outcome = "stopped"
            return JobStopped(job=job.name, step=job.step, reason="aborted, nothing more was saved")
        except BaseException as error:
            self.outcome = "failed"
            return self._failure(job, error)
        self.outcome = "finished"
        return JobFinished(job=job.name, result=result)

    def _failure(self, job: Job, error: BaseException) -> JobFailed:
        """The failure in plain words; the traceback goes to the log file only."""
        if not isinstance(error, FinetuiError):
            append_private(self._folder.worker_log, "".join(traceback.format_exception(error)))
        told = explain(error)
        return JobFailed(
            job=job.name,
            kind=told.kind,
            message=told.message,
            remedies=tuple(told.remedies),
            exit_code=told.exit_code,
        )

    def _emit(self, event: Event) -> None:
        if isinstance(event, StageChanged):
            self._journal.stage = event.stage
        self._journal.append(event)

    def log(self, text: str, level: str = "info") -> None:
        """A line of the worker's own."""
        self._journal.append(LineLogged(level=level, text=text))


def _body(name: str) -> Body:
    module, _, function = JOBS[name].partition(":")
    body: Body = getattr(importlib.import_module(module), function)
    return body


def _use_first_gpu(config: RunConfig) -> None:
    """Bind this thread to the one visible GPU: torch's current device belongs to a thread."""
    if config.run.devices == "cpu":
        return
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        torch.cuda.set_device(0)
