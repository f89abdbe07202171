"""The token columns on disk: read and written in batches that do not grow with the sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from core.config.errors import RefusedError
from core.data.tokens import frozen
from core.data.tokens.frozen import TRAIN, digest, write
from core.data.tokens.pack import Packed


def sequences(*lengths: int) -> list[Packed]:
    made = []
    for number, length in enumerate(lengths):
        ids = np.arange(number, number + length, dtype=np.int32)
        made.append(Packed(ids, ids + 1, np.arange(length, dtype=np.int32)))
    return made


def test_long_sequences_are_written_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "_BATCH_TOKENS", 100)
    monkeypatch.setattr(frozen, "_BATCH", 3)
    given = sequences(60, 60, 250, 1, 2, 3, 4)
    assert write(tmp_path / TRAIN, given) == 7
    with pa.ipc.open_stream(tmp_path / TRAIN) as reader:
        batches = list(reader)
    assert [len(batch) for batch in batches] == [2, 1, 3, 1]
    for column in frozen.COLUMNS:
        read = [row for batch in batches for row in batch.column(column).to_pylist()]
        assert read == [getattr(row, column).tolist() for row in given]


def test_a_changed_byte_changes_the_digest_and_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / TRAIN
    write(path, sequences(60, 60))
    before, raw = digest(tmp_path), path.read_bytes()
    place = raw.index(np.arange(10, 20, dtype=np.int32).tobytes())
    path.write_bytes(raw[:place] + b"\xff" + raw[place + 1 :])
    assert digest(tmp_path) != before
    path.write_bytes(raw)
    assert digest(tmp_path) == before
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(RefusedError, match="damaged"):
        digest(tmp_path)
