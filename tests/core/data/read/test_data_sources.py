"""Files to rows: each defect costs its row only, and says which and where."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config.errors import FailedError, InputError
from core.config.schema import RunConfig
from core.data.pipeline import Kept, Pipeline
from core.data.read import row as limits
from core.data.read.row import Marked
from core.data.read.sources import Rejected, Row, read_rows

GOOD = {"instruction": "a", "output": "b"}


def all_rows(*paths: Path) -> list[Row | Rejected]:
    return list(read_rows(list(paths)))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "not_json"),
        (b"{'a': 1}", "not_json"),
        (b'{"a": 1} // note', "not_json"),
        (b'{"a": 1} {"b": 2}', "not_json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not_json"),
        (b'{"a": "\xff\xfe"}', "not_utf8"),
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": -Infinity}', "not_finite"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"a": {"b": 1, "b": 1}}', "duplicate_key"),
        (b'{"a": "\\ud83d"}', "half_character"),
        (b'["a"]', "not_an_object"),
        (b"3", "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "too_deep"),
        (b'{"a": "tab\there"}', "not_json"),
    ],
)
def test_a_broken_line_costs_that_line_only(
    line: bytes, reason: str, write_lines: Callable[..., Path]
) -> None:
    first, broken, last = all_rows(write_lines(GOOD, line, GOOD))
    assert first == Row(first.file, 1, GOOD)
    assert isinstance(broken, Rejected)
    assert (broken.line, broken.reason) == (2, reason)
    assert broken.detail
    assert broken.raw
    assert last == Row(first.file, 3, GOOD)


@pytest.mark.parametrize(
    "text", ["escaped \\u0000 nul", "pair \\ud83d\\ude00", "a\u2028b", "[" * 200, '\\"[{' * 90]
)
def test_odd_text_is_kept(text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text(f'{{"a": "{text}"}}\n', encoding="utf-8")
    (row,) = all_rows(path)
    assert isinstance(row, Row)
    assert row.value == json.loads(f'{{"a": "{text}"}}')


def test_bom_carriage_returns_blank_lines_and_a_missing_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}\n\n{"a": 3}')
    blanks: Counter[str] = Counter()
    rows = list(read_rows([path], blanks))
    assert [(row.line, row.value["a"]) for row in rows if isinstance(row, Row)] == [
        (1, 1), (4, 2), (6, 3),
    ]  # fmt: skip
    assert blanks.total() == 3


def test_a_line_over_the_limit_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINE_LIMIT_BYTES", 100)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "' + b"x" * 1000 + b'"}\n{"a": 3}\n')
    rows = all_rows(path)
    assert [row.line for row in rows] == [1, 2, 3]
    assert isinstance(rows[1], Rejected)
    assert rows[1].reason == "line_too_long"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrap", ["list", "object"])
def test_documents(indent: int | None, wrap: str, tmp_path: Path) -> None:
    rows = [GOOD | {"n": n} for n in range(3)]
    value: Any = rows if wrap == "list" else {"version": [1, {"x": []}], "data": rows, "z": "]"}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(value, indent=indent), encoding="utf-8-sig")
    found = all_rows(path)
    assert [row.value for row in found if isinstance(row, Row)] == rows
    if indent:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        assert all(lines[row.line - 1].strip() == "{" for row in found)


def test_a_defect_in_a_document_costs_that_row_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[\n{"a": 1},\n{"a": NaN},\n{"a": 1, "a": 2},\n4,\n{"a": 5}\n]')
    rows = all_rows(path)
    assert [row.line for row in rows] == [2, 3, 4, 5, 6]
    reasons = [row.reason for row in rows if isinstance(row, Rejected)]
    assert reasons == ["not_finite", "duplicate_key", "not_an_object"]


def test_lines_named_json_and_a_list_named_jsonl(tmp_path: Path) -> None:
    lines, listed = tmp_path / "lines.json", tmp_path / "list.jsonl"
    lines.write_text('{"a": 1}\n{"a": 2}\n')
    listed.write_text('[\n {"a": 1},\n {"a": 2}\n]\n')
    single = tmp_path / "single.json"
    single.write_text(json.dumps({"messages": [{"role": "user"}]}, indent=1))
    assert [r.value for r in all_rows(lines) if isinstance(r, Row)] == [{"a": 1}, {"a": 2}]
    assert [r.value for r in all_rows(listed) if isinstance(r, Row)] == [{"a": 1}, {"a": 2}]
    assert [r.value for r in all_rows(single) if isinstance(r, Row)] == [
        {"messages": [{"role": "user"}]}
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b"\n\n \n", "only blank lines"),
        ("a.json", b"[]", "empty list"),
        ("a.json", b'[{"a": 1}, {"a"', r"a\.json:1: not valid JSON"),
        ("a.json", b'[\n{"a": 1}\n{"a": 2}]', r"a\.json:3: .*comma"),
        ("a.json", b'{"x": [{"a": 1}], "y": [{"a": 1}]}', "several lists of rows: x, y"),
        ("a.json", b"[" * 100_000, "in the middle of a value"),
        ("a.json", b'{"x": [{"a": 1}], "x": [{"a": 1}]}', "several lists of rows: x, x"),
        ("a.json", b'[{"a": 1}]\n[{"a": 2}]', r"a\.json:2: .*follows the end"),
        ("a.json", b"{} x", r"a\.json:1: .*follows the end"),
        ("a.json", b'{"a": 1,}', "name of a field"),
        ("a.json", b'{"a" 1, "b": 2}', "colon was expected"),
        ("a.json", b"[,]", "a value was expected"),
        ("a.json", b"3", "holds no rows"),
        ("a.jsonl", b"\x00\x01", "binary"),
        ("a.jsonl", b"<!DOCTYPE html>", "web page"),
        ("a.jsonl", "{}".encode("utf-32"), "UTF-32"),
        ("a.xls", b"hello", r"supported: \.jsonl, \.ndjson, \.json"),
        ("a.zip", b"PK\x03\x04", "no archive is opened"),
        ("a.tar.gz", b"x", "no archive is opened"),
        ("a.jsonl", b"PK\x03\x04", "no archive is opened"),
        ("a.jsonl.gz", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "compressed twice"),
        ("a.gz", gzip.compress(b"hello", mtime=0), "does not say what it holds"),
        ("a.csv", b"<html>", "web page"),
        ("a.csv", b"a,b\n", r"a header \(a, b\) and no rows"),
        ("a.csv", b"\n \n", "only blank lines"),
        ("a.csv", b"a,a\n1,2\n", "'a' stands twice"),
        ("a.txt", b"\n \n", "only blank lines"),
        ("a.parquet", b"hello", "is no Parquet file"),
        ("a.parquet", b"PAR1hello", "broken"),
        ("a.jsonl", b"PAR1hello", "broken"),
        ("a.arrow", b"hello", "broken"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_unusable_files_are_refused_in_words(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        all_rows(path)
    assert caught.value.remedies


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.png").write_text("{}")
    for name, words in [
        ("missing.jsonl", "there is no file"),
        ("pipe.jsonl", "not a regular file"),
        ("folder", "has no data file"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            all_rows(tmp_path / name)
    assert caught.value.remedies
    with pytest.raises(InputError, match="not a regular file"):
        all_rows(Path("/dev/zero"))
    with pytest.raises(InputError, match="no data file is named"):
        list(read_rows([]))


def test_a_file_that_changes_while_it_is_read_is_noticed(write_lines: Callable[..., Path]) -> None:
    path = write_lines(*[GOOD] * 5)
    rows = read_rows([path])
    next(rows)
    with path.open("a") as file:
        file.write("{}\n")
    with pytest.raises(FailedError, match="was changed"):
        list(rows)


def test_a_byte_order_mark_in_the_middle_is_passed_over_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "joined.jsonl"
    line = json.dumps(GOOD).encode()
    part = codecs.BOM_UTF8 + line + b"\n"
    path.write_bytes(part + line[:-1] + b', "n": 1}\n' + codecs.BOM_UTF8 + b"{broken\n" + part)
    rows = all_rows(path)
    assert [type(row) for row in rows] == [Row, Row, Rejected, Marked]
    assert isinstance(rows[3], Row)
    assert rows[3].value == GOOD
    kept = Pipeline(RunConfig()).outcome(rows[3])
    assert isinstance(kept, Kept)
    assert kept.notes == ("byte_order_mark",)
    assert pickle.loads(pickle.dumps(rows[3])) == rows[3]
