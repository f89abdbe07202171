"""Pieces of a hub's files: every row once, as our readers have it, from any place of a file."""

from __future__ import annotations

import datetime
import gzip
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.config.errors import InputError
from core.data.read.hub import pieces as hubpieces
from core.data.read.hub.draw import Remote
from core.data.read.hub.pieces import examples, get_ready, pieces_of
from core.data.read.lines import line_rows
from core.data.read.row import Rejected, Row


def remotes(*paths: Path) -> list[Remote]:
    get_ready(str(paths[0]))
    return [Remote(str(path), path.name, path.stat().st_size) for path in paths]


def lines_of(files: Iterable[Remote]) -> list[bytes]:
    return [example["line"] for example in examples(pieces_of(files, 100))]


class Bytes:
    """Lines for our reader."""

    def __init__(self, lines: list[bytes]):
        self._blocks = [b"\n".join(lines)]

    def read(self, _: int) -> bytes:
        return self._blocks.pop() if self._blocks else b""


def test_each_line_is_in_one_piece_wherever_the_cuts_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"n": n, "text": "x" * (n % 23)}).encode() for n in range(40)]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(rows[:20]) + b"\r\n\n \n" + b"\n".join(rows[20:]))
    for size in (1, 7, 20, 64, 10_000):
        monkeypatch.setattr(hubpieces, "LINE_PIECE_BYTES", size)
        assert lines_of(remotes(path)) == rows
    monkeypatch.setattr(hubpieces, "LINE_PIECE_BYTES", 1)
    monkeypatch.setattr(hubpieces, "PIECE_LIMIT", 10)
    assert len(pieces_of(remotes(path), 100)) <= 12
    assert lines_of(remotes(path)) == rows
    monkeypatch.setattr(hubpieces, "LINE_PIECE_BYTES", 40)
    few = [example["line"] for example in examples(pieces_of(remotes(path), 0))]
    assert 8 < len(few) < 25, "the beginning of each piece has enough rows"
    assert set(few) < set(rows)
    assert len(few) == len(set(few))


def test_row_groups_come_once_and_images_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    rows = [
        {
            "n": n,
            "day": datetime.date(2026, 1, 1 + n),
            "raw": b"\xff\xfe",
            "image": {"bytes": b"\xff" * 50, "path": "a.png"},
            "sounds": [{"bytes": b"\xff" * 50, "path": "a.mp3"}],
        }
        for n in range(20)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    for size in (100, 1000, 1 << 20):
        monkeypatch.setattr(hubpieces, "PARQUET_PIECE_BYTES", size)
        found = list(examples(pieces_of(remotes(path), 100)))
        values = [json.loads(example["line"]) for example in found]
        assert [value["n"] for value in values] == list(range(20))
        assert values[1] == {"n": 1, "day": "2026-01-02", "raw": {"bytes": 2}}
        assert found[0]["left_out"] == ("image", "sounds")


def test_files_that_are_read_in_order_are_one_piece(tmp_path: Path) -> None:
    packed, table = tmp_path / "a.jsonl.gz", tmp_path / "b.csv"
    packed.write_bytes(gzip.compress(b'{"a": 1}\n\n{"a": 2}\n{"a": \n'))
    table.write_text("prompt,completion\nq,007\nbroken\nq2,a2\n")
    document, text = tmp_path / "c.json", tmp_path / "d.txt"
    document.write_text(json.dumps([{"a": 2**70}, {"a": "ä"}], indent=1))
    text.write_text("one\ntwo\n\nthree\n")
    files = remotes(packed, table, document, text)
    assert len(pieces_of(files, 100)) == len(files)
    assert not any(file.divisible for file in files)
    rows = list(line_rows(Bytes(lines_of(files)), "sample", Counter()))
    values = [row.value for row in rows if isinstance(row, Row)]
    assert values == [
        {"a": 1}, {"a": 2}, {"prompt": "q", "completion": "007"},
        {"prompt": "q2", "completion": "a2"}, {"a": 2**70}, {"a": "ä"}, {"text": "one\ntwo"},
        {"text": "three"},
    ]  # fmt: skip
    broken = [row for row in rows if isinstance(row, Rejected)]
    assert [row.reason for row in broken] == ["not_json", "not_an_object"]
    assert "ragged_row: has 1 fields" in broken[1].raw


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"PAR1 and then nothing that a footer would be", "a.parquet is broken"),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), "no JSON lines in UTF-8"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-9], "cut short or broken"),
        ("a.csv", b"\0\1\2\3" * 999, "binary"),
    ],
)  # fmt: skip
def test_broken_files_are_told_in_words(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        lines_of(remotes(path))
    assert caught.value.remedies
    assert str(tmp_path) not in caught.value.message
