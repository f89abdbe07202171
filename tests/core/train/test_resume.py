"""Kill it at any instant; the finished adapter is bit-identical."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from core.config.errors import FailedError, RefusedError
from core.record import events as ev
from core.record.commands import Aborted, Control, Stopped
from core.train import checkpoint

if TYPE_CHECKING:
    from conftest import Lab, Straight

pytestmark = pytest.mark.trains


def tree(path: Path) -> dict[str, str]:
    return {
        str(file.relative_to(path)): checkpoint.sha256_of(file)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def curve(events: list[Any]) -> dict[int, tuple[float, ...]]:
    return {
        e.step: (e.loss, e.learning_rate, e.grad_norm, e.tokens, e.epoch)
        for e in events
        if isinstance(e, ev.StepDone)
    }


def optimizer(path: Path) -> dict[str, Any]:
    """Every number of a checkpoint's optimizer, by place."""
    found: dict[str, Any] = {}

    def collect(place: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                collect(f"{place}/{key}", item)
        else:
            found[place] = value

    collect("", torch.load(path / "optimizer.pt", weights_only=True)["state"])
    return found


def test_the_reference_is_what_it_claims(straight: Straight) -> None:
    outcome, folder = straight.outcome, straight.folder
    assert [event.step for event in outcome.of(ev.StepDone)] == list(range(1, 11))
    assert [event.step for event in outcome.of(ev.EvalDone)] == [0, 4, 8, 10]
    assert outcome.result["steps"] == outcome.result["steps_trained"] == 10
    moments = [v for k, v in optimizer(folder.checkpoint(10)).items() if k.endswith("/state1")]
    assert torch.uint8 in {moment.dtype for moment in moments}, "no 8-bit state: a weak test"
    weights = load_file(folder.adapter / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    for name in ("training_args.bin", "README.md"):
        assert not list(folder.path.rglob(name))


def test_two_runs_are_equal_to_the_bit_recomputed_activations_or_not(
    lab: Lab, straight: Straight
) -> None:
    folder, config = lab.run("twice", {"train.activation_checkpointing": True})
    assert lab.train(folder, config).sha256 == straight.outcome.sha256


@pytest.mark.parametrize("step", [1, 6, 7, 9])
def test_resumed_from_any_save_the_end_is_the_same(lab: Lab, straight: Straight, step: int) -> None:
    """Mid-epoch (1, 9), before and at the end of an epoch (6, 7)."""
    folder = lab.copy_up_to(straight.folder, step, f"from-{step}")
    outcome = lab.train(folder, straight.config, attempt=2)
    assert outcome.sha256 == straight.outcome.sha256
    resumed = outcome.of(ev.Resumed)
    assert [(r.from_step, r.tier, r.reasons) for r in resumed] == [(step, "E", ())]
    expected = curve(straight.outcome.events)
    assert curve(outcome.events) == {n: v for n, v in expected.items() if n > step}
    ours, theirs = (optimizer(f.checkpoint(10)) for f in (folder, straight.folder))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(torch.as_tensor(ours[k]), torch.as_tensor(v)) for k, v in theirs.items())


def test_resumed_three_times_with_seldom_points_on_the_curve(lab: Lab) -> None:
    """Logging every third step, saves between: the curve has no gap and no double."""
    seldom = {"train.logging_steps": 3}
    whole = lab.train(*lab.run("seldom", seldom))
    folder, config = lab.run("seldom-cut", seldom)
    events: list[Any] = []
    for stop in (2, 7, 99):

        def watch(event: ev.Event, control: Control, stop: int = stop) -> None:
            if isinstance(event, ev.CheckpointSaved) and event.step == stop:
                raise KeyboardInterrupt

        try:
            outcome = lab.train(folder, config, lambda e, c: (events.append(e), watch(e, c)))
        except KeyboardInterrupt:
            continue
    assert outcome.sha256 == whole.sha256
    assert curve(events) == curve(whole.events)
    assert [e.step for e in events if isinstance(e, ev.StepDone)] == [3, 6, 9, 10]


def test_stop_saves_at_the_end_of_the_step_and_resumes_exactly(
    lab: Lab, straight: Straight
) -> None:
    folder, config = lab.run("stopped", {"train.save_steps": 0})

    def watch(event: ev.Event, control: Control) -> None:
        if isinstance(event, ev.StepDone) and event.step == 2:
            control.take("StopAndSave", "the lights go out")

    outcome = lab.train(folder, config, watch)
    assert isinstance(outcome.error, Stopped)
    assert outcome.error.step == 3
    assert outcome.error.reason == "the lights go out"
    assert outcome.error.saved == "checkpoint-3"
    assert [event.step for event in outcome.of(ev.CheckpointSaved)] == [3]
    # What was learned until now can be merged; a resume still goes on from the checkpoint.
    weights = "adapter_model.safetensors"
    saved = folder.checkpoint(3) / weights
    assert (folder.adapter / weights).read_bytes() == saved.read_bytes()
    assert lab.train(folder, config).sha256 == straight.outcome.sha256


def test_an_abort_saves_nothing_more(lab: Lab, straight: Straight) -> None:
    folder, config = lab.run("aborted", {"train.save_steps": 2})

    def watch(event: ev.Event, control: Control) -> None:
        if isinstance(event, ev.StepDone) and event.step == 3:
            control.take("Abort")

    outcome = lab.train(folder, config, watch)
    assert isinstance(outcome.error, Aborted)
    assert [event.step for event in outcome.of(ev.CheckpointSaved)] == [2]
    assert lab.train(folder, config).sha256 == straight.outcome.sha256


def test_save_now_saves_between_two_saves(lab: Lab) -> None:
    folder, config = lab.run("save-now", {"train.save_steps": 0, "train.max_steps": 4,
                                          "evaluate.eval_strategy": "no"})  # fmt: skip

    def watch(event: ev.Event, control: Control) -> None:
        if isinstance(event, ev.StepDone) and event.step == 1:
            control.take("SaveNow")

    outcome = lab.train(folder, config, watch)
    assert [event.step for event in outcome.of(ev.CheckpointSaved)] == [2, 4]
    assert outcome.of(ev.EvalDone) == []
    assert outcome.result["adapter_step"] == 4


def test_nothing_is_trained_or_written_when_the_run_is_complete(
    lab: Lab, straight: Straight
) -> None:
    before = tree(straight.folder.path)
    outcome = lab.train(straight.folder, straight.config)
    assert outcome.sha256 == straight.outcome.sha256
    assert outcome.result["outcome"] == "already complete: nothing was trained"
    assert outcome.of(ev.StepDone) == outcome.of(ev.ModelLoaded) == []
    assert tree(straight.folder.path) == before


def test_killed_between_the_last_save_and_the_adapter(lab: Lab, straight: Straight) -> None:
    folder = lab.copy_up_to(straight.folder, 10, "no-adapter")
    assert not folder.adapter.exists()
    assert lab.train(folder, straight.config).sha256 == straight.outcome.sha256
    assert tree(folder.adapter) == tree(straight.folder.adapter)


def test_a_damaged_newest_checkpoint_is_passed_over(lab: Lab, straight: Straight) -> None:
    folder = lab.copy_up_to(straight.folder, 8, "damaged")
    (folder.checkpoint(8) / "optimizer.pt").unlink()
    (folder.path / ".staging-9-1").mkdir()
    outcome = lab.train(folder, straight.config)
    rejected = outcome.of(ev.CheckpointRejected)
    assert [(e.name, e.reason) for e in rejected] == [("checkpoint-8", "optimizer.pt is missing")]
    assert outcome.of(ev.Resumed)[0].from_step == 7
    assert outcome.sha256 == straight.outcome.sha256
    assert checkpoint.verify(folder.checkpoint(8)) is None
    assert not list(folder.path.glob(".*"))


def test_with_no_usable_checkpoint_it_says_so_and_destroys_nothing(
    lab: Lab, straight: Straight
) -> None:
    folder = lab.copy_up_to(straight.folder, 2, "hopeless")
    for step in (1, 2):
        (folder.checkpoint(step) / "rng_state.pth").write_bytes(b"")
    before = tree(folder.path)
    outcome = lab.train(folder, straight.config)
    assert isinstance(outcome.error, FailedError)
    assert outcome.error.kind == "no_checkpoint"
    assert tree(folder.path) == before


def test_killed_before_its_first_save_it_starts_again(lab: Lab, straight: Straight) -> None:
    folder = lab.copy_up_to(straight.folder, 0, "early")
    (folder.path / "checkpoint-999999").mkdir()
    outcome = lab.train(folder, straight.config, attempt=2)
    assert [(e.from_step, e.checkpoint) for e in outcome.of(ev.Resumed)] == [(0, "")]
    assert outcome.sha256 == straight.outcome.sha256


def test_another_place_does_not_matter(lab: Lab, straight: Straight, tmp_path: Path) -> None:
    """Run and base model moved: the weights are the same, so it is the same run."""
    model = tmp_path / "elsewhere"
    shutil.copytree(lab.model, model)
    folder = lab.copy_up_to(straight.folder, 9, "moved")
    config = straight.config.model_copy(deep=True)
    config.model.name_or_path = str(model)
    outcome = lab.train(folder, config)
    assert outcome.sha256 == straight.outcome.sha256
    assert any("model.name_or_path" in e.text for e in outcome.of(ev.LineLogged))


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("train.learning_rate", 5e-5, "train.learning_rate was 0.002, is now 5e-05"),
        ("train.per_device_train_batch_size", 2, "per_device_train_batch_size was 1, is now 2"),
        ("adapter.r", 8, "adapter.r was 16, is now 8"),
        ("data.max_length", 128, "data.max_length was 64, is now 128"),
    ],
)
def test_other_settings_are_refused_by_name(
    lab: Lab, straight: Straight, key: str, value: object, told: str
) -> None:
    before = tree(straight.folder.path)
    outcome = lab.train(straight.folder, lab.config({key: value}))
    assert isinstance(outcome.error, RefusedError)
    assert told in outcome.error.message
    assert tree(straight.folder.path) == before


def test_another_base_and_other_data_are_refused(
    lab: Lab, straight: Straight, tmp_path: Path
) -> None:
    model = tmp_path / "other"
    shutil.copytree(lab.model, model)
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    outcome = lab.train(straight.folder, lab.config({"model.name_or_path": str(model)}))
    assert isinstance(outcome.error, RefusedError)
    assert "base model: weights (all bytes) was" in outcome.error.message

    folder = lab.copy_up_to(straight.folder, 3, "other-data")
    values = json.loads(folder.fingerprint.read_text())
    values["data"]["sha256"] = "0" * 64
    folder.fingerprint.write_text(json.dumps(values))
    outcome = lab.train(folder, straight.config)
    assert isinstance(outcome.error, RefusedError)
    assert "data: sha256 was 000000" in outcome.error.message


def test_another_version_is_state_exact_and_says_why(lab: Lab, straight: Straight) -> None:
    folder = lab.copy_up_to(straight.folder, 9, "older")
    values = json.loads(folder.fingerprint.read_text())
    values["environment"]["torch"] = "1.0"
    folder.fingerprint.write_text(json.dumps(values))
    outcome = lab.train(folder, straight.config.model_copy(deep=True))
    resumed = outcome.of(ev.Resumed)[0]
    assert resumed.tier == "S"
    assert resumed.reasons[0].startswith("torch was 1.0, is now 2.")


def test_free_settings_may_change(lab: Lab, straight: Straight) -> None:
    folder = lab.copy_up_to(straight.folder, 7, "free")
    changes = {"train.save_total_limit": 1, "train.save_steps": 100, "train.logging_steps": 2}
    outcome = lab.train(folder, lab.config(changes))
    assert outcome.sha256 == straight.outcome.sha256
    assert outcome.of(ev.Resumed)[0].tier == "E"
    lines = [e.text for e in outcome.of(ev.LineLogged)]
    assert "changed since the run was started: train.save_steps was 1, is now 100" in lines
