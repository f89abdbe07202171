"""Encodings: found by the bytes, said, and read as the same rows."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.read.encoding import Transcoded, find_encoding, has_mac_ends
from core.data.read.index import RowIndex
from core.data.read.sources import Rejected, Row, Source, look, open_file, read_rows

VALUE = {"instruction": "Grüße aus Köln", "output": "Voilà: déjà vu, naïve façade – “so”"}
LINE = json.dumps(VALUE, ensure_ascii=False)


def read(path: Path) -> tuple[list[Row | Rejected], str]:
    found: list[Source] = []
    return list(read_rows([path], on_file=found.append)), found[0].words


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with a byte order mark"),
        ("utf-16", "UTF-16 LE"),
        ("utf-16-le", "UTF-16 LE"),
        ("utf-16-be", "UTF-16 BE"),
        ("cp1252", "Latin-1 (Windows-1252)"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_encoding_gives_the_same_rows_and_is_said(
    encoding: str, words: str, newline: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes((LINE + newline + LINE + newline).encode(encoding))
    rows, said = read(path)
    assert rows == [Row(str(path), 1, VALUE), Row(str(path), 2, VALUE)]
    assert said == f"JSON lines, {words}"


def test_big_endian_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(codecs.BOM_UTF16_BE + LINE.encode("utf-16-be"))
    assert read(path)[0] == [Row(str(path), 1, VALUE)]


@pytest.mark.parametrize(
    ("samples", "encoding"),
    [
        ([b""], "utf-8"),
        ([b"plain"], "utf-8"),
        (["für".encode()], "utf-8"),
        (["für".encode("cp1252")], "cp1252"),
        ([b"plain", "für".encode("cp1252")], "cp1252"),
        (["il y \xe9 x, y \xe9 x".encode("cp1252")], "cp1252"),
        (["name,wert\nÄ,1\nÖl,2\n€,3\n".encode("cp1252")], "cp1252"),
        (['{"a": "5 € – « É »", "b": "“Ä”"}'.encode("cp1252")], "cp1252"),
        (["« santé\xa0», «\xa0à\xa0»".encode("cp1252")], "cp1252"),
        (["頻 頻 頻, damaged x".encode() + b"\xe9"], "utf-8"),
        ([b'{"a": "x \xc3 y"}'], "utf-8"),
        (["да и я в дом".encode("cp1251")], "utf-8"),
        (["мы и они".encode("koi8-r")], "utf-8"),
        (["你好，世界。 好 吗".encode("gbk")], "utf-8"),
        (["これは ペン です".encode("shift-jis")], "utf-8"),
        ([bytes(range(128, 256))], "utf-8"),
        (["日本語".encode("shift-jis")], "utf-8"),  # lines that are not UTF-8 say so
        ([b'{"a": "\xff\xfe"}'], "utf-8"),
        (["für, damaged \xff: ü".encode() + b"\xff"], "utf-8"),
        ([codecs.BOM_UTF32_LE + b"a\0\0\0"], None),
        ([b"\0\1\2\3"], None),
        ([b"\0" * 4096], None),
        ([b"\x7fELF\x02\x01\0\0\0\0"], None),
    ],
)
def test_what_is_found(samples: list[bytes], encoding: str | None) -> None:
    assert find_encoding(samples).encoding == encoding


def test_latin_letters_far_behind_the_beginning_are_found(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    plain = json.dumps({"a": "x" * 100}) + "\n"
    path.write_bytes((plain * 3000 + (LINE + "\n") * 3000).encode("cp1252"))
    rows, said = read(path)
    assert "Latin-1" in said
    assert len(rows) == 6000
    assert rows[-1] == Row(str(path), 6000, VALUE)


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("place", [0, 1_000, 29_999, 60_000])
def test_a_few_latin_letters_are_found_wherever_they_stand(
    count: int, place: int, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    plain = (
        b'{"prompt": "a question about nothing much", "completion": "an answer to it"}\n' * 60_000
    )
    at = place * len(plain) // 60_000
    latin = (LINE + "\n").encode("cp1252") * count
    path.write_bytes(plain[:at] + latin + plain[at:])
    with open_file(path) as file:
        assert look(path, file).encoding == "cp1252"
    path.write_bytes(plain[:at] + latin + plain[at:] + (LINE + "\n").encode() * count)
    with open_file(path) as file:
        assert look(path, file).encoding == "utf-8"


def test_a_few_letters_of_utf8_among_latin_ones_are_no_third_encoding(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    plain = b'{"prompt": "a question", "completion": "an answer to it"}\n' * 2000
    latin = (LINE + "\n").encode("cp1252") * 40
    path.write_bytes(plain + latin + plain + LINE.encode())
    rows, said = read(path)
    assert "UTF-8" in said
    assert sum(isinstance(row, Rejected) for row in rows) == 40


def test_half_a_character_of_utf16_costs_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = '{"a": 1}\n'.encode("utf-16-le")
    path.write_bytes(good + '{"a": "\ud83d"}\n'.encode("utf-16-le", "surrogatepass") + good + b"{")
    rows, _ = read(path)
    assert [row.line for row in rows] == [1, 2, 3, 4]
    assert [type(row) for row in rows] == [Row, Rejected, Row, Rejected]


class Pieces:
    """A stream that gives one piece at a time, however much is asked for."""

    def __init__(self, pieces: list[bytes]):
        self.pieces = pieces

    def read(self, size: int, /) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


@given(text=st.text(), encoding=st.sampled_from(["utf-16-le", "utf-16-be"]), cut=st.integers(1, 7))
def test_transcoding_is_the_same_wherever_a_piece_ends(text: str, encoding: str, cut: int) -> None:
    raw = text.encode(encoding)
    stream = Transcoded(Pieces([raw[i : i + cut] for i in range(0, len(raw), cut)]), encoding)
    parts = []
    while part := stream.read(cut):
        parts.append(part)
    assert b"".join(parts).decode() == text.removeprefix("\ufeff")


def test_letters_that_stand_alone_make_a_file_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    value = {"prompt": "which letter is this: é ?", "completion": "é it is"}
    path.write_bytes((json.dumps(value, ensure_ascii=False) + "\n").encode("cp1252") * 60)
    rows, said = read(path)
    assert said == "JSON lines, Latin-1 (Windows-1252)"
    assert [row.value for row in rows if isinstance(row, Row)] == [value] * 60


def test_a_byte_that_is_not_utf8_comes_with_advice(tmp_path: Path) -> None:
    for name, raw in (
        ("a.jsonl", b'{"a": "\xff"}\n'),
        ("a.csv", b"a,b\n\xff,1\n"),
        ("a.txt", b"\xff"),
    ):
        path = tmp_path / name
        path.write_bytes("größer\n\n".encode() * (name == "a.txt") + raw)
        bad = [row for row in read(path)[0] if isinstance(row, Rejected)]
        assert [row.reason for row in bad] == ["not_utf8"]
        assert "iconv -f CP1252 -t UTF-8 OLD > NEW" in bad[0].detail


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_line_ends_of_old_macs_are_line_ends(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(f"{LINE}\r\r{LINE}\r".encode(encoding))
    rows, said = read(path)
    assert rows == [Row(str(path), 1, VALUE), Row(str(path), 3, VALUE)]
    assert said.endswith(", line ends of old Macs")
    index = RowIndex(path)
    index.scan_all()
    assert [index.row(number) for number in range(index.count)] == rows
    index.close()


def test_paragraphs_and_documents_of_old_macs(tmp_path: Path) -> None:
    text, document = tmp_path / "a.txt", tmp_path / "a.json"
    text.write_bytes(b"One\rgoes on.\r\rTwo.\r")
    assert [(row.line, row.value["text"]) for row in read(text)[0] if isinstance(row, Row)] == [
        (1, "One\ngoes on."), (4, "Two."),
    ]  # fmt: skip
    document.write_bytes(b'[\r {"a": 1},\r {"a": 2}\r]')
    assert [row.line for row in read(document)[0]] == [2, 3]


def test_a_carriage_return_at_the_end_of_the_first_piece_is_none_of_an_old_mac() -> None:
    assert has_mac_ends(b"a\rb")
    assert not has_mac_ends(b"a\r")
    assert not has_mac_ends(b"a\rb\r\n")
