"""Texts of other letters than Latin ones: their encoding is named, damage is no encoding."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config.errors import InputError
from core.data.read.charsets import CHARSETS, foreign, has_utf8, is_damage
from core.data.read.sources import Rejected, Row, read_rows

RUSSIAN = (
    "Где находится ближайший вокзал?",
    "Большое спасибо за быстрый ответ.",
    "Мой брат живёт в Москве уже пять лет.",
    "Объясните, пожалуйста, как работает двигатель.",
)
CHINESE = (
    "最近的火车站在哪里？",
    "非常感谢您的快速回复。",
    "我的兄弟在北京住了五年。",
    "请解释发动机是如何工作的。",
)
JAPANESE = (
    "最寄りの駅はどこですか？",
    "早速のお返事ありがとうございます。",
    "兄は東京に五年住んでいます。",
    "エンジンの仕組みを説明してください。",
)


@pytest.mark.parametrize(
    ("encoding", "texts", "shown"),
    [
        ("cp1251", RUSSIAN, "CP1251"),
        ("koi8-r", RUSSIAN, "KOI8-R"),
        ("gbk", CHINESE, "GB18030"),
        ("shift-jis", JAPANESE, "CP932"),
        ("euc-jp", JAPANESE, "EUC-JP"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
def test_a_file_of_other_letters_is_refused_with_its_encoding(
    encoding: str, texts: tuple[str, ...], shown: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    raw = {
        "a.jsonl": "".join(f'{{"prompt": "{text}", "completion": "yes"}}\n' for text in texts),
        "a.txt": "\n\n".join(texts),
        "a.csv": "prompt,completion\n" + "\n".join(f'"{text}",yes' for text in texts),
    }[name]
    path.write_bytes(raw.encode(encoding))
    with pytest.raises(InputError, match="not UTF-8 but probably") as caught:
        list(read_rows([path]))
    assert texts[0] in caught.value.message
    assert f"iconv -f {shown} -t UTF-8" in caught.value.remedies[0]


def test_damaged_lines_cost_themselves_whatever_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = b'{"prompt": "q", "completion": "a"}'
    path.write_bytes(b"\n".join([good, '{"prompt": "вокзал?"}'.encode("cp1251"), good, good]))
    rows = list(read_rows([path]))
    assert [type(row) for row in rows] == [Row, Rejected, Row, Row]
    assert isinstance(rows[1], Rejected)
    assert rows[1].reason == "not_utf8"
    assert "CP1251" in rows[1].detail


def test_a_few_lines_of_another_encoding_in_utf8_do_not_speak_for_the_file() -> None:
    texts = [text.encode() for text in RUSSIAN]
    assert has_utf8([b"\n".join([*texts, RUSSIAN[0].encode("cp1251")])])
    assert not has_utf8(["\n".join(CHINESE).encode("gbk")])


def test_bytes_of_no_text_are_in_no_encoding() -> None:
    assert foreign([b"\xff\xfe" * 4]) == ""
    assert is_damage([b"plain\n" * 10 + b"\x9d" * 40 + b"\nplain\nplain"])
    assert not is_damage([b"\x9d\nplain\n"])
    assert not is_damage([b"\x9d\nplain\n" * 3])


def test_every_charset_is_one_that_python_knows_too() -> None:
    for name, charset in CHARSETS.items():
        assert "a".encode(name) == "a".encode(charset.iconv) == b"a"
