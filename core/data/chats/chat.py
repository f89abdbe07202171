"""The one shape that every row becomes: a chat. And the words for a row that cannot become one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

Format = Literal["alpaca", "sharegpt", "messages", "prompt_completion", "text"]
"""The formats that rows are read as."""


ROLE_LETTERS = {"system": "s", "user": "u", "assistant": "a", "tool": "t", "text": "x"}
"""Roles as letters, so that the order of a chat's turns is a short word."""


class Message(TypedDict):
    """One turn. ``role`` is system, user, assistant or tool; ``text`` for raw text."""

    role: str
    content: str
    tool_calls: NotRequired[list[Any]]
    """What an assistant's turn calls: ``{"type": "function", "function": {name, arguments}}``."""
    tool_call_id: NotRequired[str]
    """Which call a tool's turn answers."""
    name: NotRequired[str]
    """The tool that a tool's turn comes from."""
    reasoning_content: NotRequired[str]
    """What an assistant thought before it spoke."""
    tools: NotRequired[list[Any]]
    """The tools of the whole chat; on its first message only, and no part of that turn."""


Chat = list[Message]
"""An optional system turn, then user and assistant in turns, with tools' turns after the
assistant's calls; the last one is the assistant's. Or one message with the role ``text``."""


@dataclass(frozen=True)
class Converted:
    """A chat that can be learned from, and what was done to it (words for counting)."""

    chat: Chat
    notes: tuple[str, ...] = ()
    format: str = field(default="", compare=False)
    """The format that the row was read as."""
    unused: Mapping[str, bool] = field(default_factory=dict, compare=False)
    """Fields that became no part of the chat; True for those that look as if they should."""


@dataclass(frozen=True)
class Defect:
    """Why a row is no chat: ``reason`` for counting, ``detail`` for a person."""

    reason: str
    detail: str


class Unfit(Exception):  # noqa: N818 - carries a defect, is none of the program's
    """Ends the conversion of a row at its first defect."""

    def __init__(self, reason: str, detail: str):
        self.defect = Defect(reason, detail)


AS_PYTHON = ": written as Python shows it; write it with json.dumps"
"""What to add about a text that was meant to be JSON."""


def no_text(value: object, where: str) -> Unfit:
    """Why a value cannot be learned as a text. Readers of columns leave bytes that are no UTF-8
    as their number."""
    if isinstance(value, dict) and value.keys() == {"bytes"} and type(value["bytes"]) is int:
        return Unfit("not_utf8", f"{where} is bytes that are not UTF-8: write it as text")
    return Unfit("wrong_type", f"{where} is {kind_of(value)}, not a text")


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def side_of(role: str) -> str:
    """Which side of a lesson a role stands on, as reasons name it."""
    return "answer" if role == "assistant" else "prompt"
