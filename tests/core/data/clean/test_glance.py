"""A glance at many texts passes over nothing that a search of each would find."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import FULL, TEXTS

from core.data.clean import private, repairs
from core.data.clean.glance import glance


def test_planted_ones_are_seen_whatever_stands_beside_them() -> None:
    for text in FULL:
        found = bool(private.find(text))
        for beside in ("plain words", "ends in 12 ", "(2) 34 5"):
            seen = glance([beside.encode(), text.encode(), beside.encode()])
            assert seen.private[1] or not found, text


def is_odd(text: str) -> bool:
    tests = (repairs.has_odd_line_ends, repairs.may_be_mojibake, repairs.has_controls)
    return any(test(text) for test in tests)


@given(texts=st.lists(TEXTS | st.text(max_size=8), max_size=8))
@settings(max_examples=400, deadline=None)
def test_what_it_lets_pass_holds_nothing(texts: list[str]) -> None:
    seen = glance([text.encode() for text in texts])
    for text, odd, maybe in zip(texts, seen.odd, seen.private, strict=True):
        assert maybe or not private.find(text), text
        assert odd or not is_odd(text), text
        assert not (odd and text.isascii() and not is_odd(text)), text


def test_no_character_that_is_repaired_is_let_pass() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    seen = glance([char.encode() for char in characters])
    for char, odd in zip(characters, seen.odd, strict=True):
        assert odd or char.isprintable() or not is_odd(char), hex(ord(char))


@pytest.mark.parametrize("wrong", ["latin-1", "cp1250", "cp1251", "cp1252", "cp1253", "mac-roman"])
def test_no_wrong_encoding_is_let_pass(wrong: str) -> None:
    for char in "éüßñçøłžйжλω’–“€ à":
        text = f"so {char.encode().decode(wrong, 'ignore')} it"
        assert glance([text.encode()]).odd[0] or not is_odd(text), text


@pytest.mark.parametrize(
    "text",
    ["It was 1990, and 45% of 1,234 said so.", "def f(x): return x[0] + 12", "12:30:45",
     "“It’s so” – naïve Straße …", "今日は、東京です。",
     "a-long-name-without-digits 1 2", "see https://example.org/some/long/path in 2024"],
)  # fmt: skip
def test_what_is_usual_is_let_pass(text: str) -> None:
    assert glance([text.encode()]) == ([False], [False])


def test_marks_of_the_caller_are_no_control_characters() -> None:
    texts = [b"\0user\0a", b"\0user\0b"]
    assert glance(texts, marks=4).odd == [False, False]
    assert glance([*texts, b"\0user\0\0"], marks=6).odd == [True, True, True]
    assert glance([]) == ([], [])
