"""The screen's hold on one run: the only place that has a Link.

Records are drained on a timer and folded into plain facts: the run's state, curves, log lines,
readings. Each drain gives one `Update` for the whole screen, however much has happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from core.config.schema import RunConfig
from core.record import events as ev
from core.record.commands import Name
from core.record.folder import RunFolder
from core.record.state import LIVE, RunState
from tui.sentences import sentence
from tui.widgets.line_chart import MarkKind
from tui.widgets.log_buffer import LogLine
from tui.widgets.series import Series

LOG_LINES = 50_000
"""Lines that one drain hands on; more than the log view keeps would be thrown away there."""


LOADS = 120
"""Readings of the load that are kept: two minutes, at one a second."""


class LinkLike(Protocol):
    """What the screen needs of `core.run.link.Link`; an idle stand-in serves the tests."""

    folder: RunFolder

    def launch(self, job: str, params: Mapping[str, str] | None = None) -> None: ...

    def send(self, name: Name) -> str: ...

    def follow(self) -> None: ...

    def drain(self) -> list[ev.Record]: ...

    def status(self, state: RunState) -> str: ...

    def close(self) -> None: ...

    def join(self, seconds: float) -> bool: ...


class LinkMaker(Protocol):
    """How links are made: one on a run that is there, or one that starts a new run."""

    def open(self, folder: RunFolder) -> LinkLike: ...

    def start(self, config: RunConfig, root: Path) -> LinkLike: ...


class RealLinks:
    """Links of `core.run.link`, imported when the first is made."""

    def open(self, folder: RunFolder) -> LinkLike:
        from core.run.link import Link

        return Link(folder)

    def start(self, config: RunConfig, root: Path) -> LinkLike:
        from core.run.link import Link

        return Link.start(config, root)


@dataclass
class Curves:
    """Everything the graphs show. One series a curve; `marks` stand on the step axis."""

    train: Series = field(default_factory=Series)
    evaluation: Series = field(default_factory=Series)
    learning_rate: Series = field(default_factory=Series)
    grad_norm: Series = field(default_factory=Series)
    speed: Series = field(default_factory=Series)
    marks: dict[tuple[int, MarkKind], None] = field(default_factory=dict)

    def all(self) -> tuple[Series, ...]:
        return self.train, self.evaluation, self.learning_rate, self.grad_norm, self.speed

    def extend(self, steps: list[tuple[ev.StepDone, float]]) -> None:
        """Add many steps, each with its time, at once."""
        if not steps:
            return
        at = [event.step for event, _ in steps]
        times = [time for _, time in steps]
        self.train.extend(at, times, [event.loss for event, _ in steps])
        self.learning_rate.extend(at, times, [event.learning_rate for event, _ in steps])
        self.grad_norm.extend(at, times, [event.grad_norm for event, _ in steps])
        self.speed.extend(at, times, [event.tokens_per_second for event, _ in steps])

    def roll_back(self, step: int) -> None:
        """Forget what a resume from `step` does over again."""
        for series in self.all():
            series.truncate_above(step)
        self.marks = {mark: None for mark in self.marks if mark[0] <= step}
        self.marks[(step, "resumed")] = None

    def mark_best(self, step: int) -> None:
        """There is one best step: the newest such mark takes the place of the former."""
        self.marks = {mark: None for mark in self.marks if mark[1] != "best"}
        self.marks[(step, "best")] = None


@dataclass(frozen=True)
class Update:
    """What changed in one drain. Everything else is read from the session itself."""

    lines: tuple[LogLine, ...] = ()
    curves: bool = False
    meters: bool = False
    answers: bool = False
    news: tuple[ev.Event, ...] = ()
    """Events that a person should hear of even when the log is not in sight."""


NEWS = (
    ev.JobFinished, ev.JobStopped, ev.JobFailed, ev.GuardTripped, ev.WorkerExited, ev.Merged,
    ev.CommandAnswered,
)  # fmt: skip


class Session:
    """One run at a time, or none. Calls to `start`, `launch` and `send` may block: use a thread."""

    def __init__(self, root: Path, links: LinkMaker | None = None):
        self.root = root
        self._links: LinkMaker = links or RealLinks()
        self._link: LinkLike | None = None
        self._inside: list[LinkLike] = []
        """Links whose job runs in this program (run.engine_host thread) and is no longer shown."""
        self._clear()

    def _clear(self) -> None:
        self.state = RunState()
        self.status = "new"
        self.curves = Curves()
        self.gpus: dict[int, ev.GpuSampled] = {}
        self.process: ev.ProcessSampled | None = None
        self.loads: deque[float] = deque(maxlen=LOADS)
        self.answers: dict[tuple[int, str], ev.SampleGenerated] = {}
        self.caught_up = False
        self.failure = ""
        """Why the last job failed; empty while there is none, or when one began since."""
        self._fresh = False
        """Whether the run was made here just now: then nothing of it is history."""

    @property
    def folder(self) -> RunFolder | None:
        """The run that is shown, or None before there is one."""
        return self._link.folder if self._link else None

    @property
    def live(self) -> bool:
        """Whether a job runs now."""
        return self.status in LIVE

    @property
    def has_adapter(self) -> bool:
        """Whether there is something to merge: a training that ended, or saved when it stopped."""
        folder = self.folder
        return folder is not None and (self.state.trained or folder.adapter.is_dir())

    def attach(self, folder: RunFolder) -> None:
        """Show a run that is there already, with its whole history."""
        self._hold(self._links.open(folder))

    def start(self, config: RunConfig) -> LinkLike:
        """Make a run and start its training. Raises FinetuiError; nothing is shown yet.

        Give the result to `show` in the screen's own thread.
        """
        return self._links.start(config, self.root)

    def show(self, link: LinkLike) -> None:
        """Show the run of a link that `start` returned."""
        self._hold(link)
        self._fresh = True

    def release(self) -> None:
        """Show no run any more. The run itself goes on."""
        if self._link is not None:
            self._link.close()
            if not self._link.join(0):
                self._inside.append(self._link)
        self._link = None
        self._clear()

    def leave(self) -> None:
        """Before the program ends: jobs that run inside it save first, however long that takes."""
        self.release()
        inside = [link for link in self._inside if not link.join(0)]
        for link in inside:
            link.send("StopAndSave")
        for link in inside:
            while not link.join(1.0):
                pass

    def launch(self, job: str) -> None:
        """Start a job on the run that is shown. Raises FinetuiError."""
        if self._link is not None:
            self._link.launch(job)

    def send(self, name: Name) -> None:
        """Ask the running job for something; its answer comes as an event."""
        if self._link is not None:
            self._link.send(name)

    def _hold(self, link: LinkLike) -> None:
        self.release()
        self._link = link
        link.follow()

    def drain(self) -> Update | None:
        """Take in what has happened since the last call; None when nothing has."""
        if self._link is None:
            return None
        records = self._link.drain()
        before = self.status
        update = _Fold(self).take(records)
        self.status = self._link.status(self.state)
        # News of the past, read when a run is opened, is history and no news.
        if not (self.caught_up or self._fresh):
            update = Update(update.lines, update.curves, update.meters, update.answers)
        self.caught_up = getattr(self._link, "caught_up", True)
        return update if records or self.status != before else None


class _Fold:
    """Folds one batch of records into a session."""

    def __init__(self, session: Session):
        self._session = session
        self._steps: list[tuple[ev.StepDone, float]] = []
        self._lines: list[LogLine] = []
        self._news: list[ev.Event] = []
        self._curves = self._meters = self._answers = False

    def take(self, records: list[ev.Record]) -> Update:
        for record in records:
            self._session.state.apply(record)
            self._measure(record)
            told = sentence(record.event)
            if isinstance(record.event, ev.JobStarted):
                self._session.failure = ""
            elif isinstance(record.event, ev.JobFailed):
                self._session.failure = record.event.message
            if told is not None:
                self._lines.append(LogLine(record.time, told[0], told[1]))
            if isinstance(record.event, NEWS):
                self._news.append(record.event)
        self._flush()
        return Update(
            tuple(self._lines[-LOG_LINES:]),
            self._curves,
            self._meters,
            self._answers,
            tuple(self._news),
        )

    def _measure(self, record: ev.Record) -> None:
        session = self._session
        match record.event:
            case ev.StepDone() as event:
                self._add_step(event, record.time)
            case ev.EvalDone() as event:
                self._flush()
                self._add_eval(event, record.time)
            case ev.CheckpointSaved() as event:
                session.curves.marks[(event.step, "saved")] = None
                self._curves = True
            case ev.Resumed() as event:
                self._flush()
                session.curves.roll_back(event.from_step)
                self._curves = True
            case ev.TrainingStarted():
                self._curves = True
            case ev.GpuSampled() as event:
                session.gpus[event.index] = event
                if event.index == min(session.gpus) and event.utilization_percent >= 0:
                    session.loads.append(event.utilization_percent / 100)
                self._meters = True
            case ev.ProcessSampled() as event:
                session.process = event
                session.loads.append(event.cpu_percent / 100)
                self._meters = True
            case ev.SampleGenerated() as event:
                session.answers[(event.index, event.model)] = event
                self._answers = True
            case ev.Merged() | ev.AnswersCompared():
                self._answers = True

    def _add_step(self, event: ev.StepDone, time: float) -> None:
        last = self._steps[-1][0].step if self._steps else _last(self._session.curves.train)
        if event.step < last:
            # A crash before its first resume event: what follows supersedes what was there.
            self._flush()
            for series in self._session.curves.all():
                series.truncate_above(event.step - 1)
        self._steps.append((event, time))

    def _add_eval(self, event: ev.EvalDone, time: float) -> None:
        curves = self._session.curves
        if event.step < _last(curves.evaluation):
            curves.evaluation.truncate_above(event.step - 1)
        curves.evaluation.append(event.step, time, event.loss)
        if event.best:
            curves.mark_best(event.step)
        self._curves = True

    def _flush(self) -> None:
        if self._steps:
            self._session.curves.extend(self._steps)
            self._steps = []
            self._curves = True


def _last(series: Series) -> float:
    return float(series.steps[-1]) if len(series) else -1.0
