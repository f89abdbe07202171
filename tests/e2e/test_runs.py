"""Whole runs, with the engine in a process of its own and inside this one.

The promise: kill it at any instant; the finished adapter is the same, bit for bit.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.config.schema import RunConfig
from core.record import events as ev
from core.record.journal import read
from core.record.lock import holder
from core.record.state import RunState, state_of, status_of
from core.run.link import Link

pytestmark = pytest.mark.trains

WAIT_SECONDS = 180.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for this module's runs, with one thread a process so that the bits agree."""
    path = tmp_path_factory.mktemp("runs")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_STATE_HOME", str(path / "state"))
    patch.setenv("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    yield path
    patch.undo()


@pytest.fixture(scope="module")
def make(place: Path, tiny_model: Path) -> Callable[[str, str], RunConfig]:
    rows = place / "rows.jsonl"
    rows.write_text(
        "".join(
            json.dumps({"instruction": f"say the number {n}", "output": f"{n} is the number"})
            + "\n"
            for n in range(64)
        ),
        encoding="utf-8",
    )

    def config(name: str, engine_host: str) -> RunConfig:
        return RunConfig.model_validate(
            {
                "model": {"name_or_path": str(tiny_model)},
                "data": {"files": [str(rows)], "max_length": 64, "packing": False},
                "train": {"max_steps": 12, "per_device_train_batch_size": 2,
                          "gradient_accumulation_steps": 2, "save_steps": 3,
                          "learning_rate": 1e-3},
                "evaluate": {"eval_steps": 4, "compare_rows": 2, "max_new_tokens": 8},
                "run": {"name": name, "engine_host": engine_host, "devices": "cpu"},
            }
        )  # fmt: skip

    return config


def wait_for(link: Link, wanted: Callable[[RunState], bool]) -> RunState:
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        state = state_of(link.folder)
        if wanted(state):
            return state
        if state.status == "failed":
            break
        time.sleep(0.1)
    log = link.folder.worker_log
    told = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise AssertionError(f"{state_of(link.folder)}\n{told}")


def wait_for_end(link: Link) -> RunState:
    return wait_for(link, lambda s: not s.live and holder(link.folder.lock) is None)


def told(link: Link, kind: type[ev.Event]) -> list[ev.Event]:
    return [r.event for r in read(link.folder.events) if isinstance(r.event, kind)]


def sha256(link: Link) -> str:
    finished = [e for e in told(link, ev.JobFinished) if getattr(e, "job", "") == "train"]
    assert finished, told(link, ev.JobFailed)
    last = finished[-1]
    assert isinstance(last, ev.JobFinished)
    return str(last.result["adapter_sha256"])


@pytest.fixture(scope="module")
def straight(place: Path, make: Callable[[str, str], RunConfig]) -> Link:
    """An undisturbed run, with the engine in this process."""
    link = Link.start(make("straight", "thread"), place)
    assert link.join(WAIT_SECONDS)
    assert state_of(link.folder).status == "finished", told(link, ev.JobFailed)
    return link


def test_a_run_tells_its_whole_story(straight: Link) -> None:
    state = state_of(straight.folder)
    assert (state.step, state.total_steps) == (12, 12)
    assert state.data is not None
    assert state.data.read == state.data.kept + state.data.rejected == 64
    assert state.data.kept == state.data.train_rows + state.data.eval_rows
    assert state.model is not None
    assert state.model.quantization == "NF4"
    steps = [e for e in told(straight, ev.StepDone) if isinstance(e, ev.StepDone)]
    assert [step.step for step in steps] == list(range(1, 13))
    assert steps[-1].loss < steps[0].loss
    assert (straight.folder.adapter / "adapter_model.safetensors").is_file()


def test_stop_and_resume_in_a_thread(
    straight: Link, place: Path, make: Callable[[str, str], RunConfig]
) -> None:
    link = Link.start(make("stopped", "thread"), place)
    wait_for(link, lambda state: state.step >= 5)
    link.send("StopAndSave")
    assert link.join(WAIT_SECONDS)
    stopped = state_of(link.folder)
    assert stopped.status == "stopped"
    assert 5 <= stopped.step < 12
    link.launch("train")
    assert link.join(WAIT_SECONDS)
    resumed = told(link, ev.Resumed)[-1]
    assert isinstance(resumed, ev.Resumed)
    assert (resumed.tier, resumed.from_step) == ("E", stopped.step)
    assert sha256(link) == sha256(straight)


def test_kill_the_worker_and_nobody_watches(
    straight: Link, place: Path, make: Callable[[str, str], RunConfig]
) -> None:
    link = Link.start(make("killed", "process"), place)
    link.close()
    wait_for(link, lambda state: state.step >= 5)
    started = told(link, ev.WorkerStarted)[-1]
    assert isinstance(started, ev.WorkerStarted)
    os.kill(started.pid, signal.SIGKILL)
    assert wait_for_end(link).status == "finished"
    exited = told(link, ev.WorkerExited)[-1]
    assert isinstance(exited, ev.WorkerExited)
    assert exited.will_restart
    assert "SIGKILL" in exited.reason
    assert [e for e in told(link, ev.Resumed) if isinstance(e, ev.Resumed)][-1].tier == "E"
    assert sha256(link) == sha256(straight)


def test_kill_the_host_then_resume_pause_and_merge(
    straight: Link, place: Path, make: Callable[[str, str], RunConfig]
) -> None:
    link = Link.start(make("hostless", "process"), place)
    state = wait_for(link, lambda state: state.step >= 4)
    worker = told(link, ev.WorkerStarted)[-1]
    host = holder(link.folder.lock)
    assert isinstance(worker, ev.WorkerStarted)
    assert host is not None
    os.kill(host.pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while psutil.pid_exists(worker.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not psutil.pid_exists(worker.pid), "the worker outlived its host"
    state = state_of(link.folder)
    assert status_of(link.folder, state) == "interrupted"

    link.launch("train")
    wait_for(link, lambda s: s.attempt == 2 and s.step >= 5)
    link.send("Pause")
    paused = wait_for(link, lambda s: s.status == "paused")
    time.sleep(1.0)
    assert state_of(link.folder).step == paused.step
    link.send("Continue")
    assert wait_for_end(link).status == "finished"
    assert sha256(link) == sha256(straight)

    link.launch("merge")
    state = wait_for_end(link)
    assert state.merged is not None, state.failure
    assert (link.folder.merged / "model.safetensors").is_file()
    assert (link.folder.merged / "tokenizer.json").is_file()
    samples = [e for e in told(link, ev.SampleGenerated) if isinstance(e, ev.SampleGenerated)]
    assert {sample.model for sample in samples} == {"base", "merged"}
