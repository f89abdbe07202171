"""The filter line: what it means, what it refuses, and what it offers while it is typed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.errors import FailedError, FinetuiError, InputError
from core.data.chats.formats import Chat
from core.data.filter import Mask, check_words, parse, pieces, suggest
from core.data.read.sources import Rejected, Row

CHAT: Chat = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Can I get a refund?\nIt broke."},
    {"role": "assistant", "content": "Yes, within 14 days."},
]
ROW = Row("data/general.jsonl", 7, {"messages": CHAT, "topic": "Billing", "meta": {"n": 12}})
BROKEN = Rejected("data/general.jsonl", 8, "not_json", "no end", '{"messages": [{"role"')


class Facts:
    """Three rows: kept, duplicate, empty answer."""

    def number(self, key: str) -> np.ndarray:
        return {"tokens": np.array([10, 2048, 3000]), "row": np.array([1, 2, 3])}[key]

    def word(self, key: str, text: str) -> Mask:
        names = {
            "reason": ["kept", "duplicate", "empty_answer"],
            "file": ["general.jsonl", "domain.jsonl", "domain.jsonl"],
            "is": ["kept", "rejected", "rejected"],
            "role": ["system user assistant", "user assistant", ""],
        }
        return np.array([text in name for name in names[key]])


def kept(line: str) -> list[int]:
    return np.flatnonzero(parse(line).mask(Facts(), 3)).tolist()


def holds(line: str, row: Row | Rejected = ROW, chat: Chat | None = CHAT) -> bool:
    return parse(line).holds(row, lambda: chat)


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("", [0, 1, 2]),
        ("reason:duplicate", [1]),
        ("reason:dup,empty", [1, 2]),
        ("-reason:duplicate", [0, 2]),
        ("!reason:duplicate file:domain", [2]),
        ("is:kept", [0]),
        ("role:system", [0]),
        ("-role:user,tool", [2]),
        ("tokens>2048", [2]),
        ("tokens>=2048", [1, 2]),
        ("tokens<2048", [0]),
        ("tokens<=2,048", [0, 1]),
        ("tokens=10", [0]),
        ("tokens>2.9k", [2]),
        ("tokens:5..2048", [0, 1]),
        ("tokens:..10", [0]),
        ("tokens:2049..", [2]),
        ("row:2..3 -tokens:3000", [1]),
    ],
)
def test_what_is_known_of_all_rows(line: str, rows: list[int]) -> None:
    assert kept(line) == rows
    assert not parse(line).reads


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("refund", True),
        ("REFUND", True),
        ("refund 14", True),
        ("refund parcel", False),
        ("-parcel", True),
        ('"a refund?"', True),
        ("/refund|return/", True),
        ("/Refund/c", False),
        ("/^it broke/", False),
        ("/get a .*\\nit/", True),
        ("user:refund", True),
        ("assistant:refund", False),
        ("assistant:/\\d+ days/", True),
        ("system:brief", True),
        ("tool:x", False),
        (".topic:bill", True),
        (".topic:/^billing$/", True),
        (".meta.n:12", True),
        (".missing:x", False),
        ("-.missing:x", True),
    ],
)
def test_what_is_read_in_a_row(line: str, found: bool) -> None:
    assert holds(line) is found
    assert parse(line).reads


def test_a_row_that_cannot_be_read_is_searched_as_it_stands() -> None:
    assert holds("messages", BROKEN, None)
    assert not holds("user:messages", BROKEN, None)
    assert not holds(".topic:x", BROKEN, None)


@pytest.mark.parametrize(
    ("line", "told", "remedy"),
    [
        ("tokens>many", "many is not a number", "tokens>100"),
        ("tokens:", "tokens: needs a value", "tokens:100..200"),
        ("reson:duplicate", "reson: is not known", "reason"),
        ("when:10", "when: is not known", "quotes"),
        ("file>3", "file is no number", "file:word"),
        ("is:good", "is:good is not known", "kept, rejected"),
        ("/(/", "no regular expression", ""),
        ("/refund", "has no end", "/refund|return/"),
        ("user:/x", "has no end", ""),
    ],
)
def test_what_is_wrong_is_said(line: str, told: str, remedy: str) -> None:
    with pytest.raises(InputError, match=told.replace("(", r"\(")) as error:
        parse(line)
    assert error.value.kind == "bad_filter"
    assert remedy in " ".join(error.value.remedies)


def test_a_pattern_that_explodes_is_ended() -> None:
    began = time.monotonic()
    row = Row("a", 1, {"text": "a" * 5000 + "!"})
    with pytest.raises(FailedError, match="takes too long"):
        holds("/(a|aa)+(a|aa)+(a|aa)+$/", row)
    assert time.monotonic() - began < 10


def test_lines_are_cut_at_spaces_outside_of_quotes_and_slashes() -> None:
    line = ' a  "b c" user:"d e" -/f g/ .h:/i j\\/k l/c and/or '
    assert pieces(line) == [
        "a", '"b c"', 'user:"d e"', "-/f g/", ".h:/i j\\/k l/c", "and/or",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "needles"),
    [("refund", [b"refund"]), ("tokens>3 Refund now", [b"refund", b"now"]), ("-refund", []),
     ("café", []), ("/refund/", []), ('"say \\ it"', []), ("user:refund", []), ("", [])],
)  # fmt: skip
def test_only_text_that_json_writes_in_one_way_is_looked_for_in_bytes(
    line: str, needles: list[bytes]
) -> None:
    assert parse(line).needles == needles


@given(st.text(max_size=40))
def test_any_line_is_understood_or_refused(line: str) -> None:
    told = ""
    try:
        terms = len(parse(line).terms)
    except FinetuiError as error:
        terms, told = len(pieces(line)), error.message
    assert terms == len(pieces(line))
    assert told == told.strip()


KNOWN = {
    "reason": [("duplicate", "1,204 rows"), ("empty_answer", "3 rows")],
    "file": [("my rows.jsonl", "")],
    ".": [("topic", "field")],
}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("to", ["tokens>", "tool:"]),
        ("x -rea", ["x -reason:"]),
        ("reason:", ["reason:duplicate ", "reason:empty_answer "]),
        ("reason:dup", ["reason:duplicate "]),
        ("-reason:duplicate,emp", ["-reason:duplicate,empty_answer "]),
        ("reason:duplicate", []),
        ("file:", ['file:"my rows.jsonl" ']),
        (".", [".topic:"]),
    ],
)
def test_what_the_last_word_may_become(line: str, offered: list[str]) -> None:
    assert [text for text, _ in suggest(line, KNOWN)] == offered


def test_an_empty_line_offers_every_key_with_its_meaning() -> None:
    offered = dict(suggest("", KNOWN))
    assert offered["tokens>"] == "length in tokens, before the cut"
    assert {"reason:", "file:", "is:", "role:", "user:", ".topic:"} <= set(offered)


@pytest.mark.parametrize(
    ("line", "why", "hint"),
    [
        ("reason:typo", "no row is rejected for typo", "there are: duplicate, empty_answer"),
        ("-reason:dupl,duplikate", "no row is rejected for duplikate", "did you mean duplicate?"),
        ("note:x", "no row has the note x", "there are none"),
        ("file:nothing", "no file has in its name nothing", "there are: general.jsonl"),
    ],
)
def test_a_word_that_fits_nothing_is_refused_with_those_that_do(
    line: str, why: str, hint: str
) -> None:
    known = {"reason": ["duplicate", "empty_answer"], "note": [], "file": ["data/general.jsonl"]}
    with pytest.raises(InputError, match=why) as told:
        check_words(parse(line), known)
    assert hint in told.value.remedies


def test_words_that_fit_something_or_of_which_nothing_is_known_pass() -> None:
    known = {"reason": ["duplicate", "empty_answer"]}
    check_words(parse("reason:dup,EMPTY role:nobody is:kept tokens>3 typo user:x"), known)
