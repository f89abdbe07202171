"""Where a run stands, folded from its events."""

from __future__ import annotations

from core.record import events as ev
from core.record.state import RunState

STEP = ev.StepDone(
    step=4, epoch=0.5, loss=1.5, learning_rate=1e-4, grad_norm=0.2, tokens=400, step_seconds=2.0,
    tokens_per_second=50.0,
)  # fmt: skip


def state_after(*events: ev.Event) -> RunState:
    state = RunState()
    for number, event in enumerate(events):
        state.apply(ev.Record(number, float(number), 1, "", event))
    return state


def job(name: str, *events: ev.Event) -> list[ev.Event]:
    return [ev.HostStarted(pid=1, job=name), ev.JobStarted(job=name), *events]


STARTED = ev.TrainingStarted(total_steps=10, from_step=0, epochs=1, steps_per_epoch=10)
TRAINED = [*job("train", STARTED, STEP), ev.JobFinished(job="train")]
STOPPED = [*job("train", STARTED, STEP), ev.JobStopped(job="train", step=4, reason="asked")]


def test_a_training_that_runs() -> None:
    state = state_after(*job("train", STARTED, STEP))
    assert (state.status, state.live, state.step, state.total_steps) == ("running", True, 4, 10)
    assert state.remaining_seconds == 12.0


def test_prepared_is_not_finished() -> None:
    state = state_after(*job("prepare"), ev.JobFinished(job="prepare"))
    assert (state.status, state.trained, state.live) == ("prepared", False, False)


def test_a_merge_leaves_the_run_where_training_left_it() -> None:
    merged = ev.JobFinished(job="merge")
    assert state_after(*TRAINED, *job("merge"), merged).status == "finished"
    assert state_after(*STOPPED, *job("merge"), merged).status == "stopped"
    refused = ev.JobFailed(job="merge", kind="no_adapter", message="none")
    state = state_after(*job("prepare"), ev.JobFinished(job="prepare"), *job("merge"), refused)
    assert state.status == "prepared"
    assert state.failure == refused


def test_a_crash_is_told_and_forgotten_after_the_restart() -> None:
    crashed = ev.WorkerExited(pid=1, reason="SIGKILL", will_restart=True)
    assert state_after(*job("train", STARTED, STEP), crashed).status == "restarting"
    again = state_after(
        *job("train", STARTED, STEP), crashed, ev.JobStarted(job="train"),
        ev.Resumed(from_step=2, tier="E", checkpoint="checkpoint-2"),
    )  # fmt: skip
    assert (again.status, again.step) == ("running", 2)


def test_a_merge_of_an_interrupted_run_leaves_it_interrupted() -> None:
    state = state_after(*job("train", STARTED, STEP), *job("merge"), ev.JobFinished(job="merge"))
    assert state.status == "interrupted"


def test_a_refused_resume_changes_nothing() -> None:
    refused = ev.JobFailed(job="train", kind="changed", message="no", exit_code=3)
    state = state_after(*STOPPED, *job("train"), refused)
    assert (state.status, state.failure) == ("stopped", refused)
    failed = ev.JobFailed(job="train", kind="diverged", message="no")
    assert state_after(*STOPPED, *job("train"), failed).status == "failed"
