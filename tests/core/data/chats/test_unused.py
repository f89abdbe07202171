"""No part of a row that could be a question's or an answer's is lost without a word."""

from __future__ import annotations

from typing import Any

import pytest

from core.data.chats.formats import CONTENT_LEFT_OUT, Converted, Defect, to_chat

TURNS = [{"role": "user", "content": "How do I mend it?"}, {"role": "assistant", "content": "a"}]
PASSAGE = "The mill stands on the river since 1640 and was burnt down twice."


def asked(row: dict[str, Any], columns: dict[str, str] | None = None) -> str:
    made = to_chat(row, "auto", columns)
    assert isinstance(made, Converted), made
    return next(turn["content"] for turn in made.chat if turn["role"] == "user")


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"question": "q", "context": "c", "answer": "a"}, "q\n\nc"),
        ({"prompt": "q", "input": "i", "completion": "a"}, "q\n\ni"),
        ({"prompt": "q", "context": "c", "input": "i", "completion": "a"}, "q\n\ni\n\nc"),
        ({"instruction": "q", "context": "c", "input": "i", "output": "a"}, "q\n\ni\n\nc"),
        ({"instruction": "q", "input": "", "context": "c", "output": "a"}, "q\n\nc"),
        ({"input": "q", "context": "c", "output": "a"}, "q\n\nc"),
        ({"question": " q ", "context": " ", "answer": "a"}, " q "),
        ({"question": " q ", "context": None, "answer": "a"}, " q "),
    ],
)
def test_input_and_context_are_joined_to_any_question(row: dict[str, Any], question: str) -> None:
    made = to_chat(row, "auto")
    assert isinstance(made, Converted)
    assert asked(row) == question
    assert not made.unused
    assert not made.notes


@pytest.mark.parametrize(
    ("columns", "question"),
    [
        ({"prompt": "question", "completion": "answer"}, "q"),
        ({"prompt": "question", "input": "context", "completion": "answer"}, "q\n\nc"),
        ({"input": "passage"}, "q\n\np"),
        ({"completion": "answer"}, "q\n\nc"),
    ],
)
def test_a_mapping_of_the_prompt_says_what_is_joined(
    columns: dict[str, str], question: str
) -> None:
    row = {"question": "q", "context": "c", "passage": "p", "answer": "a"}
    assert asked(row, columns) == question
    made = to_chat(row, "auto", columns)
    assert isinstance(made, Converted)
    assert not made.notes
    assert not any(made.unused.values())


def test_a_mapped_input_that_is_no_text_is_refused() -> None:
    row = {"question": "q", "choices": ["x", "y"], "answer": "a"}
    assert to_chat(row, "auto", {"input": "choices"}) == Defect(
        "wrong_type", "input is a list, not a text"
    )


@pytest.mark.parametrize(
    ("row", "unused"),
    [
        ({"question": "q", "choices": ["x", "y"], "answer": "a", "id": 7},
         {"choices": True, "id": False}),
        ({"question": "q", "context": {"titles": ["x"]}, "answer": "a"}, {"context": True}),
        ({"title": "T", "text": "t", "url": "https://a.b/c"}, {"title": True, "url": False}),
        ({"instruction": "q", "output": "a", "response": "b"}, {"response": True}),
        ({"prompt": "q", "completion": "a", "remark": PASSAGE}, {"remark": True}),
        ({"prompt": "q", "completion": "a", "facts": [PASSAGE]}, {"facts": True}),
        ({"prompt": "q", "completion": "a", "source": "an old book", "score": 0.5, "tags": ["x"],
          "meta": {"a": PASSAGE}}, {"source": False, "score": False, "tags": False, "meta": False}),
        ({"messages": TURNS, "system": "s", "tools": [], "document": "d"}, {"document": True}),
        ({"messages": [{"role": "system", "content": "own"}, *TURNS], "system": "s"},
         {"system": True}),
        ({"messages": [TURNS[0] | {"id": 5, "choices": ["x"], "name": "Ann"}, TURNS[1]]},
         {"messages[].id": False, "messages[].choices": True}),
        ({"prompt": TURNS[:1], "completion": TURNS[1:], "context": "c"}, {"context": True}),
        ({"prompt": "q", "completion": "a", "title": "", "choices": [], "history": None}, {}),
    ],
)  # fmt: skip
def test_other_fields_are_told_and_content_is_told_apart(
    row: dict[str, Any], unused: dict[str, bool]
) -> None:
    made = to_chat(row, "auto")
    assert isinstance(made, Converted)
    assert made.unused == unused
    assert (CONTENT_LEFT_OUT in made.notes) == any(unused.values())


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS, "prompt": "How do I mend it?"},
        {"instruction": "How do I mend it?", "output": "a",
         "text": "Below is a task.\n### Instruction:\nHow do I mend it?\n### Response:\na"},
    ],
)  # fmt: skip
def test_a_copy_of_what_is_learned_is_no_loss(row: dict[str, Any]) -> None:
    made = to_chat(row, "auto")
    assert isinstance(made, Converted)
    assert len(made.unused) == 1
    assert not any(made.unused.values())
    assert not made.notes
