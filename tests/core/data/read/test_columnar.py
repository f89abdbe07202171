"""Parquet and Arrow: plain values, numbered rows, and files that lie."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from core.config.errors import InputError
from core.data.chats.chat import Converted, Defect
from core.data.chats.formats import to_chat
from core.data.read import row as limits
from core.data.read.sources import Rejected, Row, read_rows

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def write(path: Path, table: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".arrow":
        with ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    else:
        with ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather"])
def test_rows_are_numbered_and_nested_values_stay(name: str, tmp_path: Path) -> None:
    rows = [{"messages": CHAT, "n": n, "none": None} for n in range(600)]
    path = write(tmp_path / name, pa.Table.from_pylist(rows))
    found = list(read_rows([path]))
    assert [row.line for row in found] == list(range(1, 601))
    assert [row.value for row in found if isinstance(row, Row)] == rows


def test_values_that_json_has_not_become_ones_that_it_has(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "text": pa.array([b"in bytes"], pa.binary()),
        "picture": pa.array([b"\xff\xd8"], pa.binary()),
        "when": pa.array([datetime.datetime(2024, 1, 2, 3, 4)]),
        "price": pa.array([decimal.Decimal("1.50")]),
        "share": pa.array([float("nan")]),
        "word": pa.array(["x"]).dictionary_encode(),
        "list": pa.array([[1.5, None]]),
    }
    (row,) = read_rows([write(tmp_path / "a.parquet", pa.table(columns))])
    assert isinstance(row, Row)
    assert row.value == {
        "text": "in bytes", "picture": {"bytes": 2}, "when": "2024-01-02T03:04:00",
        "price": "1.50", "share": None, "word": "x", "list": [1.5, None],
    }  # fmt: skip


def test_a_text_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"\xff\xfe", b"good"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    rows = list(read_rows([write(tmp_path / "a.parquet", pa.table({"text": broken}))]))
    assert [(type(row), row.line) for row in rows] == [(Row, 1), (Rejected, 2), (Row, 3)]
    assert isinstance(rows[1], Rejected)
    assert rows[1].reason == "not_utf8"


def test_a_row_over_the_limit_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINE_LIMIT_BYTES", 100)
    path = write(tmp_path / "a.parquet", pa.table({"text": ["x", "y" * 200]}))
    rows = list(read_rows([path]))
    assert isinstance(rows[1], Rejected)
    assert rows[1].reason == "line_too_long"


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather"])
def test_cut_and_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, pa.table({"text": [f"row {n}" for n in range(5000)]}))
    whole = path.read_bytes()
    damaged = [whole[: len(whole) // 2], whole[:-5], whole[:100] + b"\xff" * 40 + whole[140:]]
    for raw in damaged[: 1 if name == "a.arrow" else 3]:
        path.write_bytes(raw)
        with pytest.raises(InputError, match="cut short, broken") as caught:
            list(read_rows([path]))
        assert caught.value.remedies


def test_a_footer_that_lies_about_its_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"text": ["row"] * 100}))
    raw = path.read_bytes()
    length = int.from_bytes(raw[-8:-4], "little")
    footer = raw[-8 - length : -8]
    # 100 rows as a zigzag varint stand twice: for the file and for its one row group.
    assert footer.count(b"\x16\xc8\x01") >= 2
    for count in (1, 2, 3):
        lie = footer.replace(b"\x16\xc8\x01", b"\x16\xfe\x7f", count)
        path.write_bytes(raw[: -8 - length] + lie + raw[-8:])
        with pytest.raises(InputError, match="cut short, broken"):
            list(read_rows([path]))


def test_an_empty_table_and_equal_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no rows"):
        list(read_rows([write(tmp_path / "a.parquet", pa.table({"a": pa.array([], pa.string())}))]))
    twice = pa.table([pa.array(["x"]), pa.array(["y"])], names=["a", "a"])
    with pytest.raises(InputError, match="twice"):
        list(read_rows([write(tmp_path / "b.arrow", twice)]))


def test_bytes_that_are_no_utf8_are_no_text_to_learn(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "prompt": pa.array([b"caf\xc3\xa9", b"caf\xe9"], pa.binary()),
        "completion": pa.array(["a", "a"]),
    }
    first, second = (
        to_chat(row.value, "auto")
        for row in read_rows([write(tmp_path / "a.parquet", pa.table(columns))])
        if isinstance(row, Row)
    )
    assert isinstance(first, Converted)
    assert first.chat[0]["content"] == "café"
    assert second == Defect("not_utf8", "prompt is bytes that are not UTF-8: write it as text")
