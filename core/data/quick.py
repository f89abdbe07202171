"""The plainest rows of the usual formats as chats, at a fraction of the cost.

Only a short way through ``formats.to_chat``: for every row that is taken here the two agree, which
a test holds. All others are left to it.
"""

from __future__ import annotations

from typing import Any

import orjson

from core.data.chats.formats import Chat, Format
from core.data.read import row as limits
from core.data.read.lines import has_quotes

_ALPACA = frozenset({"instruction", "input", "output"})
_NEXT = {"user": "assistant", "assistant": "user"}


def quick_line(raw: bytes) -> tuple[dict[str, Any], Chat, Format] | None:
    """A line of JSON as its row, chat and format; None for all but good lines of plain rows.

    All that a plain row has is names and texts, so the quotes of a good line are known; a field
    that stands twice has more of them (see ``lines``).
    """
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if type(row) is not dict or len(raw) > limits.LINE_LIMIT_BYTES:
        return None
    quick = quick_chat(row)
    if quick is None:
        return None
    chat, name = quick
    quotes = 2 + 8 * len(chat) if name == "messages" else 4 * len(row)
    return (row, chat, name) if has_quotes(raw, quotes) else None


def quick_chat(row: dict[str, Any]) -> tuple[Chat, Format] | None:
    """A row of nothing but the usual fields, all in order, and its format; None for others."""
    if "instruction" in row:
        chat = _alpaca(row)
        name: Format = "alpaca"
    elif "messages" in row:
        chat = _messages(row)
        name = "messages"
    else:
        chat = _pair(row)
        name = "prompt_completion"
    return None if chat is None else (chat, name)


def _alpaca(row: dict[str, Any]) -> Chat | None:
    if len(row) > len(_ALPACA) or not row.keys() <= _ALPACA:
        return None
    asked, more, answer = row["instruction"], row.get("input", ""), row.get("output")
    if type(asked) is not str or type(more) is not str or type(answer) is not str:
        return None
    if asked.isspace() or not asked or answer.isspace() or not answer:
        return None
    if more and not more.isspace():
        asked = f"{asked}\n\n{more}"
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _pair(row: dict[str, Any]) -> Chat | None:
    if len(row) != 2:
        return None
    asked, answer = row.get("prompt"), row.get("completion")
    if type(asked) is not str or type(answer) is not str:
        return None
    if asked.isspace() or not asked or answer.isspace() or not answer:
        return None
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _messages(row: dict[str, Any]) -> Chat | None:
    turns = row["messages"]
    if len(row) != 1 or type(turns) is not list or len(turns) < 2:
        return None
    wanted = "user"
    for number, turn in enumerate(turns):
        if type(turn) is not dict or len(turn) != 2:
            return None
        role, content = turn.get("role"), turn.get("content")
        if type(content) is not str or content.isspace() or not content:
            return None
        if role == wanted:
            wanted = _NEXT[wanted]
        elif role != "system" or number:
            return None
    return turns if wanted == "user" else None
