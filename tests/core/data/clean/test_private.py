"""Personal data and secrets: how much of what was planted is found, and what is done with it."""

from __future__ import annotations

import random
import string
import time
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import BODY, NEGATIVES, POSITIVES

from core.config.data import CleanConfig
from core.data.chats.formats import Chat, Defect
from core.data.clean.keys import secrets
from core.data.clean.personal import cards, emails, ipv4_addresses, ipv6_addresses, phones
from core.data.clean.preview import preview
from core.data.clean.private import MASKS, PERSONAL, SECRET, find, masked, may_hold
from core.data.clean.rules import RULES, Cleaned, Cleaner

RECALL = {"email": 0.9, "phone": 0.95, "card": 0.9, "iban": 1.0, "ip": 0.9, "secret": 0.9}
"""At least this part of the planted ones is found; docs/data.md tells the measured figures."""
PRECISION = 0.98
RULE = {rule.name: rule for rule in RULES}


def chat_of(answer: str, **more: Any) -> Chat:
    chat: Any = [
        {"role": "user", "content": "A question?"},
        {"role": "assistant", "content": answer, **more},
    ]
    return chat


def clean(answer: str, *, says: dict[str, Any] | None = None, **settings: str) -> Cleaned | Defect:
    return Cleaner(CleanConfig(**settings)).clean(chat_of(answer, **(says or {})))  # type: ignore[arg-type]


def measured() -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Of each kind: how many are planted, found, and found where none is."""
    planted, hits, wrong = Counter[str](), Counter[str](), Counter[str]()
    for kind, value, template in POSITIVES:
        text = template.format(value)
        start, end = text.index(value), text.index(value) + len(value)
        planted[kind] += 1
        for found in find(text):
            right = found.kind == kind and found.start <= start and found.end >= end
            (hits if right else wrong)[found.kind] += 1
    for text in NEGATIVES:
        wrong.update(found.kind for found in find(text))
    return planted, hits, wrong


def test_the_fixture_is_as_large_as_it_says() -> None:
    assert len(POSITIVES) > 100
    assert len(POSITIVES) + len(NEGATIVES) >= 200
    assert {kind for kind, _, _ in POSITIVES} == {*PERSONAL, SECRET}


def test_recall_and_precision_on_what_was_planted() -> None:
    planted, hits, wrong = measured()
    for kind, count in planted.items():
        assert hits[kind] / count >= RECALL[kind], kind
        assert hits[kind] / (hits[kind] + wrong[kind]) >= PRECISION, kind


def test_places_are_shown_by_default_and_nothing_is_changed() -> None:
    chat = chat_of("Write to maria.huber@feldpost-verlag.de or call +49 30 901820.")
    result = Cleaner(CleanConfig()).clean(chat)
    assert isinstance(result, Cleaned)
    assert result.chat is chat
    assert (result.changed, result.found) == ((), ("email", "phone"))
    assert result.notes == ("email_found", "phone_found")


def test_masking_puts_a_word_in_place_and_leaves_the_rest() -> None:
    key = "hf" + "_" + BODY[:34]
    text = f"Write to maria.huber@feldpost-verlag.de.\n```\nlogin('{key}')\n```"
    both = clean(text, personal_data="mask", secrets="mask")
    assert isinstance(both, Cleaned)
    assert both.chat[1]["content"] == "Write to <EMAIL_ADDRESS>.\n```\nlogin('<SECRET>')\n```"
    assert both.changed == ("personal_data", "secrets")
    one = clean(text, secrets="mask")
    assert isinstance(one, Cleaned)
    assert one.chat[1]["content"] == text.replace(key, "<SECRET>")
    again = Cleaner(CleanConfig(personal_data="mask", secrets="mask")).clean(both.chat)
    assert isinstance(again, Cleaned)
    assert (again.chat is both.chat, again.notes) == (True, ())


def test_what_is_handed_to_tools_and_thought_is_masked_too() -> None:
    mail = "maria.huber@feldpost-verlag.de"
    calls = [{"function": {"name": "send", "arguments": {"to": [mail], "n": 3}}}]
    says = {"reasoning_content": f"She is {mail}", "tool_calls": calls}
    result = clean("Done.", says=says, personal_data="mask")
    assert isinstance(result, Cleaned)
    assert mail not in str(result.chat)
    assert result.chat[1]["tool_calls"][0]["function"]["arguments"]["n"] == 3  # type: ignore[typeddict-item]
    assert mail in str(calls)


@pytest.mark.parametrize(
    ("text", "settings", "reason"),
    [
        ("card 4111 1111 1111 1111", {"personal_data": "drop"}, "personal_data"),
        ("key hf" + "_" + BODY[:34], {"secrets": "drop"}, "secret"),
        ("card 4111 1111 1111 1111", {"secrets": "drop"}, None),
        ("nothing in here, in 2024 at 10:30", {"secrets": "drop", "personal_data": "drop"}, None),
    ],
)
def test_a_row_is_dropped_by_choice_and_the_reason_does_not_repeat_it(
    text: str, settings: dict[str, str], reason: str | None
) -> None:
    result = clean(text, **settings)
    assert (result.reason if isinstance(result, Defect) else None) == reason
    if isinstance(result, Defect):
        assert "4111" not in result.detail
        assert BODY[:10] not in result.detail


def test_previews_show_what_would_be_masked() -> None:
    chat = chat_of("Ask maria.huber@feldpost-verlag.de about it")
    assert preview(RULE["personal_data"], chat) == (
        (("Ask ", False), ("maria.huber@feldpost-verlag.de", True), (" about it", False)),
        (("Ask ", False), ("<EMAIL_ADDRESS>", True), (" about it", False)),
    )
    assert preview(RULE["secrets"], chat) is None


def test_masks_hold_nothing_to_be_found() -> None:
    text = " ".join(MASKS.values())
    assert find(text) == []
    assert Cleaner(CleanConfig(html=True, placeholders=True)).clean(chat_of(text)) == (
        chat_of(text), (), (),
    )  # fmt: skip


def test_a_prose_row_is_not_searched_at_all() -> None:
    assert may_hold("The fox jumps over the dog, in 2024, for $3.50 or 1,000 (about 10:30).") == ()


PIECE = st.sampled_from(
    [value for _, value, _ in POSITIVES] + ["@", "+", "0", "12", ".", "-", ":", "/", "a", " ", "é",
     "\n", "eyJ", "key = '", "::", "4111", "00", "(", "tel ", "://", "DE89", "中"]
)  # fmt: skip


@given(st.lists(PIECE | st.text(max_size=3), max_size=8).map("".join))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_places_lie_in_order_and_masking_takes_exactly_them(text: str) -> None:
    places = find(text)
    assert all(0 <= place.start < place.end <= len(text) for place in places)
    assert all(a.end <= b.start for a, b in pairwise(places))
    rest = masked(text, places)
    for place in places:
        rest = rest.replace(MASKS[place.kind], text[place.start : place.end], 1)
    assert rest == text


@given(st.lists(PIECE | st.text(max_size=3), max_size=8).map("".join))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_search_that_is_left_out_would_find_nothing(text: str) -> None:
    worth = may_hold(text)
    for finder in (secrets, cards, emails, phones, ipv4_addresses, ipv6_addresses):
        if finder not in worth:
            assert list(finder(text)) == [], finder.__name__


@pytest.mark.parametrize(
    "unit",
    ["<pre>", "<code>", "<!-- a>", "<p><b>", "` ```\n", "tel 1234567 ", "+49 30 901820 ",
     "x1 -----BEGIN " "PRIVATE KEY-----", "eyJa1b2c3d4e5.", "a@b.", "key = 'aB3", "1 ", "&amp;",
     "x   y\n", "Ã©"],
)  # fmt: skip
def test_a_long_hostile_text_costs_no_more_than_its_length(unit: str) -> None:
    """With anything quadratic this would take minutes."""
    config = CleanConfig(html=True, whitespace=True, placeholders=True, refusals=True)
    began = time.process_time()
    assert isinstance(Cleaner(config).clean(chat_of(unit * (100_000 // len(unit)))), Cleaned)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("prefix", ["xoxb-", "xoxp-", "xoxb-20240611204-20240612117-", "ghp_"])
def test_keys_whose_random_part_has_hardly_a_digit_are_found(prefix: str) -> None:
    rng = random.Random(7)
    missed = 0
    for _ in range(300):
        value = "".join(rng.choice(string.ascii_letters) for _ in range(36))
        value = value[:24] if prefix.startswith("xox") else value
        missed += not list(find(f"Set it to {prefix}{value} and go on."))
    assert missed <= 30  # of 300; one in twelve of such keys has so few digits


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn-compatible-estimators-everywhere",
        "xoxb-your-token-goes-here",
        "hf_TransformersForSequenceClassification",
        "sk-SomeLongNameThatIsWrittenWithCapitals",
        "ghp_PersonalAccessTokensOfTheWholeOrganization",
    ],
)
def test_names_that_begin_like_a_key_are_none(text: str) -> None:
    assert not list(find(f"See {text} for more."))


@pytest.mark.parametrize("before", ["password: ", "DB_PASSWORD=", "pwd = '", "The password is "])
@pytest.mark.parametrize("value", ["Mq7$vT2bLp8!wR4t", "Xu0b4dor&3xyzKLM9!"])
def test_the_whole_of_a_password_with_signs_is_masked(before: str, value: str) -> None:
    result = clean(f"{before}{value}' or so.", secrets="mask")
    assert isinstance(result, Cleaned)
    assert result.chat[1]["content"] == f"{before}<SECRET>' or so."


def test_a_card_behind_another_number_is_found() -> None:
    found = find("call +49 170 1234567 4111 1111 1111 1111")
    assert [place.kind for place in found] == ["phone", "card"]
