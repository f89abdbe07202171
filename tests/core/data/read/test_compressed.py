"""gzip and Zstandard: the same rows, and an end to bombs."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.config.errors import InputError
from core.data.read import compressed
from core.data.read.sources import Row, Source, read_rows

VALUE = {"instruction": "q", "output": "a"}


def zstd(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return sink.getvalue().to_pybytes()


PACKERS = [(".gz", gzip.compress), (".zst", zstd)]


@pytest.mark.parametrize(("suffix", "packed"), PACKERS)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", json.dumps(VALUE) + "\n"),
        ("a.json", json.dumps({"data": [VALUE]})),
        ("a.csv", "instruction,output\nq,a\n"),
        ("a.tsv", "instruction\toutput\nq\ta\n"),
    ],
)
def test_packed_files_hold_the_same_rows(
    suffix: str, packed: Callable[[bytes], bytes], name: str, content: str, tmp_path: Path
) -> None:
    path = tmp_path / (name + suffix)
    path.write_bytes(packed(content.encode()))
    found: list[Source] = []
    (row,) = read_rows([path], on_file=found.append)
    assert isinstance(row, Row)
    assert row.value == VALUE
    assert found[0].words.endswith("gzip" if suffix == ".gz" else "zstd")
    path.rename(tmp_path / name)  # the content says it, whatever the name says
    assert [r.value for r in read_rows([tmp_path / name]) if isinstance(r, Row)] == [VALUE]


@pytest.mark.parametrize(("suffix", "packed"), PACKERS)
def test_packed_text_and_parquet(
    suffix: str, packed: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    text, table = tmp_path / f"a.txt{suffix}", tmp_path / f"a.parquet{suffix}"
    text.write_bytes(packed("Grüße\n\nTwo".encode("cp1252")))
    pq.write_table(pa.Table.from_pylist([VALUE]), tmp_path / "plain.parquet")
    table.write_bytes(packed((tmp_path / "plain.parquet").read_bytes()))
    rows = list(read_rows([text, table]))
    assert [row.value for row in rows if isinstance(row, Row)] == [
        {"text": "Grüße"}, {"text": "Two"}, VALUE,
    ]  # fmt: skip


@pytest.mark.parametrize("packed", [gzip.compress, zstd])
def test_members_one_after_the_other_are_all_read(
    packed: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b"".join(packed(json.dumps({"n": n}).encode() + b"\n") for n in range(3)))
    assert [row.value["n"] for row in read_rows([path]) if isinstance(row, Row)] == [0, 1, 2]


@pytest.mark.parametrize("packed", [gzip.compress, zstd])
@pytest.mark.parametrize("harm", ["cut", "flipped", "followed"])
def test_broken_files_are_refused(
    packed: Callable[[bytes], bytes], harm: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl.gz"
    raw = packed("".join(json.dumps({"n": n, "x": n * n}) + "\n" for n in range(50_000)).encode())
    middle = len(raw) // 2
    path.write_bytes(
        {
            "cut": raw[:middle],
            "flipped": raw[:middle] + bytes(byte ^ 0xFF for byte in raw[middle:-8]) + raw[-8:],
            "followed": raw + b"garbage that is no member",
        }[harm]
    )
    with pytest.raises(
        InputError, match=r"cut short or broken inside|something else behind"
    ) as caught:
        list(read_rows([path]))
    assert caught.value.remedies


@pytest.mark.parametrize("packed", [gzip.compress, zstd])
@pytest.mark.parametrize("line", [b"0" * (1 << 20), b"0\n" * (1 << 19)], ids=["one", "many"])
def test_a_bomb_is_stopped_by_its_ratio(
    packed: Callable[[bytes], bytes], line: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(packed(b'{"a": 1}\n' + line * 80))
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(InputError, match="500 times its size") as caught:
        next(read_rows([path]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.kind == "unpacks_too_large"
    assert time.monotonic() - began < 10  # alone it takes a fifth of a second
    assert peak < 20 << 20


def test_a_bomb_behind_good_rows_is_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressed, "RATIO_FREE_BYTES", 1 << 20)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' + b"0" * (40 << 20)))
    monkeypatch.setattr(compressed, "_SUSPICIOUS_RATIO", 1e9)
    with pytest.raises(InputError, match="500 times its size"):
        list(read_rows([path]))


def test_a_file_that_unpacks_to_too_much_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressed, "SIZE_LIMIT_BYTES", 1000)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000))
    with pytest.raises(InputError, match="unpacks to more than"):
        list(read_rows([path]))


def test_room_for_unpacking_is_where_tmpdir_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert compressed.spool_folder() == str(tmp_path)
