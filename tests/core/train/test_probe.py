"""The probe runs the real trainer on the longest rows, and leaves nothing behind."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.model.fast.plan import Plan
from core.train import path
from core.train import probe as probes

if TYPE_CHECKING:
    from conftest import Lab

pytestmark = pytest.mark.trains


def wish(lab: Lab, **changes: Any) -> Any:
    return lab.config(
        {"data.max_length": 96, "train.per_device_train_batch_size": 2, "train.max_steps": 500,
         "train.gradient_accumulation_steps": 8} | changes
    )  # fmt: skip


@pytest.mark.parametrize("packing", [True, False])
def test_the_longest_batch_is_run_and_measured(lab: Lab, tmp_path: Path, packing: bool) -> None:
    config = wish(lab, **{"data.packing": packing})
    before = config.model_dump()
    # What tests before this one gave back to the allocator alone would be used without growing.
    ctypes.CDLL(None).malloc_trim(0)
    found = probes.probe(config, tmp_path)
    assert (found.path, found.device) == ("PEFT", "CPU")
    assert "NVIDIA" in found.why
    assert found.tokens == 2 * 2 * 96, "two micro-batches of two of the longest rows"
    assert found.step_seconds > 0
    assert found.eval_seconds is not None
    assert found.ram_bytes > 0
    assert (found.device_bytes, found.allocated_bytes) == (None, None)
    assert config.model_dump() == before
    assert list(tmp_path.iterdir()) == []


def test_the_fused_path_is_probed_with_its_own_passes(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path, "no_fast_path", lambda *_: None)
    monkeypatch.setattr(path, "memory_plan", lambda *_: Plan(0, micro_batch=4, piece=2, longest=96))
    found = probes.probe(wish(lab, **{"evaluate.eval_strategy": "no"}), tmp_path)
    assert found.path == "fused"
    assert found.tokens == 2 * 4 * 96
    assert found.eval_seconds is None


def test_an_answer_is_written_also_for_what_fails(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    from core.config.files import dump

    settings, answer = tmp_path / "run.toml", tmp_path / "answer.json"
    changes = {"adapter.target_modules": ["no_proj"], "run.devices": "cpu"}
    settings.write_text(dump(wish(lab, **changes)), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["probe", str(settings), str(tmp_path), str(answer)])
    assert probes.main() == 0
    error = json.loads(answer.read_text(encoding="utf-8"))["error"]
    assert (error["kind"], error["exit_code"]) == ("unknown_target_module", 2)
    assert "no_proj" in error["message"]
