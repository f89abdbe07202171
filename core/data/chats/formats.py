"""From rows of any known shape to one shape: a chat. What does not fit is named, never guessed.

Contents are taken as they stand: no stripping, no repair of what a person wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from core.data.chats.chat import Chat, Converted, Defect, Format, Message, Unfit, no_text
from core.data.chats.columns import (
    ALPACA_ANSWERS,
    ANSWERS,
    PROMPTS,
    SYSTEMS,
    TEXTS,
    TURNS,
    Mapped,
    first_of,
    implied_format,
    mapped,
)
from core.data.chats.shapes import FORMATS, Detected, Shape, advice_on, detect, shape_of
from core.data.chats.turns import checked, listed, refuse_media, text_of, tools_of, turns
from core.data.chats.unused import extras_of, unused

__all__ = [
    "FORMATS", "Chat", "Converted", "Defect", "Detected", "Format", "Message", "Shape", "detect",
    "shape_of", "to_chat",
]  # fmt: skip

CONTENT_LEFT_OUT = "content_left_out"
"""The note on a row with fields that look like content and are not learned."""
_OTHER_FORMAT = "other_format_left_out"
_OF_TURNS = ("messages", "sharegpt")
_SINGLE = frozenset(("instruction", *PROMPTS))
"""Fields of rows that are one question and its answer."""


def to_chat(
    row: Mapping[str, Any],
    format: Format | Literal["auto"],  # noqa: A002
    columns: Mapping[str, str] | None = None,
) -> Converted | Defect:
    """A row as a chat, or the first reason why it is none.

    With ``auto`` each row is taken by its own shape, so that files of several formats may be
    mixed. ``columns`` maps our names of fields to the file's; it decides over shapes.
    """
    try:
        known = mapped(row, columns) if columns else Mapped(row)
        name = format if format != "auto" else _named(known.row, columns)
        refuse_media(known.row)
        notes: list[str] = []
        chat = _READERS[name](known, notes)
        made = Converted(chat, (), name) if name == "text" else checked(chat, notes, name)
        if isinstance(made, Converted) and ("tools" in row or "functions" in row):
            _add_tools(made.chat, known.row)
        if name in _OF_TURNS and format == "auto" and not _SINGLE.isdisjoint(row) and not columns:
            made = _with_other_side(made, row)
    except Unfit as unfit:
        return unfit.defect
    if isinstance(made, Converted):
        rest = unused(known, name, made.chat)
        if rest:
            chosen = bool(columns) or format in ("text", *_OF_TURNS)
            return _with_unused(made, rest, quiet=chosen)
    return made


def _with_unused(made: Converted, fields: Mapping[str, bool], *, quiet: bool) -> Converted:
    """Note the fields that are not learned; ``quiet`` where somebody asked for just this.

    Where a row has a second format beside its turns, that was said already.
    """
    notes = made.notes
    if True in fields.values():
        if quiet or _OTHER_FORMAT in notes:
            fields = dict.fromkeys(fields, False)
        else:
            notes = (*notes, CONTENT_LEFT_OUT)
    return Converted(made.chat, notes, made.format, fields)


def _with_other_side(made: Converted | Defect, row: Mapping[str, Any]) -> Converted | Defect:
    """Note that a row of turns is of a second format as well, which is left out."""
    rest = {key: value for key, value in row.items() if key not in TURNS and value is not None}
    other = "instruction" in rest or (first_of(rest, PROMPTS) and first_of(rest, ANSWERS))
    if other and isinstance(made, Converted):
        return replace(made, notes=(*made.notes, _OTHER_FORMAT))
    return made


def _named(row: Mapping[str, Any], columns: Mapping[str, str] | None) -> Format:
    """The format of a row that was not told; says in words what other training it is for."""
    implied = implied_format(columns) if columns else None
    shape = implied or shape_of(row)
    if shape == "preference":
        raise Unfit(
            "preference_pair",
            "holds two answers to compare (a chosen and a rejected one); this training learns "
            "from one answer a row: map the better one with data.columns, completion = its name",
        )
    if shape == "labelled":
        raise Unfit(
            "labelled_pair",
            "holds an answer and a judgement on it (true or false); this training learns from "
            "good answers only: keep those, and map them with data.columns",
        )
    if shape == "turn":
        raise Unfit(
            "lone_turn",
            "is one turn of a chat, not a chat: put the turns of one chat into one row, "
            '{"messages": [...]}',
        )
    if shape is None:
        names = ", ".join(str(key)[:40] for key in list(row)[:8]) or "none"
        raise Unfit(
            "unknown_format",
            f"the fields are like no known format: {names}; {advice_on(row)}",
        )
    return shape


def _add_tools(chat: Chat, row: Mapping[str, Any]) -> None:
    tools = tools_of(row)
    if tools:
        chat[0]["tools"] = tools


def _alpaca(known: Mapped, notes: list[str]) -> Chat:
    row = known.row
    parts = [_text(row, "instruction", missing="missing_prompt")]
    parts += [_text(row, extra) for extra in known.extras if row.get(extra) is not None]
    chat = _system(row)
    if row.get("history"):
        chat += _history(row["history"])
    chat.append({"role": "user", "content": _joined(parts)})
    chat.append({"role": "assistant", "content": _answer(row, ALPACA_ANSWERS)})
    return chat


def _joined(parts: list[str]) -> str:
    """One question of a question and what it is about, with a blank line between."""
    return parts[0] if len(parts) == 1 else "\n\n".join(part for part in parts if part.strip())


def _history(value: object) -> Chat:
    """Earlier turns of an Alpaca row: a list of pairs of question and answer."""
    chat: Chat = []
    for pair in listed(value, "history"):
        if not (isinstance(pair, list) and len(pair) == 2):
            raise Unfit("wrong_type", "history is not a list of [question, answer]")
        for role, content in zip(("user", "assistant"), pair, strict=True):
            chat.append({"role": role, "content": text_of(content, "history")[0]})
    return chat


def _sharegpt(known: Mapped, notes: list[str]) -> Chat:
    return _turn_list(known, notes, "from", "value")


def _messages(known: Mapped, notes: list[str]) -> Chat:
    return _turn_list(known, notes, "role", "content")


def _turn_list(known: Mapped, notes: list[str], role: str, text: str) -> Chat:
    key = first_of(known.row, TURNS)
    if key is None:
        raise Unfit("missing_turns", f"has no field {' or '.join(TURNS)}")
    keys = (known.role_key or role, known.text_key or text)
    chat = turns(known.row[key], key, *keys, notes, known.roles)
    own = bool(chat) and chat[0]["role"] == "system"
    return chat if own else [*_system(known.row), *chat]


def _prompt_completion(known: Mapped, notes: list[str]) -> Chat:
    row = known.row
    key = first_of(row, PROMPTS)
    if key is None:
        raise Unfit("missing_prompt", f"has no field {' or '.join(PROMPTS)}")
    if isinstance(row[key], list):  # conversational: a list of turns on each side
        answer = first_of(row, ANSWERS)
        if answer is None or not isinstance(row[answer], list):
            raise Unfit("missing_answer", "the prompt is a list of turns, the answer is not")
        keys = (known.role_key or "role", known.text_key or "content")
        return turns([*row[key], *row[answer]], key, *keys, notes, known.roles)
    parts = [_text(row, key, missing="missing_prompt")]
    parts += [_text(row, extra) for extra in extras_of(known, key)]
    return [
        *_system(row),
        {"role": "user", "content": _joined(parts)},
        {"role": "assistant", "content": _answer(row, ANSWERS)},
    ]


def _raw_text(known: Mapped, notes: list[str]) -> Chat:
    key = first_of(known.row, TEXTS)
    if key is None:
        raise Unfit("missing_text", f"has no field {' or '.join(TEXTS)}")
    text = _text(known.row, key, missing="missing_text")
    if not text.strip():
        raise Unfit("empty_text", f"{key} is empty")
    return [{"role": "text", "content": text}]


_READERS: Mapping[str, Callable[[Mapped, list[str]], Chat]] = {
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
    "messages": _messages,
    "prompt_completion": _prompt_completion,
    "text": _raw_text,
}


def _system(row: Mapping[str, Any]) -> Chat:
    """The system turn from a field of the row itself, where it has one that says something."""
    key = first_of(row, SYSTEMS)
    if key is not None and row[key] is not None:
        text = _text(row, key)
        return [{"role": "system", "content": text}] if text.strip() else []
    return []


def _answer(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    key = first_of(row, names)
    if key is None or row[key] is None:
        raise Unfit("missing_answer", f"has no {' or '.join(names)}")
    return _text(row, key)


def _text(row: Mapping[str, Any], key: str, missing: str = "wrong_type") -> str:
    value = row.get(key)
    if value is None:
        raise Unfit(missing, f"has no {key}")
    if not isinstance(value, str):
        raise no_text(value, key)
    return value
