"""finetui itself: its job ``train``, whole, on rows that lie in memory.

Model, adapter, trainer, guards and events are those of a user's run. Two things differ: no file of
rows is read, and rows come in their order, so that losses can be laid beside those of the others.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from peers import tokens, weights
from peers.shapes import LEARNING_RATE, MODELS, OPTIMIZER, SEED, TARGETS, Row

if TYPE_CHECKING:
    from core.config.schema import RunConfig


def run(row: Row, options: dict[str, Any], models: Path) -> dict[str, Any]:
    """Train as the row says; the figures."""
    from peers.meter import Meter

    if row.search:
        from peers import context

        return context.search(row, options, models)
    meter = Meter(row)
    documents = tokens.documents(row, MODELS[row.model]["vocab_size"])
    trained = train(row, options, models, sequences(row, documents), meter)
    return trained.facts | meter.figures()


@dataclass
class Trained:
    """What a training told."""

    facts: dict[str, Any] = field(default_factory=dict)


def sequences(row: Row, documents: list[list[int]]) -> list[dict[str, list[int]]]:
    """Rows as finetui freezes them: packed by its own packing where lengths are mixed."""
    from core.data.tokens.pack import join, pack

    groups = (
        pack([len(document) for document in documents], row.length)
        if row.mixed
        else [[number] for number in range(len(documents))]
    )
    wanted = islice(groups, row.batch * row.accumulation * row.steps)
    joined = [join([(documents[n], documents[n]) for n in group]) for group in wanted]
    return [{name: ids.tolist() for name, ids in vars(packed).items()} for packed in joined]


def settings(row: Row, options: dict[str, Any], folder: Path, device: str) -> dict[str, str]:
    """The run's settings, as ``section.field`` overrides."""
    return {
        "model.name_or_path": str(folder),
        "adapter.r": str(row.rank),
        "adapter.lora_alpha": str(row.rank),
        "adapter.lora_dropout": str(row.dropout),
        "adapter.target_modules": ",".join(TARGETS),
        "data.max_length": str(max(16, row.length)),
        "data.packing": str(row.mixed).lower(),
        "train.max_steps": str(row.steps),
        "train.per_device_train_batch_size": str(row.batch),
        "train.gradient_accumulation_steps": str(row.accumulation),
        "train.learning_rate": str(LEARNING_RATE),
        "train.lr_scheduler_type": "constant",
        "train.warmup_steps": "0",
        "train.weight_decay": "0",
        "train.max_grad_norm": "1",
        "train.optim": OPTIMIZER,
        "train.logging_steps": str(row.warm_up),
        "train.save_steps": "0",
        "train.seed": str(SEED),
        "evaluate.eval_strategy": "no",
        "run.devices": "cpu" if device == "cpu" else "auto",
        **row.settings,
        **options.get("set", {}),
    }


def config(row: Row, options: dict[str, Any], folder: Path, device: str) -> RunConfig:
    """The run's configuration. Raises InputError where a setting is wrong; needs no torch."""
    from core.config.files import from_overrides

    return from_overrides(_known(row, settings(row, options, folder, device))).config


def train(
    row: Row, options: dict[str, Any], models: Path, rows: list[dict[str, list[int]]], meter: Any
) -> Trained:
    """Run the job ``train`` on these sequences, one after the other. Its errors pass through."""
    import torch

    from core.config.files import dump
    from core.record.folder import create
    from core.record.job import Job
    from core.train import trainer

    trained = Trained()
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = weights.folder_of(row.model, models)
        if row.random_base:
            from peers import random_base

            folder = Path(place) / row.model
            weights.describe(row.model, folder)
            stack.enter_context(random_base.in_place(row.model))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        wanted = config(row, options, folder, device)
        run_folder = create(Path(place), "run", dump(wanted))
        job = Job("train", run_folder, wanted, lambda event: _take(trained, event))
        stack.enter_context(mock.patch.object(trainer, "frozen_data", return_value=_frozen(rows)))
        stack.enter_context(
            mock.patch.object(trainer, "DurableTrainer", _measured(trainer, meter, trained))
        )
        trainer.train(job)
    return trained


def _known(row: Row, values: dict[str, str]) -> dict[str, str]:
    """Without what the workload wishes and this version cannot do; options of the user stay."""
    from core.config.schema import SECTIONS, section_fields

    def known(name: str) -> bool:
        section, _, key = name.partition(".")
        return section in SECTIONS and key in section_fields(section)

    return {key: value for key, value in values.items() if known(key) or key not in row.settings}


def _frozen(rows: list[dict[str, list[int]]]) -> Any:
    import datasets

    return SimpleNamespace(
        train=datasets.Dataset.from_list(rows), evaluation=None, report={"sha256": "in memory"}
    )


def _measured(trainer: Any, meter: Any, trained: Trained) -> type:
    """finetui's trainer with a meter on it, and its rows in order."""
    from torch.utils.data import SequentialSampler

    from peers.meter import adapter_dtype, losses, trained_millions

    class Measured(trainer.DurableTrainer):  # type: ignore[misc,name-defined]
        def __init__(self, **kwargs: Any):
            kwargs["data_collator"] = meter.count(kwargs["data_collator"])
            super().__init__(**kwargs)
            self.add_callback(meter)

        def _get_train_sampler(self, *_: Any) -> Any:
            return SequentialSampler(self.train_dataset)

        def train(self, *args: Any, **kwargs: Any) -> Any:
            result = super().train(*args, **kwargs)
            trained.facts |= {
                "adapter_dtype": adapter_dtype(self.model),
                "trained_millions": trained_millions(self.model),
                "losses": losses(self.state.log_history),
            }
            return result

    return Measured


def _take(trained: Trained, event: Any) -> None:
    from core.record import events

    if isinstance(event, events.ModelLoaded):
        trained.facts |= {
            "path": event.path, "why": event.why, "load_seconds": round(event.seconds, 1),
        }  # fmt: skip
    if isinstance(event, events.GuardTripped):
        trained.facts.setdefault("guards", []).append(event.message)
