"""The engine tells every end of a job, whatever the job does."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.record.commands import Stopped
from core.record.events import Event, JobFailed, JobFinished, JobStarted, JobStopped
from core.record.folder import RunFolder
from core.record.job import Job, Result
from core.record.journal import Journal, read
from core.run.engine import Engine

Use = Callable[[Callable[[Job], Result]], None]


def perform(run: RunFolder, config: RunConfig, job: str = "train") -> tuple[Engine, list[Event]]:
    journal = Journal(run.events, attempt=1)
    engine = Engine(run, config, journal)
    engine.start(job)
    assert engine.ended.wait(10)
    journal.close()
    return engine, [record.event for record in read(run.events)]


def test_a_finished_job_leaves_its_result(run: RunFolder, config: RunConfig, body: Use) -> None:
    def work(job: Job) -> Result:
        job.stage("training", "now")
        job.progress(1, 2, "rows")
        return {"steps": 3, "thread": threading.current_thread().name}

    body(work)
    engine, events = perform(run, config)
    assert engine.outcome == "finished"
    assert events[1] == JobStarted(job="train")
    assert events[-1] == JobFinished(job="train", result={"steps": 3, "thread": "engine"})
    assert [record.stage for record in read(run.events)][2:] == ["starting"] + ["training"] * 3


@pytest.mark.parametrize(
    ("error", "outcome", "kind"),
    [
        (InputError("no such file x", kind="no_data", remedies=("look",)), "failed", "no_data"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "failed", "out_of_memory"),
        (ZeroDivisionError("x"), "failed", None),
        (SystemExit(1), "failed", None),
    ],
)
def test_every_failure_is_told(
    run: RunFolder,
    config: RunConfig,
    body: Use,
    error: BaseException,
    outcome: str,
    kind: str | None,
) -> None:
    def work(job: Job) -> Result:
        raise error

    body(work)
    engine, events = perform(run, config)
    assert engine.outcome == outcome
    last = events[-1]
    assert isinstance(last, JobFailed)
    assert last.message
    assert "Traceback" not in last.message
    if kind:
        assert last.kind == kind
        assert last.remedies


def test_a_stopped_job_says_where_and_why(run: RunFolder, config: RunConfig, body: Use) -> None:
    def work(job: Job) -> Result:
        raise Stopped(7, "asked", "checkpoint-7")

    body(work)
    engine, events = perform(run, config)
    assert engine.outcome == "stopped"
    assert events[-1] == JobStopped(job="train", step=7, reason="asked", saved="checkpoint-7")


def test_an_abort_ends_the_job(run: RunFolder, config: RunConfig, body: Use) -> None:
    def work(job: Job) -> Result:
        job.step = 4
        job.control.take("Abort")
        job.progress(1, 2, "rows")
        raise AssertionError("progress must have raised")

    body(work)
    engine, events = perform(run, config)
    assert engine.outcome == "stopped"
    assert isinstance(events[-1], JobStopped)
    assert events[-1].step == 4
