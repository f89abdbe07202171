"""What is said where no row can be used helps without a look into the documentation."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import core.data
from core.data.advice import advice

SAYS_ALL = {
    "duplicate", "near_duplicate", "duplicate_key", "half_character", "header_again",
    "line_too_long", "not_finite", "nul_byte", "too_deep", "unanswered_tool", "tool_without_call",
    "broken_tool_call", "broken_tools", "nothing_to_learn", "special_token_in_text",
    "template_refused", "template_ignores_tools", "template_cannot_be_masked",
}  # fmt: skip
"""Reasons whose detail, or the file itself, says what to do."""


def reasons() -> set[str]:
    """Every reason that the code gives."""
    source = "".join(path.read_text() for path in Path(core.data.__file__).parent.rglob("*.py"))
    return set(re.findall(r'(?:Unfit|Defect|_Broken)\(\s*"([a-z_0-9]+)"', source))


def test_every_reason_has_advice_or_says_all() -> None:
    assert len(reasons()) > 30
    for reason in reasons() - SAYS_ALL:
        assert advice(Counter({reason: 1})), reason


@pytest.mark.parametrize("reason", ["missing_answer", "empty_prompt", "two_users_in_a_row"])
def test_families_of_reasons_share_advice(reason: str) -> None:
    assert advice(Counter({reason: 3}))


def test_the_most_frequent_reasons_come_first_and_nothing_twice() -> None:
    counted = Counter(unknown_format=5, two_users_in_a_row=3, starts_with_assistant=2, not_utf8=1)
    first, second = advice(counted)
    assert "--data.columns" in first
    assert "take turns" in second
