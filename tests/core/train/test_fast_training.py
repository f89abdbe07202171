"""The fused path inside the durable trainer, on its plain-torch twins."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import torch

from core.config.errors import RefusedError
from core.config.schema import RunConfig
from core.model import load as models
from core.model.fast.plan import Plan
from core.record import events as ev
from core.record.commands import Control
from core.record.folder import RunFolder
from core.train import path
from core.train.collate import FlatCollator
from core.train.tally import Tally

if TYPE_CHECKING:
    from conftest import Lab

pytestmark = pytest.mark.trains


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the fused path although there is no GPU."""
    take_fused(monkeypatch)


def take_fused(patch: pytest.MonkeyPatch, **plan: Any) -> None:
    patch.setattr(path, "no_fast_path", lambda *_: None)
    wish = {"kept": 2, "micro_batch": 2, "piece": 1, "longest": 64} | plan
    patch.setattr(path, "memory_plan", lambda *_: Plan(**wish))


def stop_at(step: int, event: ev.Event, control: Control) -> None:
    if isinstance(event, ev.StepDone) and event.step == step:
        control.take("StopAndSave")


def losses(events: list[Any]) -> list[float]:
    return [event.loss for event in events if isinstance(event, ev.StepDone)]


def test_it_learns_what_peft_learns(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"adapter.lora_dropout": 0.0}
    plain = lab.train(*lab.run("plain-path", changes))
    take_fused(monkeypatch)
    fast = lab.train(*lab.run("fast-path", changes))
    assert [event.path for event in fast.of(ev.ModelLoaded)] == ["fused"]
    assert [event.path for event in plain.of(ev.ModelLoaded)] == ["PEFT"]
    assert losses(fast.events) == pytest.approx(losses(plain.events), abs=2e-3)
    held_out = [[e.loss for e in run.of(ev.EvalDone)] for run in (fast, plain)]
    assert held_out[0] == pytest.approx(held_out[1], abs=2e-3)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("fp8", [False, True])
def test_a_stopped_run_ends_as_an_undisturbed_one(lab: Lab, fp8: bool) -> None:
    changes = {"train.fp8": fp8}
    straight = lab.train(*lab.run(f"fast-straight-{fp8}", changes))
    folder, config = lab.run(f"fast-stopped-{fp8}", changes)

    lab.train(folder, config, lambda event, control: stop_at(5, event, control))
    again = lab.train(folder, config, attempt=2)
    assert again.of(ev.Resumed)[0].from_step in (5, 6)
    assert again.of(ev.ModelLoaded)[0].fp8 == fp8
    assert again.sha256 == straight.sha256


def test_a_deterministic_run_is_the_same_each_time(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is stopped, and goes on with another amount of memory."""
    changes = {"train.full_determinism": True, "adapter.lora_dropout": 0.1}
    take_fused(monkeypatch, mlp_tokens=32, light=True)
    before, switched = dict(os.environ), []
    first = lab.train(
        *lab.run("deterministic-1", changes),
        lambda *_: switched.append(torch.are_deterministic_algorithms_enabled()),
    )
    # Until its end, and no longer: the next training of this process may be another one.
    assert switched[-1]
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    assert dict(os.environ) == before
    assert [event.path for event in first.of(ev.ModelLoaded)] == ["fused"]
    assert lab.train(*lab.run("deterministic-2", changes)).sha256 == first.sha256
    folder, config = lab.run("deterministic-3", changes)
    lab.train(folder, config, lambda event, control: stop_at(4, event, control))
    take_fused(monkeypatch, mlp_tokens=32, light=True, kept=0, held=4)
    again = lab.train(folder, config, attempt=2)
    assert again.of(ev.Resumed)[0].tier == "E"
    assert again.sha256 == first.sha256
    tally = Tally.load(folder.checkpoint(4))
    assert (tally.micro_batch, tally.piece, tally.mlp_tokens, tally.light) == (2, 1, 32, True)


def test_tables_in_ram_change_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"train.max_steps": 4}
    take_fused(monkeypatch)
    near = lab.train(*lab.run("near-tables", changes))
    take_fused(monkeypatch, host_embedding=True, host_head=True, loss_rows=16)
    far = lab.train(*lab.run("far-tables", changes))
    assert "the output head waits in RAM" in far.of(ev.ModelLoaded)[0].why
    assert losses(far.events) == pytest.approx(losses(near.events), abs=1e-4)


def test_what_the_loaded_model_cannot_goes_through_peft(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_fused(monkeypatch, host_embedding=True, host_head=True)
    asked: list[Any] = []
    load = models.load_base

    def noted(*args: Any, **wish: Any) -> Any:
        asked.append(wish["on_host"])
        return load(*args, **wish)

    monkeypatch.setattr(models, "load_base", noted)
    back: list[str] = []
    monkeypatch.setattr(models, "to_device", lambda model, device: back.append(device))
    changes = {"train.max_steps": 2, "adapter.use_dora": True}
    outcome = lab.train(*lab.run("refused", changes))
    loaded = outcome.of(ev.ModelLoaded)[0]
    assert (loaded.path, loaded.why) == ("PEFT", "the adapter has DoRA")
    assert asked == [frozenset({"embedding", "head"})]
    assert back == ["cpu"]
    assert outcome.error is None


def test_a_run_stays_on_its_path(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(name: str) -> tuple[RunFolder, RunConfig]:
        folder, config = lab.run(name)
        lab.train(folder, config, lambda event, control: stop_at(3, event, control))
        return folder, config

    plain = half("began-plain")
    with monkeypatch.context() as patch:
        take_fused(patch)
        again = lab.train(*plain, attempt=2)
        assert [event.path for event in again.of(ev.ModelLoaded)] == ["PEFT"]
        fast = half("began-fused")
    refused = lab.train(*fast, attempt=2)
    assert isinstance(refused.error, RefusedError)
    assert "the fused path is for NVIDIA GPUs" in str(refused.error)


def test_documents_lie_one_after_the_other() -> None:
    rows = [
        {"input_ids": [1, 2, 3, 4, 5], "labels": [-100, 2, 3, -100, 5],
         "position_ids": [0, 1, 2, 0, 1]},
        {"input_ids": [6, 7], "labels": [-100, 7], "position_ids": [0, 1]},
    ]  # fmt: skip
    made = FlatCollator(pad_token_id=9, full=20, multiple=4)(rows)
    (batch,) = made["pieces"]
    assert batch["input_ids"].tolist() == [1, 2, 3, 4, 5, 6, 7, 9]
    assert batch["position_ids"].tolist() == [0, 1, 2, 0, 1, 0, 1, 0]
    assert batch["lengths"] == [3, 2, 2, 1]
    assert batch["ends"].tolist() == [0, 3, 5, 7, 8]
    assert (batch["rows"].tolist(), batch["targets"].tolist()) == ([0, 1, 3, 5], [2, 3, 5, 7])
    assert (made["tokens"], made["label_tokens"]) == (7, 4)


def test_a_nearly_full_batch_is_filled_up() -> None:
    row = {"input_ids": [1] * 950, "labels": [1] * 950, "position_ids": list(range(950))}
    full = FlatCollator(pad_token_id=9, full=1600)
    short = row | {"input_ids": [2] * 550, "labels": [2] * 550, "position_ids": list(range(550))}
    (batch,) = full([row, short])["pieces"]
    assert batch["input_ids"].numel() == 1600
    assert batch["lengths"] == [950, 550, 100]
    assert full([row])["pieces"][0]["input_ids"].numel() == 960


def test_rows_go_into_pieces_in_their_order_as_long_as_there_is_room() -> None:
    def row(tokens: int) -> dict[str, list[int]]:
        return {"input_ids": [1] * tokens, "labels": [1] * tokens,
                "position_ids": list(range(tokens))}  # fmt: skip

    made = FlatCollator(pad_token_id=9, full=100, multiple=1)(
        [row(n) for n in (60, 40, 1, 99, 50, 60)]
    )
    assert [piece["lengths"] for piece in made["pieces"]] == [[60, 40], [1, 99], [50], [60]]
    assert made["label_tokens"] == sum(len(piece["targets"]) for piece in made["pieces"]) == 304
