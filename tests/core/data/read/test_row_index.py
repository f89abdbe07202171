"""Random access to rows: the same rows as reading from the front."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.read.index import RowIndex
from core.data.read.sources import Row, read_rows

LINES = st.lists(
    st.sampled_from([b'{"a": 1}', b"", b"  ", b"\t\r", b"{", b' {"b": 2} ', b"x" * 90])
)


@given(lines=LINES, newline=st.sampled_from([b"\n", b"\r\n"]), ended=st.booleans(),
       budget=st.integers(1, 50), bom=st.booleans())  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_the_index_finds_what_reading_finds(
    lines: list[bytes], newline: bytes, ended: bool, budget: int, bom: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("index") / "rows.jsonl"
    body = [*lines, b'{"last": true}']
    path.write_bytes(b"\xef\xbb\xbf" * bom + newline.join(body) + newline * ended)
    index = RowIndex(path)
    while index.scan(budget):
        assert 0 <= index.scanned <= 1
    assert [index.row(n) for n in range(index.count)] == list(read_rows([path]))
    index.close()


def test_first_rows_are_there_before_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(1000)))
    index = RowIndex(path)
    assert index.scan(1000)
    assert 0 < index.count < 1000
    assert index.row(0) == Row(str(path), 1, {"n": 0})
    index.scan_all()
    assert index.count == 1000
    assert index.complete
    assert index.row(999) == Row(str(path), 1000, {"n": 999})
    with pytest.raises(IndexError):
        index.row(1000)


def test_a_document_is_indexed_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"n": n} for n in range(5)], indent=1))
    index = RowIndex(path)
    index.scan_all()
    assert index.count == 5
    assert index.row(4) == Row(str(path), 14, {"n": 4})


def test_a_file_cut_short_meanwhile_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(1000)))
    index = RowIndex(path)
    index.scan(100)
    path.write_text('{"n": 0}\n')
    index.scan_all()
    assert index.complete
    assert index.count >= 1


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_rows_that_may_hold_some_bytes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    texts = [f"row {n} {'Needle' if n % 7 == 0 else 'hay'}" for n in range(50)]
    values = [{"prompt": text, "completion": "ok"} for text in texts]
    if suffix == "csv":
        path.write_text("prompt,completion\n" + "".join(f"{t},ok\n" for t in texts), "utf-8")
    else:
        lines = [json.dumps(value) for value in values]
        path.write_text("\n".join(lines) if suffix == "jsonl" else f"[{','.join(lines)}]", "utf-8")
    index = RowIndex(path)
    index.scan_all()
    found = [number for numbers, _ in index.holding([b"needle"]) for number in numbers.tolist()]
    assert found == [n for n in range(50) if n % 7 == 0]
    both = [*index.holding([b"needle", b"row 1"], 7, 40)]
    assert [number for numbers, _ in both for number in numbers.tolist()] == [14]
    assert both[-1][1] == 40
    index.close()


def test_letters_that_were_escaped_are_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "x"}\n{"a": "\\u006eeedle"}\n{"a": "\\u00e9"}\n', encoding="utf-8")
    index = RowIndex(path)
    index.scan_all()
    assert [numbers.tolist() for numbers, _ in index.holding([b"needle"])] == [[1]]
    index.close()
