"""CSV and TSV: text as it stands, and a broken record costs its line."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.errors import InputError
from core.data.read import row as limits
from core.data.read.index import RowIndex
from core.data.read.sources import Rejected, Row, Source, read_rows


def read(path: Path, content: str) -> list[Row | Rejected]:
    path.write_bytes(content.encode())
    return list(read_rows([path]))


def values(rows: list[Row | Rejected]) -> list[dict[str, str]]:
    return [row.value for row in rows if isinstance(row, Row)]


def reasons(rows: list[Row | Rejected]) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in rows if isinstance(row, Rejected)]


def test_words_for_nothing_are_words(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.csv", "q,a\nNA,null\nNone,\nnan,NULL\n")
    assert values(rows) == [
        {"q": "NA", "a": "null"}, {"q": "None", "a": ""}, {"q": "nan", "a": "NULL"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "separator", "word"),
    [
        ("a.csv", ",", "comma"), ("a.csv", ";", "semicolon"), ("a.csv", "\t", "tab"),
        ("a.csv", "|", "bar"), ("a.tsv", "\t", "tab"), ("a.tsv", ",", "comma"),
    ],
)  # fmt: skip
def test_the_separator_is_found_and_said(
    name: str, separator: str, word: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    rows = [["question", "answer"], ["Who, when; where?", "He | she"], ["b", "c, d"]]
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows(rows)
    path.write_text(out.getvalue())
    found: list[Source] = []
    read_back = list(read_rows([path], on_file=found.append))
    assert values(read_back) == [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert f"a table ({word})" in found[0].words


def test_a_declared_separator_blank_lines_and_unnamed_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('sep=;\n\n;q;a\n1;"x\ny";z\n\n')
    blanks: Counter[str] = Counter()
    assert list(read_rows([path], blanks)) == [
        Row(str(path), 4, {"column 1": "1", "q": "x\ny", "a": "z"})
    ]
    assert blanks.total() == 2


def test_ragged_and_broken_records_cost_their_line(tmp_path: Path) -> None:
    rows = read(
        tmp_path / "a.csv",
        'q,a\n1,2\n1,2,3\n1\n"a"b,c\n5" wide,6" deep\nx\0,y\n"two\nlines",ok\nlast,row\n',
    )
    assert reasons(rows) == [
        (3, "ragged_row"), (4, "ragged_row"), (5, "broken_quotes"), (7, "nul_byte"),
    ]  # fmt: skip
    assert values(rows) == [
        {"q": "1", "a": "2"}, {"q": '5" wide', "a": '6" deep'}, {"q": "two\nlines", "a": "ok"},
        {"q": "last", "a": "row"},
    ]  # fmt: skip
    assert [row.line for row in rows] == [2, 3, 4, 5, 6, 7, 8, 10]


def test_an_unterminated_quote_does_not_swallow_the_rest(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.csv", 'q,a\n1,2\n"never closed,3\n4,5\n6,7\n')
    assert reasons(rows) == [(3, "unterminated_quote")]
    assert [row.line for row in rows] == [2, 3, 4, 5]


def test_one_inch_sign_costs_nothing_and_a_long_record_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert values(read(tmp_path / "a.csv", 'q,a\n5" wide,x\n1,2\n')) == [
        {"q": '5" wide', "a": "x"}, {"q": "1", "a": "2"},
    ]  # fmt: skip
    monkeypatch.setattr(limits, "LINE_LIMIT_BYTES", 50)
    rows = read(tmp_path / "a.csv", 'q,a\n"' + "x\n" * 60 + '",1\n' + "y" * 60 + ",2\n1,2\n")
    assert reasons(rows)[0] == (2, "unterminated_quote")
    assert reasons(rows)[-1] == (63, "line_too_long")
    assert rows[-1] == Row(str(tmp_path / "a.csv"), 64, {"q": "1", "a": "2"})


FIELD = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n\t"), max_size=8
)


@given(rows=st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=8))
def test_what_was_written_is_read(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("first", "second"), *rows])
    path.write_bytes(out.getvalue().encode())
    assert [tuple(value.values()) for value in values(list(read_rows([path])))] == rows


@pytest.mark.parametrize(
    ("content", "expected"),
    [("q,a\r1,2\r3,4\r", [("1", "2"), ("3", "4")]),
     ('q,a\r"x, y",2\r3,4', [("x, y", "2"), ("3", "4")]),
     ('q,a\r"x\ry",2\r', [("x\ny", "2")]), ("q;a\r1;2", [("1", "2")])],
)  # fmt: skip
def test_line_ends_of_old_macs_are_read(
    content: str, expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    rows = read(tmp_path / "a.csv", content)
    assert [tuple(value.values()) for value in values(rows)] == expected
    assert rows[0].line == 2
    index = RowIndex(tmp_path / "a.csv")
    index.scan_all()
    assert [index.row(number) for number in range(index.count)] == rows
    index.close()


def test_a_carriage_return_is_no_line_end_beside_others(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.csv", 'q,a\n"x\ry",2\r\n3,4\n')
    assert [tuple(value.values()) for value in values(rows)] == [("x\ry", "2"), ("3", "4")]
    wide = "q" * (70 << 10)  # a Windows line end beyond the bytes that are looked at
    rows = read(tmp_path / "b.csv", f"{wide},a\r\n1,2\r\n")
    assert values(rows) == [{wide: "1", "a": "2"}]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_tables_put_together_lose_their_second_header_only(mark: str, tmp_path: Path) -> None:
    text = f'q,a\n1,2\n{mark}q, a\n{mark}"3, 4",5\n'
    rows = read(tmp_path / "a.csv", text)
    assert [getattr(row, "reason", "") for row in rows] == ["", "header_again", ""]
    assert values(rows) == [{"q": "1", "a": "2"}, {"q": "3, 4", "a": "5"}]


def test_a_value_like_the_name_of_the_only_column_is_a_value(tmp_path: Path) -> None:
    assert values(read(tmp_path / "a.csv", "text\ntext\n")) == [{"text": "text"}]


def test_what_the_header_was_taken_for_is_shown(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "a.csv", "My export\nprompt,completion\n")
    assert isinstance(row, Rejected)
    assert row.detail == "has 2 fields, but the header names 1 (My export)"
    with pytest.raises(InputError, match=r"has a header \(Entry not found\) and no rows"):
        read(tmp_path / "b.csv", "Entry not found")
