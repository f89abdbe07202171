"""How fast runs have trained that were like one that is planned: measured, from their journals."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core.config.errors import FinetuiError
from core.config.files import load
from core.config.schema import RunConfig
from core.record import events as ev
from core.record.folder import RunFolder
from core.record.journal import read

FIRST_STEPS = 3
"""Steps of an attempt that do not count: caches fill, and kernels are compiled."""
LEAST_STEPS = 10
"""Fewer measured steps say too little."""
_TRAIN = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "optim", "path",
    "activation_checkpointing", "full_determinism", "fp8",
)  # fmt: skip


@dataclass(frozen=True)
class Pace:
    """Tokens a second of the training steps of a run, on the device that it names."""

    run: str
    device: str
    tokens_per_second: float
    steps: int
    """Steps that were measured."""

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def pace_of(config: RunConfig, runs: Iterable[RunFolder]) -> Pace | None:
    """The pace of the first of ``runs`` that trained the same model in the same way; None where
    there is none. Runs whose settings cannot be read are passed over."""
    wanted = _method(config)
    for run in runs:
        try:
            same = _method(load(run.config).config) == wanted
        except (FinetuiError, OSError):
            continue
        pace = _measured(run) if same and run.events.exists() else None
        if pace is not None:
            return pace
    return None


def _method(config: RunConfig) -> tuple[Any, ...]:
    """All settings on which the speed of a step depends, but for the device."""
    adapter = config.adapter.model_dump(exclude={"lora_alpha"})
    data = config.data
    train = config.train.model_dump(include=set(_TRAIN))
    return (
        config.model.model_dump(), config.quantization.model_dump(), adapter, train,
        config.memory.model_dump(), data.max_length, data.packing,
    )  # fmt: skip


def _measured(run: RunFolder) -> Pace | None:
    device, since, rates = "", 0, list[float]()
    for record in read(run.events):
        event = record.event
        if isinstance(event, ev.WorkerStarted):
            if event.device != device:
                rates.clear()
            device, since = event.device, 0
        elif isinstance(event, ev.StepDone):
            since += 1
            if since > FIRST_STEPS:
                rates.append(event.tokens_per_second)
    if len(rates) < LEAST_STEPS:
        return None
    return Pace(run.name, device, statistics.median(rates), len(rates))
