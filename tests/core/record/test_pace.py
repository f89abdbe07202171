"""The pace of earlier runs: only of those that trained the same way, and from enough steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.config import files
from core.config.schema import RunConfig
from core.record import events as ev
from core.record.folder import RunFolder, create, list_runs
from core.record.journal import Journal
from core.record.pace import FIRST_STEPS, LEAST_STEPS, pace_of


def config_of(**train: Any) -> RunConfig:
    return RunConfig.model_validate({"model": {"name_or_path": "some/model"}, "train": train})


def started(device: str) -> ev.WorkerStarted:
    return ev.WorkerStarted(pid=1, engine_host="process", device=device)


def step(number: int, rate: float) -> ev.StepDone:
    return ev.StepDone(
        step=number, epoch=0.1, loss=1.0, learning_rate=1e-4, grad_norm=1.0, tokens=100 * number,
        step_seconds=1.0, tokens_per_second=rate,
    )  # fmt: skip


def make(root: Path, name: str, config: RunConfig, *events: ev.Event) -> RunFolder:
    run = create(root, name, files.dump(config))
    journal = Journal(run.events, attempt=1)
    for event in events:
        journal.append(event)
    journal.close()
    return run


def steps(*rates: float) -> list[ev.StepDone]:
    return [step(number, rate) for number, rate in enumerate(rates, 1)]


def test_the_median_without_the_first_steps(tmp_path: Path) -> None:
    first, rest = [1.0] * FIRST_STEPS, [200.0] * LEAST_STEPS
    run = make(tmp_path, "one", config_of(), started("GPU A"), *steps(*first, *rest))
    pace = pace_of(config_of(learning_rate=1e-5, num_train_epochs=9), [run])
    assert pace is not None
    assert (pace.run, pace.device, pace.tokens_per_second) == ("one", "GPU A", 200.0)
    assert pace.steps == LEAST_STEPS


def test_another_device_begins_anew(tmp_path: Path) -> None:
    run = make(
        tmp_path, "moved", config_of(), started("GPU A"), *steps(*[100.0] * 20),
        started("GPU B"), *steps(*[300.0] * 20),
    )  # fmt: skip
    pace = pace_of(config_of(), [run])
    assert pace is not None
    assert (pace.device, pace.tokens_per_second, pace.steps) == ("GPU B", 300.0, 17)


@pytest.mark.parametrize(
    "other",
    [{"train": {"per_device_train_batch_size": 4}}, {"model": {"name_or_path": "another/model"}},
     {"data": {"max_length": 512}}, {"quantization": {"load_in_4bit": False}},
     {"adapter": {"r": 64}}, {"train": {"path": "peft"}},
     {"train": {"fp8": True}}],
)  # fmt: skip
def test_a_run_with_other_settings_says_nothing(tmp_path: Path, other: dict[str, Any]) -> None:
    run = make(tmp_path, "one", config_of(), started("GPU"), *steps(*[100.0] * 50))
    plain = {"model": {"name_or_path": "some/model"}}
    assert pace_of(RunConfig.model_validate(plain), [run]) is not None
    assert pace_of(RunConfig.model_validate(plain | other), [run]) is None


def test_few_steps_and_broken_runs_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "whole", config_of(), started("GPU"), *steps(*[100.0] * 50))
    make(tmp_path, "short", config_of(), started("GPU"), *steps(*[900.0] * 5))
    broken = make(tmp_path, "broken", config_of(), started("GPU"), *steps(*[900.0] * 50))
    broken.config.write_text("not toml = [", encoding="utf-8")
    pace = pace_of(config_of(), list_runs(tmp_path))
    assert pace is not None
    assert pace.run == "whole"
    assert pace_of(config_of(), []) is None
