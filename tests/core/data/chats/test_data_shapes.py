"""What is said of names that no format knows: how to map them, or that they are no names."""

from __future__ import annotations

from typing import Any

import pytest

from core.data.chats.formats import Converted, Defect, to_chat

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("fields", "like_a_row"),
    [
        (("Frage", "Antwort"), False),
        (("What is it?", "a thing"), True),
        (("It is one of many words", "x"), True),
        (("x" * 41, "y"), True),
    ],
)
def test_names_that_look_like_a_row_speak_of_a_missing_header(
    fields: tuple[str, str], like_a_row: bool
) -> None:
    made = to_chat(dict.fromkeys(fields, "text"), "auto")
    assert isinstance(made, Defect)
    assert made.reason == "unknown_format"
    assert ("table without a header" in made.detail) is like_a_row
    assert "--data.columns" in made.detail


@pytest.mark.parametrize(
    ("row", "mapping"),
    [
        ({"Instruction": "a", "Output": "b"}, "instruction=Instruction,output=Output"),
        ({"Question": "a", "Answer": "b", "Id": 1}, "prompt=Question,completion=Answer"),
        ({"Messages": CHAT}, "messages=Messages"),
        ({"TEXT": "a"}, "text=TEXT"),
    ],
)
def test_names_in_another_case_are_given_with_their_mapping(
    row: dict[str, Any], mapping: str
) -> None:
    made = to_chat(row, "auto")
    assert isinstance(made, Defect)
    assert made.detail.endswith(f"known in lower case: --data.columns {mapping}")
    columns = dict(pair.split("=") for pair in mapping.split(","))
    assert isinstance(to_chat(row, "auto", columns), Converted)
