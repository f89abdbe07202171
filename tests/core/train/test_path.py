"""``train.fp8`` where it cannot be: refused with the reason, never trained in another way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
import torch
from transformers import AutoConfig

from core.config.errors import RefusedError
from core.config.schema import RunConfig
from core.model import shapes
from core.model.fast.footprint import GIB
from core.model.fast.plan import Plan
from core.record import events as ev
from core.record.folder import create
from core.record.job import Job
from core.train import path, trainer
from core.train.tally import Tally

if TYPE_CHECKING:
    from conftest import Lab


def config_of(model: Path, **train: Any) -> RunConfig:
    return RunConfig.model_validate(
        {"model": {"name_or_path": str(model)}, "train": {"fp8": True} | train,
         "run": {"devices": "cpu"}}
    )  # fmt: skip


def a_card(patch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    patch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    patch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA A100")
    patch.setattr(path, "kernels_fail", lambda _: None)


def no_fast_path(config: RunConfig) -> str | None:
    shape = shapes.configured(config.model.name_or_path)
    return path.no_fast_path(config, shape, "cuda:0", torch.bfloat16)


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)])
def test_a_card_before_ada_is_named_with_its_capability(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    a_card(monkeypatch, capability)
    why = no_fast_path(config_of(tiny_model))
    if capability >= (8, 9):
        assert why is None
    else:
        told = "NVIDIA A100 has compute capability {}.{}, and FP8 takes 8.9 or more"
        assert why is not None
        assert why.startswith(told.format(*capability))
    in_bf16 = config_of(tiny_model, fp8=False)
    assert no_fast_path(in_bf16) is None


def test_a_window_matters_to_rows_that_are_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run tells it before anything is loaded, as the estimate does."""
    a_card(monkeypatch, (9, 0))
    AutoConfig.for_model("mistral", architectures=["MistralForCausalLM"]).save_pretrained(tmp_path)
    config = config_of(tmp_path, fp8=False)
    config.data.max_length = 4096
    assert no_fast_path(config) is None
    config.data.max_length = 8192
    why = no_fast_path(config)
    assert why is not None
    assert why.endswith("a window of 4,096 tokens, and data.max_length lets rows have 8,192")


def test_it_is_refused_before_rows_are_prepared(tiny_model: Path, tmp_path: Path) -> None:
    config = config_of(tiny_model)
    job = Job("train", create(tmp_path, "run", ""), config, lambda event: None)
    with pytest.raises(RefusedError, match="the fused path is for NVIDIA GPUs") as caught:
        trainer.frozen_data(job)
    assert (caught.value.kind, caught.value.exit_code) == ("no_fp8", 3)
    assert any("train.fp8 to no" in remedy for remedy in caught.value.remedies)
    assert not job.folder.data.exists()


@pytest.mark.parametrize("light", [False, True])
def test_a_resumed_run_knows_how_it_began(light: bool) -> None:
    plan = Plan(0, mlp_tokens=512, light=light, host_head=True, micro_batch=4, piece=2)
    tally = Tally()
    assert path._began(tally) is None
    path.remember(plan, tally)
    assert path._began(tally) == plan


def test_a_run_of_before_there_were_pieces_goes_on_with_whole_passes() -> None:
    began = path._began(Tally(step=7, micro_batch=4))
    assert began is not None
    assert (began.micro_batch, began.piece, began.pieces) == (4, 4, 1)


def test_heads_that_the_kernels_do_not_take_are_refused_before_rows_are_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the estimate tells from config.json, and a run in bf16 before it loads the model."""
    a_card(monkeypatch, (9, 0))
    AutoConfig.for_model(
        "llama", architectures=["LlamaForCausalLM"], head_dim=84
    ).save_pretrained(tmp_path)  # fmt: skip
    told = "the fused path is not written for this: attention heads are 84 wide"
    assert (no_fast_path(config_of(tmp_path, fp8=False)) or "").startswith(told)
    monkeypatch.setattr(path.models, "device_of", lambda _: "cuda:0")
    with pytest.raises(RefusedError, match="attention heads are 84 wide") as caught:
        path.check_fp8(config_of(tmp_path))
    assert caught.value.kind == "no_fp8"


def test_no_plan_is_no_reason_to_train_otherwise(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused(monkeypatch)
    monkeypatch.setattr(path, "memory_plan", lambda *_: None)
    with pytest.raises(RefusedError, match=r"cannot multiply in FP8: .* free memory \(RAM\)"):
        path.foresee(config_of(tiny_model), Tally(), "cuda:0", torch.bfloat16)
    plain = path.foresee(config_of(tiny_model, fp8=False), Tally(), "cuda:0", torch.bfloat16)
    assert plain.plan is None


@pytest.mark.parametrize(
    ("changes", "given", "wanted"),
    [
        ({}, None, ":0:0"), ({"adapter.r": 64}, None, None), ({}, ":16:8", ":16:8"),
        ({"train.full_determinism": True}, None, None), ({"run.engine_host": "thread"}, None, None),
    ],
)  # fmt: skip
def test_cublas_gets_memory_only_where_it_is_of_use(
    changes: dict[str, Any], given: str | None, wanted: str | None, tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fused(monkeypatch)
    name = "CUBLAS_WORKSPACE_CONFIG"
    # Set first, so that it is put back whatever was there.
    monkeypatch.setenv(name, given or "")
    if given is None:
        monkeypatch.delenv(name)
    config = config_of(tiny_model, fp8=False)
    for key, value in changes.items():
        section, _, field = key.partition(".")
        setattr(getattr(config, section), field, value)
    foreseen = path.foresee(config, Tally(), "cuda:0", torch.bfloat16)
    monkeypatch.setattr(path, "_kernels_err", lambda _: None)
    # PEFT's thin products need it, so not before the model has been looked at.
    monkeypatch.setattr(path, "obstacle", lambda *_: "it has a beard")
    monkeypatch.setattr(path.models, "to_device", lambda *_: None)
    path.settle(foreseen, MagicMock(), config, Tally(), "cuda:0")
    assert os.environ.get(name) == given
    monkeypatch.setattr(path, "obstacle", lambda *_: None)
    path.settle(foreseen, MagicMock(), config, Tally(), "cpu")
    assert os.environ.get(name) == given
    assert path.settle(foreseen, MagicMock(), config, Tally(), "cuda:0").plan is not None
    assert os.environ.get(name) == wanted


def test_the_shape_is_read_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lie on a slow disk."""
    a_card(monkeypatch, (9, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (8 * GIB, 8 * GIB))
    monkeypatch.setattr(path, "free_memory_bytes", lambda: 8 * GIB)
    read, found = shapes.read_config, []
    monkeypatch.setattr(shapes, "read_config", lambda *name: found.append(name) or read(*name))
    config = config_of(tiny_model)
    config.memory.limit_gib = 0.5
    chosen = path.foresee(config, Tally(), "cuda:0", torch.bfloat16)
    assert chosen.plan is not None
    assert "memory.limit_gib is 0.5" in chosen.warning
    config.memory.limit_gib = None
    assert not path.foresee(config, Tally(), "cuda:0", torch.bfloat16).warning
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 << 20, 8 * GIB))
    full = path.foresee(config, Tally(), "cuda:0", torch.bfloat16)
    assert "are free: it will probably run out of memory" in full.warning
    assert full.plan is not None
    assert len(found) == 3


def test_no_more_is_planned_with_than_was_free_before_the_process_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    came_with = int(0.67 * GIB)  # CUDA's own, an H100's when a training begins
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (79 * GIB - came_with, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 0)
    assert 79 * GIB - came_with < path._free_bytes() <= 79 * GIB


@pytest.mark.trains
def test_what_the_loaded_model_cannot_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fused(monkeypatch)
    outcome = lab.train(*lab.run("fp8-dora", {"train.fp8": True, "adapter.use_dora": True}))
    assert isinstance(outcome.error, RefusedError)
    assert "cannot multiply in FP8: the adapter has DoRA" in str(outcome.error)
    assert outcome.of(ev.ModelLoaded) == outcome.of(ev.StepDone) == []


@pytest.mark.trains
def test_a_run_in_fp8_is_labelled_so_and_learns(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fused(monkeypatch)
    losses = {}
    for on in (True, False):
        outcome = lab.train(*lab.run(f"fp8-{on}", {"train.fp8": on}))
        (loaded,) = outcome.of(ev.ModelLoaded)
        assert (outcome.error, loaded.path, loaded.fp8) == (None, "fused", on)
        assert loaded.why.endswith(", products in FP8 (e4m3)") == on
        losses[on] = [event.loss for event in outcome.of(ev.StepDone)]
    assert losses[True] != losses[False]
    assert losses[True] == pytest.approx(losses[False], rel=0.05)
    assert losses[True][-1] < losses[True][0]


def fused(patch: pytest.MonkeyPatch) -> None:
    """Take the fused path although there is no GPU."""
    patch.setattr(path, "no_fast_path", lambda *_: None)
    patch.setattr(path, "_free_bytes", lambda: 24 * GIB)
    patch.setattr(path, "memory_plan", lambda *_: Plan(2, micro_batch=2, longest=64))
