"""Fields of a row from which nothing is learned, told so that no part of a question is missed.

Ids, scores and sources are left out of nearly every set, and rightly. A passage, the choices of a
question or a second answer are not: they look like content, and are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.data.chats.chat import Chat
from core.data.chats.columns import (
    ALPACA_ANSWERS,
    ANSWERS,
    EXTRAS,
    PROMPTS,
    SYSTEMS,
    TEXTS,
    TURNS,
    Mapped,
    first_of,
)

_CONTENT = frozenset(
    (
        *TURNS, *PROMPTS, *ANSWERS, *EXTRAS, *SYSTEMS, *TEXTS, "instruction", "history", "title",
        "choices", "options", "candidates", "passage", "passages", "document", "documents",
        "contexts", "article", "paragraph", "paragraphs", "abstract", "body", "background",
        "evidence", "hint", "hints", "answers", "responses", "outputs", "explanation", "rationale",
        "reasoning", "thinking", "code", "table",
    )
)  # fmt: skip
"""Names of fields that hold a part of a question or an answer."""
_MANY_WORDS = 10
"""A text of so many words is content, whatever its field is called."""
_HEAD, _TELLING = 100, 8
"""The beginning of a question by which it is found in another text; what is shorter than eight
characters is found everywhere."""


def unused(known: Mapped, name: str, chat: Chat) -> dict[str, bool]:
    """The fields that say something and became no part of the chat; True: it looks like content.

    ``name`` is the format that the row was read as.
    """
    row = known.row
    used = set(_used(known, name, chat))
    return {
        key: _is_content(key, value, chat)
        for key, value in row.items()
        if key not in used and not _is_empty(value)
    }


def extras_of(known: Mapped, key: str) -> list[str]:
    """The fields whose texts are joined to a question in the field ``key``, in their order.

    What is no text is not joined, but for one that was mapped: that is an error of the row.
    """
    row = known.row
    if not isinstance(row[key], str):
        return []
    return [
        name
        for name in known.extras
        if name != key
        and (isinstance(row.get(name), str) or (known.mapped and row.get(name) is not None))
    ]


def _used(known: Mapped, name: str, chat: Chat) -> Iterator[str | None]:
    row = known.row
    yield "tools" if row.get("tools") else "functions"
    system = first_of(row, SYSTEMS)
    if system is not None and chat[0]["role"] == "system" and chat[0]["content"] == row[system]:
        yield system
    if name == "alpaca":
        yield from ("instruction", "history", *known.extras, first_of(row, ALPACA_ANSWERS))
    elif name == "prompt_completion":
        prompt = first_of(row, PROMPTS)
        yield prompt
        yield first_of(row, ANSWERS)
        if prompt is not None:
            yield from extras_of(known, prompt)
    else:
        yield first_of(row, TEXTS if name == "text" else TURNS)


def _is_empty(value: object) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, list | dict) and not value)


def _is_content(key: str, value: object, chat: Chat) -> bool:
    """Whether a field seems to belong to question or answer, and is no copy of what is learned."""
    if isinstance(value, str):
        if key.lower() not in _CONTENT and value.count(" ") < _MANY_WORDS:
            return False
        return not _repeats(value, chat)
    if key.lower() in _CONTENT:
        return isinstance(value, list | dict)
    return isinstance(value, list) and _words_in(value) >= _MANY_WORDS


def _words_in(values: list[Any]) -> int:
    return sum(value.count(" ") for value in values if isinstance(value, str))


def _repeats(text: str, chat: Chat) -> bool:
    """Whether a text stands in the chat, or has the question in it as a filled template has."""
    own = text.strip()
    telling = len(own) >= _TELLING
    for turn in chat:
        if own == turn["content"].strip() or (telling and own in turn["content"]):
            return True
    asked = next((turn["content"] for turn in chat if turn["role"] == "user"), "")
    head = asked.strip()[:_HEAD].partition("\n")[0]
    return len(head) >= _TELLING and head in own
