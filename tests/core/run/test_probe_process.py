"""The probe as the command line starts it: another process, whose answer or end is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.config.errors import FailedError, InputError
from core.config.schema import RunConfig
from core.run import probe as probes


def config(model: Path, **changes: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"name_or_path": str(model)},
            "data": {"max_length": 32},
            "adapter": {"r": 4} | changes,
            "train": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1},
            "run": {"devices": "cpu"},
        }
    )


@pytest.mark.trains
def test_it_is_measured_in_a_process_of_its_own(tiny_model: Path) -> None:
    loaded = "torch" in sys.modules
    found = probes.probe(config(tiny_model))
    assert ("torch" in sys.modules) == loaded
    assert (found["device"], found["path"], found["tokens"]) == ("CPU", "PEFT", 32)
    assert found["ram_bytes"] > 1 << 20


@pytest.mark.trains
def test_its_errors_are_those_of_a_training(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="no_proj") as told:
        probes.probe(config(tiny_model, target_modules=["no_proj"]))
    assert told.value.remedies


@pytest.mark.parametrize(
    ("code", "said", "kind", "message"),
    [
        (-9, "", "out_of_host_memory", r"memory \(RAM\) was full"),
        (-11, "Fatal\nbad access", "crashed", "SIGSEGV: bad access"),
        (1, "ModuleNotFoundError: no torch", "crashed", "exit code 1: ModuleNotFoundError"),
    ],
)
def test_an_end_without_an_answer_is_told(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str, kind: str,
    message: str,
) -> None:  # fmt: skip
    def ended(*_: Any, **wish: Any) -> subprocess.CompletedProcess[bytes]:
        wish["stdout"].write(said.encode())
        return subprocess.CompletedProcess([], code)

    monkeypatch.setattr(subprocess, "run", ended)
    with pytest.raises(FailedError, match=message) as told:
        probes.probe(config(tiny_model))
    assert told.value.kind == kind
