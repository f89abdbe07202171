"""Tables that were written as one object are rows again; rows stay rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data.read import row as limits
from core.data.read.oriented import rows_inside
from core.data.read.sources import Rejected, Row, read_rows

ROWS = [{"instruction": "a", "output": "b"}, {"instruction": "c", "output": "d"}]
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    "table",
    [
        {"instruction": {"0": "a", "1": "c"}, "output": {"0": "b", "1": "d"}},
        {"0": ROWS[0], "1": ROWS[1]},
        {"instruction": ["a", "c"], "output": ["b", "d"]},
        {"columns": ["instruction", "output"], "index": [0, 1], "data": [["a", "b"], ["c", "d"]]},
    ],
    ids=["columns", "index", "lists", "split"],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_every_orientation_of_pandas_gives_the_rows(
    table: dict[str, Any], indent: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(table, indent=indent))
    assert [row.value for row in read_rows([path]) if isinstance(row, Row)] == ROWS


@pytest.mark.parametrize(
    "row",
    [
        {},
        ROWS[0],
        {"messages": TURNS},
        {"prompt": TURNS[:1], "completion": TURNS[1:]},
        {"instruction": {"text": "a"}, "output": {"answer": "b"}},
        {"instruction": ["a", "c"], "output": ["b"]},
        {"a": {"0": 1}, "b": {"0": 2}},
        {"columns": "a", "data": "b"},
        {"columns": ["a"], "data": [["b", "c"]]},
        {"error": "not found"},
    ],
    ids=str,
)
def test_a_row_is_no_table(row: dict[str, Any]) -> None:
    assert rows_inside(row) is None


def test_a_table_in_one_object_beyond_the_limit_says_how_to_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINE_LIMIT_BYTES", 100)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"instruction": {str(n): "a" for n in range(50)}}))
    (row,) = read_rows([path])
    assert isinstance(row, Rejected)
    assert row.reason == "line_too_long"
    assert 'orient="records", lines=True' in row.detail
