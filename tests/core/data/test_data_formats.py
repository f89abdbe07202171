"""Rows to chats: every format, and every reason a row is refused for."""

from __future__ import annotations

from typing import Any

import pytest

from core.data.formats import Converted, Defect, detect, shape_of, to_chat

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
CHAT = [USER, ANSWER]


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ({"instruction": "q", "input": "", "output": "a"}, "alpaca"),
        ({"instruction": "q", "input": None, "response": "a"}, "alpaca"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
         "sharegpt"),
        ({"conversations": CHAT}, "messages"),
        ({"messages": CHAT, "prompt": "q", "id": 3}, "messages"),
        ({"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "a"}]}]},
         "messages"),
        ({"prompt": "q", "completion": "a"}, "prompt_completion"),
        ({"question": "q", "answer": "a"}, "prompt_completion"),
        ({"prompt": [USER], "completion": [ANSWER]}, "prompt_completion"),
    ],
)  # fmt: skip
def test_every_format_becomes_the_same_chat(row: dict[str, Any], shape: str) -> None:
    assert shape_of(row) == shape
    assert to_chat(row, "auto") == Converted(CHAT)
    assert to_chat(row, shape) == Converted(CHAT)


def test_alpaca_joins_instruction_and_input_and_takes_history_and_system() -> None:
    row = {
        "instruction": "Translate.",
        "input": "Hallo",
        "output": " Hello\n",
        "system": "Be brief.",
        "history": [["q", "a"]],
    }
    assert to_chat(row, "auto") == Converted(
        [
            {"role": "system", "content": "Be brief."},
            *CHAT,
            {"role": "user", "content": "Translate.\n\nHallo"},
            {"role": "assistant", "content": " Hello\n"},
        ]
    )


def turns(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": "x"} for role in roles]}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "q"}, "missing_answer"),
        ({"instruction": "q", "output": None}, "missing_answer"),
        ({"instruction": "q", "output": " \n"}, "empty_answer"),
        ({"instruction": "", "input": "", "output": "a"}, "empty_prompt"),
        ({"instruction": None, "output": "a"}, "missing_prompt"),
        ({"instruction": ["q"], "output": "a"}, "wrong_type"),
        ({"instruction": "q", "input": 3, "output": "a"}, "wrong_type"),
        ({"instruction": "q", "output": {"a": 1}}, "wrong_type"),
        ({"prompt": "q"}, "missing_answer"),
        ({"prompt": [USER], "completion": "a"}, "missing_answer"),
        ({"messages": "hello"}, "wrong_type"),
        ({"messages": ["hello"]}, "wrong_type"),
        ({"messages": []}, "no_assistant"),
        ({"messages": [USER, {"content": "a"}]}, "missing_role"),
        ({"messages": [USER, {"role": "assistant"}]}, "missing_answer"),
        ({"messages": [{"role": "user"}, ANSWER]}, "missing_prompt"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "empty_answer"),
        ({"messages": [USER, {"role": "assistant", "content": 7}]}, "wrong_type"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, ANSWER]}, "wrong_type"),
        ({"messages": [USER, ANSWER | {"tool_calls": [{}]}]}, "unsupported_field"),
        (turns("user", "tool", "assistant"), "unknown_role"),
        ({"messages": [{"role": 3, "content": "x"}, ANSWER]}, "unknown_role"),
        (turns("user"), "no_assistant"),
        (turns("system", "user"), "no_assistant"),
        (turns("assistant"), "starts_with_assistant"),
        (turns("user", "assistant", "assistant"), "two_assistants_in_a_row"),
        (turns("user", "user", "assistant"), "two_users_in_a_row"),
        (turns("user", "system", "assistant"), "system_not_first"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "preference_pair"),
        ({"text": "once upon a time"}, "unknown_format"),
        ({}, "unknown_format"),
    ],
)
def test_every_defect_has_its_reason(row: dict[str, Any], reason: str) -> None:
    result = to_chat(row, "auto")
    assert isinstance(result, Defect), result
    assert result.reason == reason
    assert result.detail


def test_a_last_user_turn_is_cut_and_an_empty_system_turn_dropped_and_both_are_noted() -> None:
    row = {"messages": [{"role": "system", "content": " "}, *CHAT, USER]}
    assert to_chat(row, "auto") == Converted(CHAT, ("empty_system_dropped", "last_user_turn_cut"))


def test_a_named_format_is_held_to() -> None:
    result = to_chat({"instruction": "q", "output": "a"}, "messages")
    assert isinstance(result, Defect)
    assert result.reason == "missing_turns"


def test_detection_tells_the_majority_and_how_sure_it_is() -> None:
    alpaca, other = {"instruction": "q", "output": "a"}, {"text": "x"}
    found = detect([alpaca, alpaca, alpaca, other])
    assert (found.format, found.confidence) == ("alpaca", 0.75)
    assert found.counts == {"alpaca": 3, "unknown": 1}
    assert detect([other]).format is None
    assert detect([]).confidence == 0.0
