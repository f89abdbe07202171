"""What a text holds goes by its beginning; what is no data is told in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config.errors import InputError
from core.data.chats.chat import Defect
from core.data.chats.formats import to_chat
from core.data.read.index import RowIndex
from core.data.read.sources import Rejected, Row, Source, read_rows

ROWS = [{"instruction": f"Question {n}?", "output": f"Answer {n}."} for n in range(3)]
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 12345\n"
)


def values(path: Path) -> list[dict[str, str]]:
    """All rows of a file, read in both ways."""
    rows = list(read_rows([path]))
    index = RowIndex(path)
    index.scan_all()
    assert [index.row(number) for number in range(index.count)] == rows
    index.close()
    assert not [row for row in rows if isinstance(row, Rejected)]
    return [row.value for row in rows if isinstance(row, Row)]


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        list(read_rows([path]))
    return caught.value


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.txt", "a.parquet", "a.arrow", "a.jsonl.gz"]
)
def test_a_pointer_of_git_lfs_is_no_data(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(POINTER)
    refused = refusal(path)
    assert "is a Git LFS pointer: it names a file of 12,345 bytes" in refused.message
    assert "git lfs pull" in refused.remedies[0]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.txt", "a.csv"])
@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps(row, indent=2) for row in ROWS),
        "\n\n".join(json.dumps(row, indent=2) for row in ROWS) + "\n",
        "".join(json.dumps(row) for row in ROWS),
        ",\n".join(json.dumps(row) for row in ROWS),
        json.dumps(ROWS, indent=1),
        "\r\n".join(json.dumps(row) for row in ROWS),
    ],
    ids=["indented", "blank lines", "one line", "commas", "list", "lines"],
)
def test_objects_are_read_however_they_are_laid_out(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert values(path) == ROWS


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_rows_in_a_field_of_the_only_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(json.dumps({"version": 1, "data": ROWS}))
    assert values(path) == ROWS


def test_an_indented_row_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row, indent=2) for row in ROWS))
    assert [row.line for row in read_rows([path])] == [1, 5, 9]


def test_an_indented_first_row_longer_than_what_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    long = {"instruction": "q", "output": "a " * 100_000}
    path.write_text("\n".join(json.dumps(row, indent=2) for row in [long, *ROWS]))
    assert values(path) == [long, *ROWS]


@pytest.mark.parametrize("first", ["{", '{"a": 1', '{"a": 1} x', "{'a': 1}", '{"a": '])
def test_a_broken_first_line_does_not_make_a_document(first: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([first, *map(json.dumps, ROWS)]))
    rows = list(read_rows([path]))
    assert [type(row) for row in rows] == [Rejected, Row, Row, Row]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_under_the_name_of_json_is_read_as_one(
    name: str, separator: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(f"instruction{separator}output\na{separator}b\n")
    found: list[Source] = []
    (row,) = read_rows([path], on_file=found.append)
    assert isinstance(row, Row)
    assert row.value == {"instruction": "a", "output": "b"}
    assert found[0].kind == "table"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("text", ["Entry not found", "404: Not Found\n", "- instruction: a\n"])
def test_what_a_server_said_instead_of_data_is_shown(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    refused = refusal(path)
    assert f"holds no JSON: it begins with “{text.strip()}”" in refused.message
    assert refused.remedies


def test_text_that_only_speaks_of_json_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = '{"a": 1} is an object.\nIt has a field.'
    path.write_text(text)
    assert values(path) == [{"text": text}]


@pytest.mark.parametrize(
    ("line", "hint"),
    [(b"{'a': 1}", "write it with json.dumps"), (b'{"a": 1},', "a comma follows the object")],
)
def test_a_line_in_a_usual_wrong_writing_says_how_to_write_it(
    line: bytes, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line)
    *_, row = read_rows([path])
    assert isinstance(row, Rejected)
    assert row.reason == "not_json"
    assert hint in row.detail


LONE = Defect(
    "lone_turn",
    "is one turn of a chat, not a chat: put the turns of one chat into one row, "
    '{"messages": [...]}',
)
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_lists_of_turns_without_a_name_cost_their_lines(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    lines = [json.dumps(TURNS), json.dumps({"messages": TURNS}), json.dumps(TURNS)]
    path.write_text("\n".join(lines))
    first, second, third = read_rows([path])
    assert second == Row(str(path), 2, {"messages": TURNS})
    for row in (first, third):
        assert isinstance(row, Rejected)
        assert row.reason == "not_an_object"
        assert "list of turns: write it with its name" in row.detail


def test_one_list_of_turns_is_rows_that_are_no_chats(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TURNS))
    assert [to_chat(row, "auto") for row in values(path)] == [LONE, LONE]


def test_a_second_list_in_a_document_is_refused_with_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"{json.dumps(TURNS, indent=1)}\n{json.dumps(TURNS, indent=1)}")
    refused = refusal(path)
    assert "a.json:11: a second list follows the end of the first" in refused.message
    assert '{"messages": [...]}' in refused.remedies[0]


@pytest.mark.parametrize("comment", ["// made by hand", "/* made by hand */", "# made by hand"])
def test_a_comment_before_a_document_is_no_json(comment: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"\n{comment}\n{json.dumps(ROWS, indent=1)}")
    refused = refusal(path)
    assert refused.kind == "not_json"
    assert "a.json:2: not valid JSON: a comment stands here" in refused.message
