"""From rows of any known shape to one shape: a chat. What does not fit is named, never guessed.

Contents are taken as they stand: no stripping, no repair of what a person wrote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

Format = Literal["alpaca", "sharegpt", "messages", "prompt_completion"]
FORMATS: tuple[Format, ...] = ("alpaca", "sharegpt", "messages", "prompt_completion")


class Message(TypedDict):
    """One turn. ``role`` is system, user or assistant."""

    role: str
    content: str


Chat = list[Message]
"""An optional system turn, then user and assistant in turns; the last one is the assistant's."""


@dataclass(frozen=True)
class Converted:
    """A chat that can be learned from, and what was done to it (words for counting)."""

    chat: Chat
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Defect:
    """Why a row is no chat: ``reason`` for counting, ``detail`` for a person."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Detected:
    """What a sample of rows looks like. ``format`` is None when most of it is like nothing."""

    format: Format | None
    confidence: float
    """Part of the sample that has this format, 0 to 1."""
    counts: Mapping[str, int]


class _Unfit(Exception):  # noqa: N818 - carries a defect, is none of the program's
    def __init__(self, reason: str, detail: str):
        self.defect = Defect(reason, detail)


_ANSWERS = {
    "alpaca": ("output", "response"),
    "prompt_completion": ("completion", "response", "answer"),
}
_PROMPTS = ("prompt", "question", "query")
_TURNS = ("conversations", "conversation", "messages")
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
}
_UNSUPPORTED = ("tool_calls", "function_call", "reasoning_content", "thinking", "reasoning")


def shape_of(row: Mapping[str, Any]) -> Format | Literal["preference"] | None:
    """Which format a row's field names speak of; None when they speak of none."""
    if "chosen" in row and "rejected" in row:
        return "preference"
    for key in _TURNS:
        turns = row.get(key)
        if key in row:
            first = turns[0] if isinstance(turns, list) and turns else None
            if isinstance(first, dict) and "from" in first:
                return "sharegpt"
            if isinstance(first, dict) and "role" in first:
                return "messages"
            return "messages" if key == "messages" else "sharegpt"
    if "instruction" in row:
        return "alpaca"
    return "prompt_completion" if any(key in row for key in _PROMPTS) else None


def detect(rows: Iterable[Mapping[str, Any]]) -> Detected:
    """The format that most of the given rows have."""
    counts: Counter[str] = Counter(shape_of(row) or "unknown" for row in rows)
    if not counts:
        return Detected(None, 0.0, {})
    name, votes = counts.most_common(1)[0]
    found = next((known for known in FORMATS if known == name), None)
    return Detected(found, votes / counts.total(), dict(counts))


def to_chat(row: Mapping[str, Any], format: Format | Literal["auto"]) -> Converted | Defect:  # noqa: A002
    """A row as a chat, or the first reason why it is none.

    With ``auto`` each row is taken by its own shape, so that files of several formats may be
    mixed.
    """
    shape = shape_of(row)
    if shape == "preference":
        return Defect(
            "preference_pair",
            "holds two answers to compare (chosen, rejected); this training learns from one "
            "answer a row: keep the chosen one as its answer",
        )
    chosen = shape if format == "auto" else format
    if chosen is None:
        names = ", ".join(str(key)[:40] for key in list(row)[:8]) or "none"
        return Defect("unknown_format", f"the fields are like no known format: {names}")
    try:
        return _checked(_READERS[chosen](row))
    except _Unfit as unfit:
        return unfit.defect


def _alpaca(row: Mapping[str, Any]) -> Chat:
    instruction = _text(row, "instruction", missing="missing_prompt")
    extra = _text(row, "input") if row.get("input") is not None else ""
    parts = [part for part in (instruction, extra) if part.strip()]
    chat = _system(row)
    history = row.get("history")
    if history:
        chat += _history(history)
    chat.append({"role": "user", "content": "\n\n".join(parts)})
    chat.append({"role": "assistant", "content": _answer(row, "alpaca")})
    return chat


def _history(value: object) -> Chat:
    """Earlier turns of an Alpaca row: a list of pairs of question and answer."""
    chat: Chat = []
    for pair in value if isinstance(value, list) else [value]:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise _Unfit("wrong_type", "history is not a list of [question, answer]")
        for role, content in zip(("user", "assistant"), pair, strict=True):
            chat.append({"role": role, "content": _content(content, "history")})
    return chat


def _sharegpt(row: Mapping[str, Any]) -> Chat:
    return _turns(row, "from", "value")


def _messages(row: Mapping[str, Any]) -> Chat:
    return _turns(row, "role", "content")


def _turns(row: Mapping[str, Any], role_key: str, text_key: str) -> Chat:
    key = next((name for name in _TURNS if name in row), None)
    if key is None:
        raise _Unfit("missing_turns", f"has no field {' or '.join(_TURNS)}")
    turns = row[key]
    if not isinstance(turns, list):
        raise _Unfit("wrong_type", f"{key} is {_kind(turns)}, not a list of turns")
    chat = _system(row)
    for number, turn in enumerate(turns, 1):
        chat.append(_turn(turn, number, role_key, text_key))
    return chat


def _turn(turn: object, number: int, role_key: str, text_key: str) -> Message:
    if not isinstance(turn, dict):
        raise _Unfit("wrong_type", f"turn {number} is {_kind(turn)}, not an object")
    for key in _UNSUPPORTED:
        if turn.get(key):
            raise _Unfit("unsupported_field", f"turn {number} has {key}, which would be lost")
    if role_key not in turn:
        raise _Unfit("missing_role", f"turn {number} has no field {role_key}")
    name = turn[role_key]
    role = _ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise _Unfit(
            "unknown_role", f"turn {number} has the role {str(name)[:40]!r}; known: {_KNOWN_ROLES}"
        )
    if text_key not in turn:
        raise _Unfit(f"missing_{_side(role)}", f"turn {number} has no field {text_key}")
    content = turn[text_key]
    if content is None:
        raise _Unfit(f"empty_{_side(role)}", f"turn {number} ({role}) is null")
    return {"role": role, "content": _content(content, f"{text_key} of turn {number}")}


def _prompt_completion(row: Mapping[str, Any]) -> Chat:
    key = next((name for name in _PROMPTS if name in row), None)
    if key is None:
        raise _Unfit("missing_prompt", f"has no field {' or '.join(_PROMPTS)}")
    if isinstance(row[key], list):  # conversational: a list of turns on each side
        answer = next((name for name in _ANSWERS["prompt_completion"] if name in row), None)
        if answer is None or not isinstance(row[answer], list):
            raise _Unfit("missing_answer", "the prompt is a list of turns, the answer is not")
        return _turns({"messages": [*row[key], *row[answer]]}, "role", "content")
    prompt = _text(row, key, missing="missing_prompt")
    return [
        *_system(row),
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": _answer(row, "prompt_completion")},
    ]


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Chat]] = {
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
    "messages": _messages,
    "prompt_completion": _prompt_completion,
}
_KNOWN_ROLES = ", ".join(_ROLES)


def _system(row: Mapping[str, Any]) -> Chat:
    """The system turn from a field of the row itself, where it has one."""
    if row.get("system") is None:
        return []
    return [{"role": "system", "content": _text(row, "system")}]


def _answer(row: Mapping[str, Any], format: str) -> str:  # noqa: A002
    names = _ANSWERS[format]
    key = next((name for name in names if name in row), None)
    if key is None or row[key] is None:
        raise _Unfit("missing_answer", f"has no {' or '.join(names)}")
    return _text(row, key)


def _text(row: Mapping[str, Any], key: str, missing: str = "wrong_type") -> str:
    value = row.get(key)
    if value is None:
        raise _Unfit(missing, f"has no {key}")
    if not isinstance(value, str):
        raise _Unfit("wrong_type", f"{key} is {_kind(value)}, not a text")
    return value


def _content(value: object, where: str) -> str:
    """A turn's text, also from a list of parts as long as all of them are text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        texts = [part.get("text") for part in value if isinstance(part, dict)]
        if len(texts) == len(value) and all(isinstance(text, str) for text in texts):
            return "".join(str(text) for text in texts)
        raise _Unfit("wrong_type", f"{where} has parts that are not text")
    raise _Unfit("wrong_type", f"{where} is {_kind(value)}, not a text")


def _checked(chat: Chat) -> Converted | Defect:
    """Apply the rules on turns that all formats share."""
    notes = []
    if chat and chat[0]["role"] == "system" and not chat[0]["content"].strip():
        chat, notes = chat[1:], ["empty_system_dropped"]
    turns = chat[1:] if chat and chat[0]["role"] == "system" else chat
    if not any(turn["role"] == "assistant" for turn in turns):
        return Defect("no_assistant", "has no turn of the assistant: nothing to learn")
    expected = "user"
    for number, turn in enumerate(turns, 1):
        defect = _wrong_turn(turn, number, expected)
        if defect is not None:
            return defect
        expected = "assistant" if expected == "user" else "user"
    if turns[-1]["role"] == "user":
        chat = chat[:-1]
        notes.append("last_user_turn_cut")
    return Converted(chat, tuple(notes))


def _wrong_turn(turn: Message, number: int, expected: str) -> Defect | None:
    role = turn["role"]
    if role == "system":
        return Defect("system_not_first", f"turn {number} is a system turn; it must come first")
    if role != expected:
        if number == 1:
            return Defect("starts_with_assistant", "the assistant speaks before the user")
        return Defect(f"two_{role}s_in_a_row", f"turns {number - 1} and {number} are both {role}")
    if not turn["content"].strip():
        return Defect(f"empty_{_side(role)}", f"turn {number} ({role}) is empty")
    return None


def _side(role: str) -> str:
    return "answer" if role == "assistant" else "prompt"


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
