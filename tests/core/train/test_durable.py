"""Commands, guards, evaluation and the best adapter, in real trainings."""

from __future__ import annotations

import errno
import math
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from core.config.errors import FailedError
from core.record import events as ev
from core.record.commands import Control, Stopped
from core.train import checkpoint, durable, saving, trainer
from core.train.tally import Tally

if TYPE_CHECKING:
    from conftest import Lab, Straight

pytestmark = pytest.mark.trains
SHORT = {"train.max_steps": 4, "train.save_steps": 0, "evaluate.eval_strategy": "no"}


def test_pause_holds_between_two_steps_and_changes_nothing(lab: Lab, straight: Straight) -> None:
    folder, config = lab.run("paused", {"train.save_steps": 0})
    seen: list[tuple[str, int]] = []

    def later(control: Control) -> None:
        time.sleep(0.2)
        control.take("SaveNow")
        time.sleep(0.3)
        control.take("Continue")

    def watch(event: ev.Event, control: Control) -> None:
        if isinstance(event, ev.StepDone) and event.step == 3:
            control.take("Pause")
        if isinstance(event, ev.Paused):
            threading.Thread(target=later, args=(control,)).start()
        if isinstance(event, (ev.Paused, ev.Continued, ev.CheckpointSaved, ev.StepDone)):
            seen.append((type(event).__name__, event.step))

    outcome = lab.train(folder, config, watch)
    assert outcome.sha256 == straight.outcome.sha256
    first = seen.index(("Paused", 3))
    assert seen[first : first + 4] == [
        ("Paused", 3), ("CheckpointSaved", 3), ("Continued", 3), ("StepDone", 4),
    ]  # fmt: skip
    assert [kind for kind, _ in seen].count("Paused") == 1
    # What was saved in the pause is as good as any other save.
    copy = lab.copy_up_to(folder, 3, "paused-copy")
    assert lab.train(copy, config).sha256 == straight.outcome.sha256


def test_stop_while_paused_stops_there(lab: Lab) -> None:
    folder, config = lab.run("paused-stopped", SHORT)

    def watch(event: ev.Event, control: Control) -> None:
        if isinstance(event, ev.StepDone) and event.step == 2:
            control.take("Pause")
        if isinstance(event, ev.Paused):
            control.take("StopAndSave", "asked")

    outcome = lab.train(folder, config, watch)
    assert isinstance(outcome.error, Stopped)
    assert (outcome.error.step, outcome.error.saved) == (2, "checkpoint-2")
    assert checkpoint.newest_verified(folder.path).step == 2
    assert outcome.of(ev.Continued) == []


def poison(monkeypatch: pytest.MonkeyPatch, *micro_batches: int) -> None:
    """Make the loss of these forward passes NaN, counted from 1 over the training."""
    real = trainer.DurableTrainer.summed_loss
    count = 0

    def summed_loss(self: Any, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        nonlocal count
        loss = real(self, model, batch)
        if model.training:
            count += 1
            if count in micro_batches:
                return loss * math.nan
        return loss

    monkeypatch.setattr(trainer.DurableTrainer, "summed_loss", summed_loss)


def test_one_bad_batch_is_skipped_told_once_and_forgotten(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 3)
    folder, config = lab.run("nan", {**SHORT, "train.save_steps": 1})
    outcome = lab.train(folder, config)
    assert outcome.error is None, outcome.error
    tripped = outcome.of(ev.GuardTripped)
    assert [(event.guard, event.step) for event in tripped] == [("not_a_number", 2)]
    losses = [event.loss for event in outcome.of(ev.StepDone)]
    assert [math.isnan(loss) for loss in losses] == [False, True, False, False]
    before, after, last = (
        load_file(folder.checkpoint(step) / "adapter_model.safetensors") for step in (1, 2, 4)
    )
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not all(torch.equal(before[name], last[name]) for name in before)
    assert all(tensor.isfinite().all() for tensor in last.values())


def test_three_bad_steps_in_a_row_end_the_run_and_leave_a_finite_checkpoint(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 3, 5, 7)
    folder, config = lab.run("diverged", {**SHORT, "train.save_steps": 1})
    outcome = lab.train(folder, config)
    assert isinstance(outcome.error, FailedError)
    assert outcome.error.kind == "diverged"
    assert any("learning_rate" in remedy for remedy in outcome.error.remedies)
    assert len(outcome.of(ev.GuardTripped)) == 2
    saved = checkpoint.newest_verified(folder.path)
    assert saved.path is not None
    assert saved.step == 3
    assert Tally.load(saved.path).skipped_in_a_row == 2
    weights = load_file(saved.path / "adapter_model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_broken_adapter_is_never_committed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = durable.DurableMixin.after_step

    def after_step(self: Any, control: Any) -> None:
        real(self, control)
        if self.state.global_step == 2:
            _, parameter = next(saving.trained(self.model))
            parameter.data[0, 0] = math.inf

    monkeypatch.setattr(durable.DurableMixin, "after_step", after_step)
    folder, config = lab.run("broken", {**SHORT, "train.save_steps": 1})
    outcome = lab.train(folder, config)
    assert isinstance(outcome.error, FailedError)
    assert outcome.error.kind == "diverged"
    assert checkpoint.newest_verified(folder.path).step == 1


def fail_saves(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    real = checkpoint.seal

    def seal(folder: Any, step: int) -> int:
        if step in steps:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(folder, step)

    monkeypatch.setattr(checkpoint, "seal", seal)


def test_a_full_disk_costs_a_checkpoint_not_the_run(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_saves(monkeypatch, 2)
    folder, config = lab.run("full", {**SHORT, "train.save_steps": 1})
    outcome = lab.train(folder, config)
    assert outcome.error is None, outcome.error
    tripped = outcome.of(ev.GuardTripped)
    assert [(event.guard, event.step) for event in tripped] == [("disk_full", 2)]
    assert "MiB are free" in tripped[0].message
    assert [event.step for event in outcome.of(ev.CheckpointSaved)] == [1, 3, 4]
    assert not list(folder.path.glob(".*"))


def test_a_disk_that_is_full_at_the_end_fails_and_keeps_what_there_is(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_saves(monkeypatch, 4)
    folder, config = lab.run("full-end", {**SHORT, "train.save_steps": 3})
    outcome = lab.train(folder, config)
    assert isinstance(outcome.error, FailedError)
    assert outcome.error.kind == "disk_full"
    assert checkpoint.newest_verified(folder.path).step == 3
    monkeypatch.undo()
    assert lab.train(folder, config).result["steps_trained"] == 1


def judge(monkeypatch: pytest.MonkeyPatch, losses: dict[int, float]) -> None:
    """Let the evaluations at these steps have these results."""
    monkeypatch.setattr(
        durable.DurableMixin,
        "_held_out_loss",
        lambda self: losses.get(self.state.global_step, 9.0),
    )


def test_the_best_adapter_is_delivered_also_after_a_resume(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, {0: 1.0, 2: 3.0, 4: 2.0, 6: 2.5, 8: 2.4})
    changes = {"train.save_steps": 0, "train.max_steps": 8, "train.save_total_limit": 1,
               "evaluate.eval_steps": 2}  # fmt: skip
    folder, config = lab.run("best", changes)

    def watch(event: ev.Event, control: Control) -> None:
        if isinstance(event, ev.EvalDone) and event.step == 6:
            control.take("StopAndSave")

    outcome = lab.train(folder, config, watch)
    assert isinstance(outcome.error, Stopped)
    assert [(e.step, e.best) for e in outcome.of(ev.EvalDone)] == [
        (0, False), (2, True), (4, True), (6, False),
    ]  # fmt: skip
    resumed = lab.train(folder, config)
    assert resumed.result["adapter_step"] == 4
    assert resumed.result["eval_loss"] == 2.0
    assert [(e.step, e.best) for e in resumed.of(ev.EvalDone)] == [(8, False)]
    assert {step for step, _ in checkpoint.candidates(folder.path)} == {4, 8}
    best = folder.checkpoint(4) / checkpoint.ADAPTER_WEIGHTS
    assert resumed.sha256 == checkpoint.sha256_of(best)
    assert checkpoint.sha256_of(folder.adapter / best.name) == resumed.sha256


def test_early_stopping_counts_over_a_resume(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(monkeypatch, {2: 2.0, 4: 3.0, 6: 3.0, 8: 1.0})
    changes = {"train.save_steps": 5, "train.max_steps": 8, "evaluate.eval_steps": 2,
               "evaluate.early_stopping_patience": 2}  # fmt: skip
    folder, config = lab.run("patience", changes)

    def watch(event: ev.Event, control: Control) -> None:
        if isinstance(event, ev.CheckpointSaved) and event.step == 5:
            raise RuntimeError("pulled the plug")

    lab.train(folder, config, watch)
    outcome = lab.train(folder, config)
    assert outcome.error is None, outcome.error
    assert outcome.of(ev.Resumed)[0].from_step == 5
    assert [event.guard for event in outcome.of(ev.GuardTripped)] == ["early_stopping"]
    assert outcome.result["steps"] == 6
    assert outcome.result["adapter_step"] == 2
    again = lab.train(folder, config)
    assert again.result["steps_trained"] == 0
    assert again.sha256 == outcome.sha256


def test_epoch_evaluations_come_at_the_ends_of_epochs_and_of_the_run(lab: Lab) -> None:
    changes = {"train.save_steps": 0, "evaluate.eval_strategy": "epoch",
               "train.max_steps": -1, "train.num_train_epochs": 1.2}  # fmt: skip
    outcome = lab.train(*lab.run("epochs", changes))
    assert [event.step for event in outcome.of(ev.EvalDone)] == [0, 7, 9]
    started = outcome.of(ev.TrainingStarted)[0]
    assert (started.total_steps, started.steps_per_epoch) == (9, 7)


def test_library_lines_become_events_and_nothing_is_printed(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = lab.train(*lab.run("quiet", {**SHORT, "train.max_steps": 1}))
    assert outcome.error is None, outcome.error
    out, err = capfd.readouterr()
    assert out == ""
    # What only developers can act on goes to the worker's log file, which is its stderr.
    assert all(
        line.startswith(("FutureWarning", "DeprecationWarning")) for line in err.splitlines()
    )
    stages = [event.stage for event in outcome.of(ev.StageChanged)]
    assert stages[0] == "loading"
    assert "training" in stages
    assert outcome.of(ev.ModelLoaded)[0].path == "PEFT"


def test_a_library_that_moved_a_method_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_OVERRIDDEN", ("_method_of_another_time",))
    with pytest.raises(FailedError, match="_method_of_another_time"):
        durable._check_libraries(trainer.DurableTrainer)


def test_the_state_of_other_tools_stays_readable(straight: Straight) -> None:
    from transformers import TrainerState

    path = straight.folder.checkpoint(10)
    state = TrainerState.load_from_json(str(path / "trainer_state.json"))
    assert (state.global_step, state.max_steps) == (10, 10)
    assert state.best_model_checkpoint == str(path)
    assert [line["step"] for line in state.log_history if "loss" in line] == list(range(1, 11))
