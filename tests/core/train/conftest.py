"""A run that really trains: tiny NF4 model, paged AdamW with real 8-bit state, packed rows."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch

from core.config.files import dump
from core.config.schema import RunConfig
from core.record import events as ev
from core.record.commands import Control
from core.record.folder import RunFolder, create
from core.record.job import Job, Result
from core.train import trainer

ROWS = 13
"""With micro-batches of 1 and accumulation 2: seven steps an epoch, the last of one row."""
STEPS = 10


@dataclass
class Outcome:
    """How a job ended, and what it told."""

    events: list[ev.Event] = field(default_factory=list)
    result: Result = field(default_factory=dict)
    error: BaseException | None = None

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def sha256(self) -> str:
        assert self.error is None, self.error
        return str(self.result["adapter_sha256"])


class Lab:
    """Makes runs and trains them in this process."""

    def __init__(self, model: Path, root: Path, frozen: Callable[[Job], Any]):
        self.model = model
        self.root = root
        self.frozen = frozen
        self.real_frozen_data = trainer.frozen_data

    def run(self, name: str, changes: dict[str, Any] | None = None) -> tuple[RunFolder, RunConfig]:
        config = self.config(changes)
        return create(self.root, name, dump(config)), config

    def config(self, changes: dict[str, Any] | None = None) -> RunConfig:
        config = RunConfig.model_validate(
            {
                "model": {"name_or_path": str(self.model)},
                "adapter": {"r": 16, "lora_dropout": 0.1},
                "data": {"max_length": 64},
                "train": {
                    "max_steps": STEPS,
                    "per_device_train_batch_size": 1,
                    "gradient_accumulation_steps": 2,
                    "learning_rate": 2e-3,
                    "warmup_steps": 0.1,
                    "activation_checkpointing": False,
                    "save_steps": 1,
                    "save_total_limit": 100,
                },
                "evaluate": {"eval_steps": 4, "eval_on_start": True},
                "run": {"devices": "cpu"},
            }
        )
        for key, value in (changes or {}).items():
            section, _, name = key.partition(".")
            setattr(getattr(config, section), name, value)
        return config

    def train(
        self,
        folder: RunFolder,
        config: RunConfig,
        watch: Callable[[ev.Event, Control], None] | None = None,
        attempt: int = 1,
    ) -> Outcome:
        """Run the job to its end in this thread; ``watch`` sees each event as it happens."""
        outcome = Outcome()
        control = Control()

        def emit(event: ev.Event) -> None:
            outcome.events.append(event)
            if watch is not None:
                watch(event, control)

        job = Job("train", folder, config, emit, control, attempt=attempt)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer, "frozen_data", self.frozen)
            try:
                outcome.result = trainer.train(job)
            except Exception as error:
                outcome.error = error
        return outcome

    def copy_up_to(self, source: RunFolder, step: int, name: str) -> RunFolder:
        """A run as it was on disk right after ``checkpoint-STEP`` was saved."""
        copy = RunFolder(self.root / name)
        shutil.copytree(source.path, copy.path)
        shutil.rmtree(copy.adapter, ignore_errors=True)
        for path in copy.path.glob("checkpoint-*"):
            if int(path.name.partition("-")[2]) > step:
                shutil.rmtree(path)
        return copy


def rows(count: int, seed: int, documents: int = 2, length: int = 24) -> list[dict[str, list[int]]]:
    """Packed rows with a pattern to learn: each document counts upwards from a random byte."""
    source = random.Random(seed)
    made = []
    for _ in range(count):
        row: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": []}
        for _ in range(documents):
            first, size = source.randrange(200), source.randrange(length // 2, length)
            tokens = [(first + n) % 256 for n in range(size)]
            row["input_ids"] += tokens
            row["labels"] += [-100] * 4 + tokens[4:]
            row["position_ids"] += list(range(size))
        made.append(row)
    return made


def digest(table: list[dict[str, list[int]]]) -> str:
    return hashlib.sha256(repr(table).encode()).hexdigest()


@pytest.fixture(scope="session")
def lab(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One process, one thread: the same bits wherever the tests run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    table = rows(ROWS, seed=1)
    data = SimpleNamespace(
        train=datasets.Dataset.from_list(table),
        evaluation=datasets.Dataset.from_list(rows(3, seed=2)),
        report={"sha256": digest(table)},
    )
    yield Lab(tiny_model, tmp_path_factory.mktemp("runs"), lambda job: data)
    torch.set_num_threads(threads)


@dataclass
class Straight:
    """A run that nobody disturbed."""

    folder: RunFolder
    config: RunConfig
    outcome: Outcome


@pytest.fixture(scope="session")
def straight(lab: Lab) -> Straight:
    """The reference: ten steps over one and a half epochs, a checkpoint after each."""
    folder, config = lab.run("straight")
    outcome = lab.train(folder, config)
    assert outcome.error is None, outcome.error
    return Straight(folder, config, outcome)
