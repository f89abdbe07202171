"""``train.full_determinism`` on a GPU: the same adapter, bit for bit, at each run of a real shape.

Each training is in a process of its own, as a user's is: cuBLAS looks once at what is wished.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from core.record import events as ev
from core.record.commands import Control, Stopped
from core.record.folder import RunFolder
from core.record.job import Job

pytestmark = [
    pytest.mark.trains,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="a GPU's kernels are what is tested"),
]
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
ROW = "1b-2x2048"
STEPS, STOP = 8, 5


@dataclass
class Told:
    """What a training told; ``sha256`` is the adapter's, empty where it was stopped."""

    path: str = ""
    losses: list[float] = field(default_factory=list)
    resumed: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)
    guards: list[str] = field(default_factory=list)
    stopped: int | None = None
    sha256: str = ""

    def take(self, event: ev.Event) -> None:
        if isinstance(event, ev.ModelLoaded):
            self.path = event.path
        elif isinstance(event, ev.StepDone):
            self.losses.append(event.loss)
        elif isinstance(event, ev.Resumed):
            self.resumed.append((event.from_step, event.tier, event.reasons))
        elif isinstance(event, ev.GuardTripped):
            self.guards.append(event.message)


def row(*, packed: bool) -> Any:
    from peers.shapes import ROWS

    return replace(
        ROWS[ROW], mixed=packed, steps=STEPS, accumulation=2, dropout=0.05, random_base=True
    )


def begin(root: Path, name: str, *, packed: bool) -> RunFolder:
    """A run that was configured and never started, beside a base that has no weights on disk."""
    from peers import finetui, weights

    from core.config.files import dump, from_overrides
    from core.record.folder import create

    wanted, base = row(packed=packed), root / "base"
    if not base.exists():
        weights.describe(wanted.model, base)
    wishes = {
        "train.full_determinism": "true", "train.logging_steps": "1", "train.save_steps": "4",
        "memory.limit_gib": "30",
    }  # fmt: skip
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = finetui.settings(wanted, {"set": wishes}, base, device)
    kind = "packed" if packed else "equal"
    return create(root, f"{name}-{kind}", dump(from_overrides(settings).config))


def train(folder: RunFolder, packed: bool, stop: int | None) -> Told:
    """Run the job to its end, or stop and save after a step. For a process of its own."""
    from peers import finetui, random_base, tokens
    from peers.shapes import MODELS

    from core.config.files import load
    from core.train import trainer

    wanted, told, control = row(packed=packed), Told(), Control()
    documents = tokens.documents(wanted, MODELS[wanted.model]["vocab_size"])
    frozen = finetui._frozen(finetui.sequences(wanted, documents))

    def take(event: ev.Event) -> None:
        told.take(event)
        if isinstance(event, ev.StepDone) and event.step == stop:
            control.take("StopAndSave")

    job = Job("train", folder, load(folder.config).config, take, control, attempt=1)
    with ExitStack() as stack:
        stack.enter_context(random_base.in_place(wanted.model))
        stack.enter_context(mock.patch.object(trainer, "frozen_data", return_value=frozen))
        try:
            told.sha256 = str(trainer.train(job)["adapter_sha256"])
        except Stopped as stopped:
            told.stopped = stopped.step
    return told


def apart(folder: RunFolder, *, packed: bool, stop: int | None = None) -> Told:
    """``train`` in a fresh process."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        return pool.submit(train, folder, packed, stop).result()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where runs and their base lie; the benchmark's shapes and rows can be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield tmp_path_factory.mktemp("deterministic")
    for name in [name for name in sys.modules if name.partition(".")[0] == "peers"]:
        del sys.modules[name]


@dataclass
class Straight:
    """A run that nobody disturbed."""

    packed: bool
    told: Told


@pytest.fixture(scope="module", params=[False, True], ids=["equal", "packed"])
def straight(root: Path, request: pytest.FixtureRequest) -> Straight:
    packed = bool(request.param)
    told = apart(begin(root, "straight", packed=packed), packed=packed)
    assert (told.path, told.guards) == ("fused", [])
    assert len(told.losses) == STEPS
    assert len(told.sha256) == 64
    return Straight(packed, told)


def test_a_second_run_gives_the_same_adapter(root: Path, straight: Straight) -> None:
    again = apart(begin(root, "again", packed=straight.packed), packed=straight.packed)
    assert again.losses == straight.told.losses
    assert again.sha256 == straight.told.sha256


def test_a_stopped_run_goes_on_to_the_same_adapter(root: Path, straight: Straight) -> None:
    folder = begin(root, "stopped", packed=straight.packed)
    half = apart(folder, packed=straight.packed, stop=STOP)
    assert half.stopped is not None
    assert half.stopped < STEPS
    rest = apart(folder, packed=straight.packed)
    assert rest.resumed == [(half.stopped, "E", ())]
    assert half.losses + rest.losses == straight.told.losses
    assert rest.sha256 == straight.told.sha256
