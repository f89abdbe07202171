"""The short way agrees with the long one on every row that it takes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.chats.formats import Converted, to_chat
from core.data.quick import quick_chat

TEXT = st.sampled_from(["", " ", "\n", "hello", " hello ", "a\n\nb", "\u3000"])
VALUE = TEXT | st.none() | st.integers(0, 2) | st.lists(TEXT, max_size=1)
FIELD = st.sampled_from(
    ["instruction", "input", "output", "prompt", "completion", "system", "id", "tools", "images"]
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "human"]), "content": VALUE},
    optional={"name": TEXT, "weight": st.integers(0, 1), "tool_calls": st.just([])},
)
ROW = st.one_of(
    st.fixed_dictionaries({"instruction": VALUE, "output": VALUE}, optional={"input": VALUE}),
    st.fixed_dictionaries({"prompt": VALUE, "completion": VALUE}),
    st.dictionaries(FIELD, VALUE, max_size=4),
    st.fixed_dictionaries({"messages": st.lists(TURN, max_size=5)}, optional={"system": TEXT}),
)


@given(row=ROW)
def test_it_agrees_where_it_answers(row: dict[str, Any]) -> None:
    found = quick_chat(copy.deepcopy(row))
    if found is not None:
        assert Converted(*found[:1], format=found[1]) == (wanted := to_chat(row, "auto"))
        assert found[1] == wanted.format  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "q", "output": "a"},
        {"instruction": "q", "input": "more", "output": "a"},
        {"prompt": "q", "completion": "a"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
                      {"role": "assistant", "content": "a"}]},
    ],
)  # fmt: skip
def test_it_takes_plain_rows(row: dict[str, Any]) -> None:
    wanted = to_chat(row, "auto")
    assert isinstance(wanted, Converted)
    assert quick_chat(row) == (wanted.chat, wanted.format)
