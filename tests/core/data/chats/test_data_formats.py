"""Rows to chats: every format, and every reason a row is refused for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.config.errors import InputError
from core.data.chats.columns import check_columns
from core.data.chats.formats import Converted, Defect, detect, shape_of, to_chat

MEDIA = {"role": "user", "content": [{"type": "image"}]}
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
        ({"instruction": "q", "context": "", "response": "a", "category": "x"}, "alpaca"),
        ({"system_prompt": "", "question": "q", "response": "a"}, "prompt_completion"),
        ({"input": "q", "output": "a"}, "prompt_completion"),
        ({"query": "q", "response": "a", "label": 3}, "prompt_completion"),
        ({"problem": "q", "solution": "a"}, "prompt_completion"),
        ({"messages": None, "prompt": "q", "completion": "a"}, "prompt_completion"),
        ({"instruction": None, "text": None, "messages": CHAT}, "messages"),
        ({"messages": None, "conversations": CHAT, "chosen": None, "rejected": None}, "messages"),
        ({"messages": [turn | {"from": None, "value": None} for turn in CHAT]}, "messages"),
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
        ({"messages": None}, "wrong_type"),
        ({"prompt": "q", "completion": None, "messages": None}, "missing_answer"),
        ({"messages": [USER, {"content": "a"}]}, "missing_role"),
        ({"messages": [USER, {"role": "assistant"}]}, "missing_answer"),
        ({"messages": [{"role": "user"}, ANSWER]}, "missing_prompt"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "empty_answer"),
        ({"messages": [USER, {"role": "assistant", "content": 7}]}, "wrong_type"),
        ({"messages": [MEDIA, ANSWER]}, "unsupported_field"),
        ({"messages": [{"role": "user", "content": [{"type": "x"}]}, ANSWER]}, "wrong_type"),
        ({"messages": [{"role": "user", "content": ["a", 7]}, ANSWER]}, "wrong_type"),
        ({"messages": [USER, ANSWER | {"tool_calls": [{}]}]}, "broken_tool_call"),
        ({"messages": [USER, ANSWER | {"tool_calls": "x"}]}, "broken_tool_call"),
        ({"messages": [USER, ANSWER | {"tool_calls": {"a": 1}}]}, "broken_tool_call"),
        ({"messages": [USER, ANSWER | {"reasoning": 3}]}, "wrong_type"),
        ({"messages": CHAT, "images": ["cat.png"]}, "unsupported_field"),
        ({"messages": CHAT, "tools": "no"}, "wrong_type"),
        ({"messages": CHAT, "tools": [1]}, "broken_tools"),
        (turns("user", "wizard", "assistant"), "unknown_role"),
        (turns("user", "tool", "assistant"), "tool_without_call"),
        (turns("user", "assistant", "tool", "user"), "unanswered_tool"),
        ({"messages": "[" * 200 + "]" * 200}, "too_deep"),
        ({"messages": [{"role": 3, "content": "x"}, ANSWER]}, "unknown_role"),
        (turns("user"), "no_assistant"),
        (turns("system", "user"), "no_assistant"),
        (turns("assistant"), "starts_with_assistant"),
        (turns("user", "assistant", "assistant"), "two_assistants_in_a_row"),
        (turns("user", "user", "assistant"), "two_users_in_a_row"),
        (turns("user", "system", "assistant"), "system_not_first"),
        ({"role": "user", "content": "q"}, "lone_turn"),
        ({"from": "gpt", "value": "a", "id": 3}, "lone_turn"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "preference_pair"),
        ({"prompt": "q", "completion": "a", "label": True}, "labelled_pair"),
        ({"instruction": "q", "response_chosen": "a", "response_rejected": "b"},
         "preference_pair"),
        ({"text": " "}, "empty_text"),
        ({"text": 3}, "wrong_type"),
        ({"input": "q"}, "unknown_format"),
        ({}, "unknown_format"),
    ],
)  # fmt: skip
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
    alpaca, other = {"instruction": "q", "output": "a"}, {"x": "x"}
    found = detect([alpaca, alpaca, alpaca, other])
    assert (found.format, found.confidence) == ("alpaca", 0.75)
    assert found.counts == {"alpaca": 3, "unknown": 1}
    assert found.words == (
        "alpaca: 3 of 4 rows (fields instruction, output, x); the others: 1 unknown"
    )
    assert detect([other]).format is None
    assert "data.columns" in detect([other]).words
    assert detect([]).confidence == 0.0


def test_raw_text_is_one_message_of_the_role_text() -> None:
    made = to_chat({"text": " Once\n", "label": 3}, "auto")
    assert made == Converted([{"role": "text", "content": " Once\n"}])
    assert isinstance(made, Converted)
    assert made.format == "text"


CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}


@pytest.mark.parametrize(
    "call",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [{"name": "f", "arguments": '{"x": 1}'}]},
        {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": {"x": 1}}},
        {"role": "function_call", "content": '{"name": "f", "arguments": {"x": 1}}'},
    ],
)
def test_tool_turns_in_every_writing_are_one_shape(call: dict[str, Any]) -> None:
    result = {"role": "tool", "content": "", "tool_call_id": "1", "name": "f"}
    tool = {"name": "f", "parameters": {}}
    made = to_chat({"messages": [USER, call, result, ANSWER], "functions": [tool]}, "auto")
    assert made == Converted(
        [
            {**USER, "tools": [{"type": "function", "function": tool}]},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            result,
            ANSWER,
        ]
    )


def test_tools_stand_on_the_first_message_even_when_an_empty_system_turn_goes() -> None:
    row = {"messages": [{"role": "system", "content": ""}, *CHAT], "tools": '[{"type": "x"}]'}
    made = to_chat(row, "auto")
    assert isinstance(made, Converted)
    assert made.chat == [{**USER, "tools": [{"type": "x"}]}, ANSWER]
    assert "tools" not in row["messages"][1]


def test_thoughts_and_unanswered_calls_are_kept_and_ignored_weights_are_noted() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]
    row = {"messages": [USER, {"role": "assistant", "content": parts, "weight": 0}]}
    assert to_chat(row, "auto") == Converted(
        [USER, ANSWER | {"reasoning_content": "hm"}], ("turn_weight_ignored",)
    )
    assert to_chat({"messages": [USER, ANSWER | {"thinking": "hm"}]}, "auto") == Converted(
        [USER, ANSWER | {"reasoning_content": "hm"}]
    )


def test_turns_written_as_json_text_are_read_and_noted() -> None:
    row = {"messages": json.dumps(CHAT)}
    assert to_chat(row, "auto") == Converted(CHAT, ("turns_parsed_from_text",))


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"Frage": "q", "Antwort": "a"}, {"prompt": "Frage", "completion": "Antwort"}),
        ({"answer": "q", "question": "a"}, {"prompt": "answer", "completion": "question"}),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, {"completion": "chosen"}),
        ({"a": "q", "b": "a", "input": ""}, {"instruction": "a", "output": "b"}),
        ({"talk": [{"who": "Kunde", "said": "q"}, {"who": "gpt", "said": "a"}]},
         {"messages": "talk", "role": "who", "content": "said", "user": "Kunde"}),
        ({"messages": [{"speaker": "user", "text": "q"}, {"speaker": "bot", "text": "a"}]},
         {"role": "speaker", "content": "text"}),
    ],
)  # fmt: skip
def test_a_mapping_settles_what_names_do_not(row: dict[str, Any], columns: dict[str, str]) -> None:
    check_columns(columns)
    assert to_chat(row, "auto", columns) == Converted(CHAT)


def test_a_mapped_field_that_is_not_there_is_told() -> None:
    result = to_chat({"Frage": "q"}, "auto", {"prompt": "Frage", "completion": "Antwort"})
    assert result == Defect(
        "missing_column", "has no Antwort, which data.columns names for completion; there are Frage"
    )
    for bad in ({"propmt": "Frage"}, {"prompt": " "}):
        with pytest.raises(InputError, match=r"data\.columns"):
            check_columns(bad)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "image"},
        {"image": "x.png"},
        {"type": "input_audio", "input_audio": {"data": ""}},
    ],
)
def test_pictures_and_sound_in_a_content_are_told_as_such(part: dict[str, Any]) -> None:
    content = [{"type": "text", "text": "What is this?"}, part]
    made = to_chat({"messages": [{"role": "user", "content": content}, ANSWER]}, "auto")
    assert isinstance(made, Defect)
    assert made.reason == "unsupported_field"
    assert "pictures, sound and files are not learned, text only" in made.detail


@pytest.mark.parametrize(
    ("more", "noted"),
    [
        ({"instruction": "x", "output": "y"}, True),
        ({"prompt": "x", "completion": "y"}, True),
        ({"prompt": "x"}, False),
        ({"instruction": None, "prompt": None, "completion": "y"}, False),
        ({"source": "web", "text": "x"}, False),
    ],
)
@pytest.mark.parametrize("field", ["messages", "conversations"])
def test_of_a_row_in_two_formats_the_turns_are_taken_and_that_is_noted(
    field: str, more: dict[str, Any], noted: bool
) -> None:
    row = {field: [USER, ANSWER], **more}
    made = to_chat(row, "auto")
    assert isinstance(made, Converted)
    assert made.chat == [USER, ANSWER]
    assert made.notes == (("other_format_left_out",) if noted else ("content_left_out",))
    chosen = to_chat(row, "messages")
    assert isinstance(chosen, Converted)
    assert chosen.notes == ()


def test_an_empty_list_of_turns_hides_no_other_format() -> None:
    made = to_chat({"prompt": "q", "completion": "a", "messages": []}, "auto")
    assert isinstance(made, Converted)
    assert made.format == "prompt_completion"
    for row in ({"messages": []}, {"messages": [], "conversations": [], "source": "web"}):
        empty = to_chat(row, "auto")
        assert isinstance(empty, Defect)
        assert empty.reason == "no_assistant"


def test_turns_that_python_printed_into_a_cell_are_told_how_to_be_written() -> None:
    made = to_chat({"messages": str(CHAT)}, "auto")
    assert isinstance(made, Defect)
    assert made.reason == "wrong_type"
    assert "written as Python shows it; write it with json.dumps" in made.detail
