"""The host in a process of its own: what it says when a job cannot be done."""

from __future__ import annotations

import time

import pytest

from core.config import files
from core.config.errors import FailedError
from core.config.schema import RunConfig
from core.record.folder import RunFolder, write_private
from core.record.lock import holder
from core.record.state import RunState, state_of
from core.run.host import Exit, Host
from core.run.link import Link


def wait_for_end(link: Link, seconds: float = 60) -> RunState:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = state_of(link.folder)
        if not state.live and holder(link.folder.lock) is None:
            return state
        time.sleep(0.1)
    raise AssertionError(state_of(link.folder))


def test_a_job_that_cannot_start_is_told_in_the_journal(run: RunFolder, config: RunConfig) -> None:
    config.run.engine_host = "process"
    write_private(run.config, files.dump(config))
    link = Link(run)
    link.launch("prepare")
    state = wait_for_end(link)
    assert state.status == "failed"
    assert state.failure is not None
    assert "tokenizer.json" in state.failure.message  # the stand-in for a model has none
    assert state.failure.remedies
    assert state.attempt == 1


def test_a_gpu_that_is_not_there_is_told_in_the_journal(run: RunFolder, config: RunConfig) -> None:
    config.run.engine_host = "process"
    config.run.devices = "63"
    write_private(run.config, files.dump(config))
    link = Link(run)
    link.launch("prepare")
    state = wait_for_end(link)
    assert state.failure is not None
    assert state.failure.kind == "no_device"


def test_a_broken_configuration_stops_before_the_journal(run: RunFolder) -> None:
    write_private(run.config, "[train]\nlearning_rate = 'fast'\n")
    with pytest.raises(Exception, match="learning_rate"):
        Link(run).launch("prepare")


def test_a_host_that_dies_at_once_is_reported(
    run: RunFolder, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.run.engine_host = "process"
    write_private(run.config, files.dump(config))
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(FailedError, match="did not start"):
        Link(run).launch("prepare")


@pytest.mark.parametrize(
    ("code", "printed", "kind", "said"),
    [
        (1, "torch.OutOfMemoryError: CUDA out of memory", "out_of_memory", "GPU"),
        (-11, "", "crashed", "SIGSEGV"),
    ],
)
def test_a_worker_that_dies_silently_is_explained(
    code: int, printed: str, kind: str, said: str, run: RunFolder, config: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    write_private(run.config, files.dump(config))
    write_private(run.worker_log, printed)
    died = Exit(1, code, "it ended")
    monkeypatch.setattr(Host, "_attempt", lambda self: died)
    assert Host(run, "merge", {}).run() == 1
    failure = state_of(run).failure
    assert failure is not None
    assert failure.kind == kind
    assert said in failure.message
    assert failure.remedies[-1] == f"read {run.worker_log}"
