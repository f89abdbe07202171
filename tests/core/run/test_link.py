"""A link starts, follows and asks; here with the engine in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.config.errors import InputError, RefusedError
from core.config.schema import RunConfig
from core.record.commands import Command, Stopped, send
from core.record.events import CommandAnswered, LineLogged, ProcessSampled, Record
from core.record.folder import RunFolder
from core.record.job import Job, Result
from core.record.state import RunState, state_of
from core.run.link import Link

Use = Callable[[Callable[[Job], Result]], None]


def until_saved(job: Job) -> Result:
    """A stand-in for training: counts steps until it is told to stop."""
    while True:
        job.step += 1
        if job.control.stop_reason:
            raise Stopped(job.step, job.control.stop_reason, f"checkpoint-{job.step}")
        job.control.check()
        job.control.wait_while_paused()
        time.sleep(0.01)


def collect(link: Link, wanted: type, seconds: float = 10) -> list[Record]:
    link.follow()
    records: list[Record] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        records += link.drain()
        if any(isinstance(record.event, wanted) for record in records):
            return records
        time.sleep(0.02)
    raise AssertionError(f"no {wanted.__name__} in {records}")


def test_start_follow_ask_and_end(config: RunConfig, tmp_path: Path, body: Use) -> None:
    body(until_saved)
    link = Link.start(config, tmp_path / "runs")
    records = collect(link, ProcessSampled)
    asked = link.send("StopAndSave")
    assert link.join(10)
    records += collect(link, CommandAnswered)
    answers = [r.event for r in records if isinstance(r.event, CommandAnswered)]
    assert [(answer.command_id, answer.accepted) for answer in answers] == [(asked, True)]
    state = state_of(link.folder)
    assert (state.status, state.engine_host, state.device) == ("stopped", "thread", "CPU")
    assert link.folder.heartbeat.exists()
    link.close()


def test_a_busy_run_takes_no_second_job(config: RunConfig, tmp_path: Path, body: Use) -> None:
    body(until_saved)
    link = Link.start(config, tmp_path / "runs")
    with pytest.raises(RefusedError, match="busy"):
        Link(link.folder).launch("merge")
    link.send("Abort")
    assert link.join(10)
    assert state_of(link.folder).status == "stopped"


def test_a_command_for_an_earlier_attempt_is_ignored(
    config: RunConfig, tmp_path: Path, body: Use
) -> None:
    body(until_saved)
    link = Link.start(config, tmp_path / "runs")
    send(link.folder.commands, Command("Abort", attempt=0))
    time.sleep(0.6)
    assert state_of(link.folder).live
    link.send("Abort")
    assert link.join(10)


def test_nothing_is_lost_however_late_the_reader(
    config: RunConfig, tmp_path: Path, body: Use
) -> None:
    lines = 30_000

    def chatter(job: Job) -> Result:
        for number in range(lines):
            job.log(f"line {number}")
        return {}

    body(chatter)
    link = Link.start(config, tmp_path / "runs")
    link.follow()
    assert link.join(60)
    records: list[Record] = []
    end = time.monotonic() + 30
    while len([r for r in records if isinstance(r.event, LineLogged)]) < lines:
        assert time.monotonic() < end
        records += link.drain()
        time.sleep(0.01)
    texts = [r.event.text for r in records if isinstance(r.event, LineLogged)]
    assert texts == [f"line {number}" for number in range(lines)]


def test_paths_become_absolute_and_a_name_is_found(
    config: RunConfig, tmp_path: Path, body: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    body(lambda job: {})
    monkeypatch.chdir(tmp_path)
    config.data.files = ["rows.jsonl"]
    config.model.name_or_path = "./model"
    config.run.name = ""
    link = Link.start(config, tmp_path / "runs")
    assert link.join(10)
    text = link.folder.config.read_text(encoding="utf-8")
    assert str(tmp_path / "rows.jsonl") in text
    assert link.folder.name == "model-rows"


def test_nothing_is_made_when_the_configuration_cannot_start(
    config: RunConfig, tmp_path: Path
) -> None:
    config.data.files = []
    with pytest.raises(InputError, match="no training data"):
        Link.start(config, tmp_path / "runs")
    config.data.files = ["x"]
    config.model.name_or_path = "/no/such/model"
    with pytest.raises(InputError, match="no model folder"):
        Link.start(config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_run_whose_processes_are_gone_is_interrupted(run: RunFolder) -> None:
    state = RunState(status="running")
    assert Link(run).status(state) == "interrupted"
