"""The frozen data set: token columns in Arrow files, and the proof that they are unchanged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from core.config.errors import RefusedError
from core.data.tokens.pack import Packed
from core.record.folder import RunFolder, sync

if TYPE_CHECKING:
    from datasets import Dataset

TRAIN, EVAL, REPORT = "train.arrow", "eval.arrow", "report.json"
COLUMNS = ("input_ids", "labels", "position_ids")
_BATCH, _BATCH_TOKENS = 1000, 1 << 19
"""Sequences, and about so many tokens, that are written and read at once."""
_REMEDY = "start a new run: its data is frozen anew"


@dataclass(frozen=True)
class Frozen:
    """A run's data as it was frozen; ``evaluation`` is None when nothing was held out."""

    train: Dataset
    evaluation: Dataset | None
    report: dict[str, Any]


@contextmanager
def staged(folder: RunFolder) -> Iterator[Path]:
    """A folder that becomes the run's data folder if all goes well, and vanishes if not."""
    staging = folder.path / ".data.staging"
    shutil.rmtree(staging, ignore_errors=True)  # what a killed attempt left behind
    staging.mkdir(mode=0o700)
    try:
        yield staging
        staging.rename(folder.data)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync(folder.path)


def write(path: Path, sequences: Iterable[Packed]) -> int:
    """Write sequences as an Arrow stream, forced to disk; returns how many there were."""
    schema = pa.schema([(name, pa.list_(pa.int32())) for name in COLUMNS])
    count = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with pa.ipc.new_stream(file, schema) as writer:
            for batch in _batched(sequences):
                ends = np.cumsum([0, *(len(row.input_ids) for row in batch)], dtype=np.int32)
                columns = (
                    np.concatenate([getattr(row, name) for row in batch]) for name in COLUMNS
                )
                arrays = [pa.ListArray.from_arrays(ends, column) for column in columns]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                count += len(batch)
        file.flush()
        os.fsync(file.fileno())
    return count


def digest(folder: Path) -> str:
    """sha256 over the token columns on disk. Raises RefusedError when they cannot be read."""
    total = hashlib.sha256()
    for name in (TRAIN, EVAL):
        path = folder / name
        if not path.exists():
            continue
        total.update(name.encode())
        try:
            for batch in _batches(path):
                for column in COLUMNS:
                    values = batch.column(column)
                    total.update(np.diff(values.offsets.to_numpy()).astype("<i4").tobytes())
                    total.update(values.flatten().to_numpy().astype("<i4").tobytes())
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            raise _changed(f"{path} is damaged: {error}") from error
    return total.hexdigest()


def read_report(folder: RunFolder) -> dict[str, Any]:
    """The report of the frozen data. Raises RefusedError when there is none."""
    path = folder.data / REPORT
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _changed(f"the run's data is incomplete: cannot read {path}") from error
    return dict(report)


def load_frozen(folder: RunFolder) -> Frozen:
    """Open a run's frozen data, memory-mapped.

    Raises RefusedError, kind ``data_changed``, when it is incomplete or not what was frozen.
    """
    from datasets import Dataset

    report = read_report(folder)
    verify(folder, report)
    evaluation = folder.data / EVAL
    return Frozen(
        train=Dataset.from_file(str(folder.data / TRAIN)),
        evaluation=Dataset.from_file(str(evaluation)) if report["eval"] is not None else None,
        report=report,
    )


def verify(folder: RunFolder, report: dict[str, Any]) -> None:
    """Compare what is on disk with the report. Raises RefusedError, kind ``data_changed``."""
    expected = [TRAIN] if report["eval"] is None else [TRAIN, EVAL]
    for name in expected:
        if not (folder.data / name).is_file():
            raise _changed(f"the run's data is incomplete: {folder.data / name} is missing")
    found = digest(folder.data)
    if found != report["sha256"]:
        raise _changed(
            f"the frozen data in {folder.data} was changed: its sha256 is {found[:12]}..., "
            f"the run began with {report['sha256'][:12]}..."
        )


def _batched(sequences: Iterable[Packed]) -> Iterator[list[Packed]]:
    batch: list[Packed] = []
    tokens = 0
    for sequence in sequences:
        batch.append(sequence)
        tokens += len(sequence.input_ids)
        if len(batch) == _BATCH or tokens >= _BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
    if batch:
        yield batch


def _batches(path: Path) -> Iterator[Any]:
    # Not mapped: all pages of it would count as this program's memory.
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
        yield from reader


def _changed(message: str) -> RefusedError:
    return RefusedError(message, kind="data_changed", remedies=(_REMEDY,))
