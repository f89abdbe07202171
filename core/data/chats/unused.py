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
_EXTRAS = frozenset(EXTRAS)
_TURN = frozenset(
    (
        "role", "content", "from", "value", "tool_calls", "function_call", "tool_call_id", "name",
        "reasoning_content", "reasoning", "thinking", "weight", "train", "training",
    )
)  # fmt: skip
"""Fields of turns that are learned, or of which something is said already."""
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
    used = _used(known, name, chat)
    found = {
        key: _is_content(key, value, chat)
        for key, value in row.items()
        if key not in used and not _is_empty(value)
    }
    if name in ("messages", "sharegpt"):
        for field, key, value in _of_turns(known):
            found[field] = found.get(field, False) or _is_content(key, value, chat)
    return found


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


def _used(known: Mapped, name: str, chat: Chat) -> list[str | None]:
    """The fields that a row of this format is made of."""
    row = known.row
    used: list[str | None] = ["tools" if row.get("tools") else "functions"]
    if chat[0]["role"] == "system":
        system = first_of(row, SYSTEMS)
        if system is not None and chat[0]["content"] == row[system]:
            used.append(system)
    if name == "alpaca":
        used += ("instruction", "history", *known.extras, first_of(row, ALPACA_ANSWERS))
    elif name == "prompt_completion":
        prompt = first_of(row, PROMPTS)
        used += (prompt, first_of(row, ANSWERS))
        if prompt is not None and not _EXTRAS.isdisjoint(row):
            used += extras_of(known, prompt)
    else:
        used.append(first_of(row, TEXTS if name == "text" else TURNS))
    return used


def _of_turns(known: Mapped) -> Iterator[tuple[str, str, object]]:
    """The fields of turns that say something and are not learned, named with their list's."""
    field = first_of(known.row, TURNS)
    turns = known.row[field] if field is not None else None
    own = (known.role_key, known.text_key)
    for turn in turns if isinstance(turns, list) else ():
        if len(turn) == 2:  # nearly all are
            continue
        for key, value in turn.items():
            if key not in _TURN and key not in own and not _is_empty(value):
                yield f"{field}[].{key}", key, value


def _is_empty(value: object) -> bool:
    return (not value and value is not False and value != 0) or (
        type(value) is str and value.isspace()
    )


def _is_content(key: str, value: object, chat: Chat) -> bool:
    """Whether a field seems to belong to question or answer, and is no copy of what is learned."""
    if isinstance(value, str):
        if key.lower() not in _CONTENT and value.count(" ") < _MANY_WORDS:
            return False
        return not _repeats(value, chat)
    if not isinstance(value, list | dict):
        return False
    return key.lower() in _CONTENT or (isinstance(value, list) and _words_in(value) >= _MANY_WORDS)


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
