"""The same content in every format and every kind of file becomes the same chats."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from core.data.chats.formats import Chat, Converted, to_chat
from core.data.read.index import RowIndex
from core.data.read.sources import Row, read_rows

PAIRS = [
    ("Wer schrieb „Faust“?", "Goethe,\nJohann Wolfgang"),
    ("Is NA a word?", "NA"),
    (' 3" or "4"; which, then?\ttab', "null"),
    ("emoji \U0001f600", " line one\r\nline two "),
]
CHATS: list[Chat] = [
    [{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in PAIRS
]


def alpaca(chat: Chat) -> dict[str, Any]:
    return {"instruction": chat[0]["content"], "input": "", "output": chat[1]["content"]}


def sharegpt(chat: Chat) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[m["role"]], "value": m["content"]} for m in chat]}


def messages(chat: Chat) -> dict[str, Any]:
    return {"messages": chat}


def pair(chat: Chat) -> dict[str, Any]:
    return {"prompt": chat[0]["content"], "completion": chat[1]["content"]}


def as_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_document(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text(json.dumps({"version": 1, "data": rows}, indent=2))


def as_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()})


def as_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def as_arrow(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(list(rows))
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def as_packed_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode("utf-16")))


WRITERS: dict[str, Callable[[Path, Sequence[dict[str, Any]]], None]] = {
    "a.jsonl": as_lines, "a.json": as_document, "a.csv": as_table, "a.tsv": as_table,
    "a.parquet": as_parquet, "a.arrow": as_arrow, "a.jsonl.gz": as_packed_lines,
}  # fmt: skip


@pytest.mark.parametrize("shape", [alpaca, sharegpt, messages, pair])
@pytest.mark.parametrize("name", WRITERS)
def test_the_same_content_is_the_same_chats(
    shape: Callable[[Chat], dict[str, Any]], name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    WRITERS[name](path, [shape(chat) for chat in CHATS])
    rows = list(read_rows([path]))
    made = [to_chat(row.value, "auto") for row in rows if isinstance(row, Row)]
    assert [one.chat if isinstance(one, Converted) else one for one in made] == CHATS
    index = RowIndex(path)
    index.scan_all()
    assert [index.row(number) for number in range(index.count)] == rows
    index.close()
