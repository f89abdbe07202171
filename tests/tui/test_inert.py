from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.inert import HIDDEN, LINE_END, UNSHOWABLE, inert

ESCAPES = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;window title\x07",
    "\x1b]52;c;Y2xpcGJvYXJk\x07",
    "\x1b]8;;http://example.com\x1b\\link\x1b]8;;\x1b\\",
    "\x1bP1$r0m\x1b\\",
    "\x1b[2J\x1b[H",
    "\x1b[6n\x1b[c",
    "\x9b31m C1 introducer",
    "\x9d0;title\x9c",
    "\x00\x07\x08\x0b\x0c\x0e\x0f\x7f",
    "progress 10 %\rprogress 20 %",
    "safe\u202egnp.exe",
    "\u2066isolate\u2069\u200e\u200f\u061c",
    "zero\u200bwidth\u200c\u200d\u2060\ufeffmarks\u00ad",
    "tags \U000e0041\U000e0042\U000e007f",
    "selectors \U000e0100\ufe00",
    "\ud83d alone \udcff",
    "line\u2028separator\u2029",
    "\u3164\u115f\uffa0 blank letters",
    "\ufffe\uffff\U0010ffff",
]

SAFE_FORMAT = set(map(chr, [*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2])) | {
    "\U000110bd",
    "\U000110cd",
}


def harmful(text: str, keep: str = "") -> list[str]:
    """Written apart from the code under test: by category alone."""
    return [
        character
        for character in text
        if character not in keep
        and character not in SAFE_FORMAT
        and unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    ]


@pytest.mark.parametrize("text", ESCAPES, ids=ascii)
def test_no_escape_survives(text: str) -> None:
    shown = inert(text)
    assert harmful(shown) == []
    assert len(shown) == len(text)
    assert shown != text
    shown.encode("utf-8")


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_harmless_and_keeps_its_offsets(text: str) -> None:
    shown = inert(text)
    assert harmful(shown) == []
    assert len(shown) == len(text)
    shown.encode("utf-8")
    assert inert(shown) == shown


def test_controls_become_their_pictures() -> None:
    assert inert("\x1b[1m\t\n\r\x7f") == "␛[1m␉␊␍␡"
    assert inert("\x85\x9b\ud800") == UNSHOWABLE * 3
    assert inert("\u202e\u200b\ufeff") == HIDDEN * 3
    assert inert("\u2028") == LINE_END


def test_only_what_was_asked_for_is_kept() -> None:
    assert inert("a\tb\nc\x1b", keep="\n\t") == "a\tb\nc␛"
    assert inert("a\tb\nc", keep="\n") == "a␉b\nc"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "größer ≥ ½",
        "한국어 日本語",
        "é combining",
        "👍🏽 ❤️ 🇩🇪",
        "العربية \u0600",
        "[b]markup[/b]",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert inert(text) == text
