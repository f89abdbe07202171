"""Names of fields: the usual ones of each format, and a mapping where a file has its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from core.config.errors import InputError
from core.data.chats.chat import Format, Unfit

TURNS = ("messages", "conversations", "conversation", "dialogue", "dialog")
PROMPTS = ("prompt", "question", "query", "problem", "input", "user")
ANSWERS = ("completion", "response", "answer", "output", "solution", "reply", "assistant")
ALPACA_ANSWERS = ("output", "response", "answer", "completion")
EXTRAS = ("input", "context")
SYSTEMS = ("system", "system_prompt", "system_message")
TEXTS = ("text", "content")
PREFERENCES = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("response_j", "response_k"),
)
"""Pairs of fields that hold a better and a worse answer."""
LABELS = ("label", "labels", "thumbs_up", "is_good")
"""Fields that judge an answer; a judgement is true or false."""

ROLE_WORDS = ("system", "user", "assistant", "tool")
FIELDS = (
    "messages", "conversations", "role", "content", "from", "value", "prompt", "completion",
    "instruction", "input", "output", "history", "system", "tools", "text", "user", "assistant",
    "tool",
)  # fmt: skip
"""What ``data.columns`` may map: our names of fields, and of roles in lists of turns."""

_IMPLIED: Mapping[Format, frozenset[str]] = {
    "messages": frozenset(("messages", "role", "content")),
    "sharegpt": frozenset(("conversations", "from", "value")),
    "alpaca": frozenset(("instruction", "output", "history")),
    "prompt_completion": frozenset(("prompt", "completion")),
    "text": frozenset(("text",)),
}
_OPTIONAL = ("system", "input", "history", "tools", "role", "content", "from", "value")


class Mapped(NamedTuple):
    """A row under our names, and what the mapping says about the turns inside it."""

    row: Mapping[str, Any]
    role_key: str | None = None
    text_key: str | None = None
    roles: Mapping[str, str] | None = None
    extras: tuple[str, ...] = EXTRAS
    """The fields whose texts are joined to the question."""
    mapped: bool = False
    """Whether there is a mapping at all."""


def check_columns(columns: Mapping[str, str]) -> None:
    """Refuse a mapping that names fields of ours that are not there. Raises InputError."""
    for ours, theirs in columns.items():
        if ours not in FIELDS:
            raise InputError(
                f"data.columns names {ours!r}, which is no field that a format has",
                kind="bad_columns",
                remedies=(f"write one of {', '.join(FIELDS)} = the file's name",),
            )
        if not theirs.strip():
            raise InputError(
                f"data.columns gives no name of the file for {ours}",
                kind="bad_columns",
                remedies=(f"write {ours} = the file's name, or leave {ours} out",),
            )


def implied_format(columns: Iterable[str]) -> Format | None:
    """The format that a mapping of these fields speaks of; None when of none."""
    names = set(columns)
    return next((format for format, fields in _IMPLIED.items() if names & fields), None)  # noqa: A001


def mapped(row: Mapping[str, Any], columns: Mapping[str, str]) -> Mapped:
    """The row under our names: what is mapped, and what else it has under other names.

    Raises Unfit when a field that is needed is not there.
    """
    inner = {
        ours: theirs
        for ours, theirs in columns.items()
        if ours in ("role", "content", "from", "value")
    }
    turns = any(name in columns for name in ("messages", "conversations")) or bool(inner)
    roles = {
        theirs: ours
        for ours, theirs in columns.items()
        if ours in ROLE_WORDS and turns and not (ours == "system" and theirs in row)
    }
    outer = {o: t for o, t in columns.items() if o not in inner and t not in roles}
    rest = {k: v for k, v in row.items() if k not in outer and k not in outer.values()}
    for ours, theirs in outer.items():
        if theirs in row:
            rest[ours] = row[theirs]
        elif ours not in _OPTIONAL:
            raise Unfit("missing_column", _absent(theirs, ours, row))
    return Mapped(
        rest, inner.get("role") or inner.get("from"), inner.get("content") or inner.get("value"),
        roles or None, _extras(columns), True,
    )  # fmt: skip


def _extras(columns: Mapping[str, str]) -> tuple[str, ...]:
    """What is joined to the question: who maps the prompt or an input has said what belongs to
    it."""
    if "input" in columns:
        return ("input",)
    return () if "prompt" in columns else EXTRAS


def _absent(theirs: str, ours: str, row: Mapping[str, Any]) -> str:
    names = [str(key)[:40] for key in row]
    near = get_close_matches(theirs, names, 1)
    said = f"has no {theirs}, which data.columns names for {ours}"
    there = f"; there are {', '.join(names[:8])}" if names else ""
    return said + there + (f"; the nearest is {near[0]}" if near else "")


def first_of(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The first of these fields that the row has with a value, else the first that it has."""
    empty = None
    for name in names:
        if name in row:
            if row[name] is not None:
                return name
            empty = empty or name
    return empty
