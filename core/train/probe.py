"""The longest batch there may be, once through everything: forward, backward, update, evaluation.

The real trainer runs it, on random tokens and in a folder that is thrown away, so that what it
takes is what the training will take. A process of its own (``core.run.probe``): when it ends, all
of it is given back.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from core.config import files
from core.config.schema import RunConfig
from core.model import kernels
from core.model.fast.plan import PASS_TOKENS
from core.model.shapes import configured
from core.monitor.peak import Peak
from core.monitor.remedies import explain
from core.record import events as ev
from core.record.folder import RunFolder
from core.record.job import Job

_STEPS = 2
"""The second is like all that follow: the optimizer has its state, graphs are recorded."""
_DOCUMENTS = 4
"""In a row, where rows are packed."""


@dataclass(frozen=True)
class Probed:
    """What was measured. None: it is not told here."""

    device: str
    path: str
    why: str
    device_bytes: int | None
    """Highest use of the GPU by NVML, above what others used before; CUDA's own included."""
    allocated_bytes: int | None
    """Highest of torch's own counter."""
    ram_bytes: int
    """Highest resident size of the process beyond what libraries took before the model came."""
    load_seconds: float
    step_seconds: float
    """Of the last step, of the micro-batches that ``tokens`` is the sum of."""
    tokens: int
    eval_seconds: float | None


class _Told:
    """The events of the probe's training."""

    def __init__(self) -> None:
        self.loaded: ev.ModelLoaded | None = None
        self.step: ev.StepDone | None = None
        self.evaluated: ev.EvalDone | None = None

    def __call__(self, event: ev.Event) -> None:
        if isinstance(event, ev.ModelLoaded):
            self.loaded = event
        elif isinstance(event, ev.StepDone):
            self.step = event
        elif isinstance(event, ev.EvalDone):
            self.evaluated = event


def probe(config: RunConfig, folder: Path) -> Probed:
    """Train a few micro-batches of the longest rows, in ``folder``; what it took.

    Nothing of a run is read or changed. Raises what a training raises.
    """
    card = Peak(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    kernels.block()
    import torch

    from core.model import load
    from core.train import trainer
    from core.train.tally import Tally

    device = load.device_of(config)
    before = psutil.Process().memory_info().rss
    wish = _shortened(config)
    told = _Told()
    job = Job("probe", RunFolder(folder), wish, told)
    started = time.monotonic()
    with card.watch():
        made = trainer.assemble(
            job, _longest(wish), device, Tally(), resumed=False, kind=_silent(trainer)
        )
        made.args.gradient_accumulation_steps = min(2, made.args.gradient_accumulation_steps)
        loaded = time.monotonic() - started
        made.train()
    assert told.loaded is not None
    assert told.step is not None
    cuda = device != "cpu"
    return Probed(
        device=torch.cuda.get_device_name(device) if cuda else "CPU",
        path=told.loaded.path,
        why=told.loaded.why,
        device_bytes=_more(card.most_bytes, card.before_bytes) if cuda else None,
        allocated_bytes=torch.cuda.max_memory_allocated() if cuda else None,
        ram_bytes=max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before),
        load_seconds=loaded,
        step_seconds=told.step.step_seconds,
        tokens=told.step.tokens // _STEPS,
        eval_seconds=told.evaluated.seconds if told.evaluated else None,
    )


def _more(most: int | None, before: int | None) -> int | None:
    return None if most is None or before is None else most - before


def _shortened(config: RunConfig) -> RunConfig:
    """The same training, of a few steps and with one evaluation at the end."""
    wish = config.model_copy(deep=True)
    wish.train.max_steps = _STEPS
    wish.train.logging_steps = 1
    wish.train.save_steps = 0
    wish.evaluate.eval_on_start = False
    wish.evaluate.eval_steps = 1_000_000
    wish.evaluate.early_stopping_patience = 0
    return wish


def _longest(config: RunConfig) -> Any:
    """Rows as long as they may be, of random tokens that all carry loss."""
    import datasets

    shape = configured(config.model.name_or_path, config.model.revision)
    length = config.data.max_length
    source = random.Random(0)
    ids = [source.randrange(shape.vocab_size or 1) for _ in range(length)]
    count = _DOCUMENTS if config.data.packing else 1
    cuts = [length * number // count for number in range(count + 1)]
    positions = [n for begin, end in pairwise(cuts) for n in range(end - begin)]
    labels = [-100 if position == 0 else i for i, position in zip(ids, positions, strict=True)]
    row = {"input_ids": ids, "labels": labels, "position_ids": positions}
    passes = max(config.train.per_device_train_batch_size, PASS_TOKENS // length, 1)
    batch = min(passes, config.effective_batch)
    rows = datasets.Dataset.from_list([row] * (2 * _STEPS * batch))
    held_out = datasets.Dataset.from_list([row] * config.evaluate.per_device_eval_batch_size)
    return SimpleNamespace(train=rows, evaluation=held_out, report={})


def _silent(trainer: Any) -> type:
    class Silent(trainer.DurableTrainer):  # type: ignore[misc]
        """Writes nothing."""

        def _save_checkpoint(self, model: Any, trial: Any) -> None: ...

    return Silent


def main() -> int:
    """``python -m core.train.probe RUN.TOML FOLDER ANSWER.JSON``"""
    config = files.load(Path(sys.argv[1])).config
    answer: dict[str, Any]
    try:
        answer = asdict(probe(config, Path(sys.argv[2])))
    except Exception as error:
        traceback.print_exc()
        found = explain(error)
        answer = {
            "error": {
                "message": found.message, "kind": found.kind, "remedies": found.remedies,
                "exit_code": found.exit_code,
            }
        }  # fmt: skip
    Path(sys.argv[3]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
