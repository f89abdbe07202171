"""Lists of turns, as ShareGPT, messages and conversational prompts have them, to a chat.

Contents are taken as they stand: no stripping, no repair of what a person wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from core.data.chats.chat import (
    AS_PYTHON,
    Chat,
    Converted,
    Defect,
    Message,
    Unfit,
    kind_of,
    no_text,
    side_of,
)
from core.data.chats.nesting import deeper_than

ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "function_call": "call",
    "tool_call": "call",
}
"""What the roles of known formats mean here; ``call`` is an assistant's turn that is a call."""

_REASONING = ("reasoning_content", "reasoning", "thinking")
_WEIGHTS = frozenset(("weight", "train", "training"))
_MEDIA = frozenset(("images", "image", "audio", "audios", "videos", "video"))
_MEDIA_PARTS = _MEDIA | frozenset(
    ("image_url", "input_image", "input_audio", "audio_url", "video_url", "file", "input_file")
)
"""Types and fields of parts of a content that are no text."""


def turns(
    value: object,
    field: str,
    role_key: str,
    text_key: str,
    notes: list[str],
    own_roles: Mapping[str, str] | None = None,
) -> Chat:
    """The turns of one row. A list that is written as JSON text is read, and noted.

    ``own_roles`` are the file's own words for roles. Raises Unfit.
    """
    if isinstance(value, str):
        notes.append("turns_parsed_from_text")
    roles = {**ROLES, **own_roles} if own_roles else ROLES
    chat: Chat = []
    for number, turn in enumerate(listed(value, field), 1):
        if type(turn) is dict and len(turn) == 2:  # nearly all are; it saves half of the time
            name, content = turn.get(role_key), turn.get(text_key)
            if type(name) is str and type(content) is str:
                role = roles.get(name)
                if role is not None and role != "call":
                    chat.append({"role": role, "content": content})
                    continue
        chat.append(_turn(turn, number, role_key, text_key, notes, roles))
    return chat


def listed(value: object, field: str) -> list[Any]:
    """A list, also one that is written as JSON text, as columns of a table have it."""
    if isinstance(value, str):
        value = _parsed(value, field)
    if not isinstance(value, list):
        raise Unfit("wrong_type", f"{field} is {kind_of(value)}, not a list")
    return value


def refuse_media(row: Mapping[str, Any]) -> None:
    """Pictures and sound cannot be learned from here: say so instead of leaving them out."""
    if _MEDIA.isdisjoint(row):
        return
    for key in row:
        if key in _MEDIA and row[key]:
            raise Unfit("unsupported_field", f"has {key}, which would be lost: text only")


def tools_of(row: Mapping[str, Any]) -> list[Any]:
    """The tool definitions of a row; empty where it has none."""
    value = row.get("tools") or row.get("functions")
    if not value:
        return []
    if isinstance(value, str):
        value = _parsed(value, "tools")
    if not (isinstance(value, list) and all(isinstance(tool, dict) for tool in value)):
        raise Unfit("broken_tools", f"tools is {kind_of(value)}, not a list of objects")
    return [
        tool if "function" in tool or "type" in tool else {"type": "function", "function": tool}
        for tool in value
    ]


def checked(chat: Chat, notes: list[str], format: str) -> Converted | Defect:  # noqa: A002
    """Apply the rules on the order of turns that all formats share."""
    done = notes
    if chat and chat[0]["role"] == "system" and not chat[0]["content"].strip():
        chat = chat[1:]
        done.append("empty_system_dropped")
    first = 1 if chat and chat[0]["role"] == "system" else 0
    if "assistant" not in [turn["role"] for turn in chat]:
        return Defect("no_assistant", "has no turn of the assistant: nothing to learn")
    before = ""
    for number, turn in enumerate(chat[first:], 1):
        defect = _wrong_turn(turn, number, before)
        if defect is not None:
            return defect
        before = turn["role"]
    while chat[-1]["role"] != "assistant":
        done.append(f"last_{chat[-1]['role']}_turn_cut")
        chat = chat[:-1]
    return Converted(chat, tuple(done), format)


def _wrong_turn(turn: Message, number: int, before: str) -> Defect | None:
    """What is wrong with a turn that follows one of the role ``before``."""
    role = turn["role"]
    if role == "system":
        return Defect("system_not_first", f"turn {number} is a system turn; it must come first")
    if role == "tool":
        if before not in ("assistant", "tool"):
            return Defect("tool_without_call", f"turn {number} is a tool's; nothing called it")
        return None
    if role == before:
        return Defect(f"two_{role}s_in_a_row", f"turns {number - 1} and {number} are both {role}")
    if role == "assistant" and not before:
        return Defect("starts_with_assistant", "the assistant speaks before the user")
    if role == "user" and before == "tool":
        return Defect("unanswered_tool", f"turn {number} goes on before a tool's result is used")
    if not turn["content"].strip() and "tool_calls" not in turn:
        return Defect(f"empty_{side_of(role)}", f"turn {number} ({role}) is empty")
    return None


def _turn(
    turn: object,
    number: int,
    role_key: str,
    text_key: str,
    notes: list[str],
    roles: Mapping[str, str],
) -> Message:
    if not isinstance(turn, dict):
        raise Unfit("wrong_type", f"turn {number} is {kind_of(turn)}, not an object")
    role = _role(turn, number, role_key, roles)
    if not _WEIGHTS.isdisjoint(turn) and any(turn.get(key, 1) in (0, False) for key in _WEIGHTS):
        notes.append("turn_weight_ignored")
    if role == "call":
        return _spoken_call(turn, number, text_key)
    message: Message = {"role": role, "content": ""}
    if role == "assistant":
        _add_calls(message, turn, number)
        _add_reasoning(message, turn, number)
    elif role == "tool":
        for key in ("tool_call_id", "name"):
            if isinstance(turn.get(key), str):
                message[key] = turn[key]
    refuse_media(turn)
    _add_content(message, turn, number, text_key)
    return message


def _role(turn: Mapping[str, Any], number: int, key: str, roles: Mapping[str, str]) -> str:
    name = turn.get(key)
    if name is None:
        raise Unfit("missing_role", f"turn {number} has no {key}")
    role = None
    if isinstance(name, str):
        role = roles.get(name) or roles.get(name.strip().lower())
    if role is None:
        known = ", ".join(roles)
        shown = str(name)[:40]
        raise Unfit("unknown_role", f"turn {number} has the role {shown!r}; known: {known}")
    return role


def _add_content(message: Message, turn: Mapping[str, Any], number: int, key: str) -> None:
    role, content = message["role"], turn.get(key)
    if isinstance(content, str):
        message["content"] = content
    elif content is None:
        if "tool_calls" in message:
            return
        if key not in turn:
            raise Unfit(f"missing_{side_of(role)}", f"turn {number} has no field {key}")
        raise Unfit(f"empty_{side_of(role)}", f"turn {number} ({role}) is null")
    else:
        message["content"], thoughts = text_of(content, f"{key} of turn {number}")
        if thoughts and role == "assistant":
            message["reasoning_content"] = message.get("reasoning_content", "") + thoughts


def text_of(value: object, where: str) -> tuple[str, str]:
    """Text and thoughts of a content, which may be a list of parts as long as all are text."""
    if isinstance(value, str):
        return value, ""
    if not (isinstance(value, list) and value):
        raise no_text(value, where)
    said, thought = [], []
    for part in value:
        if isinstance(part, str):
            said.append(part)
        elif isinstance(part, dict) and isinstance(part.get("thinking"), str):
            thought.append(part["thinking"])
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            (thought if part.get("type") == "reasoning" else said).append(part["text"])
        else:
            raise _odd_part(part, where)
    return "".join(said), "".join(thought)


def _odd_part(part: object, where: str) -> Unfit:
    """Why a part of a content cannot be learned."""
    kind = str(part.get("type") or "")[:40] if isinstance(part, dict) else ""
    names = {kind, *part} if isinstance(part, dict) else set()
    if not names.isdisjoint(_MEDIA_PARTS):
        said = kind or ", ".join(sorted(map(str, names & _MEDIA_PARTS)))
        return Unfit(
            "unsupported_field",
            f"{where} holds {said}: pictures, sound and files are not learned, text only",
        )
    said = f" ({kind})" if kind else ""
    return Unfit("wrong_type", f"{where} has parts that are not text{said}")


def _add_reasoning(message: Message, turn: Mapping[str, Any], number: int) -> None:
    for key in _REASONING:
        value = turn.get(key)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise Unfit("wrong_type", f"{key} of turn {number} is {kind_of(value)}, not a text")
        message["reasoning_content"] = value
        return


def _add_calls(message: Message, turn: Mapping[str, Any], number: int) -> None:
    calls = turn.get("tool_calls")
    if not calls and turn.get("function_call"):
        calls = [turn["function_call"]]
    if not calls:
        return
    if isinstance(calls, str):
        calls = _parsed(calls, "tool_calls")
    if not isinstance(calls, list):
        raise Unfit("broken_tool_call", f"tool_calls of turn {number} is {kind_of(calls)}")
    message["tool_calls"] = [_call(call, number) for call in calls]


def _spoken_call(turn: Mapping[str, Any], number: int, key: str) -> Message:
    """A turn of the role ``function_call``: its text is the call, as JSON."""
    value = turn.get(key)
    if isinstance(value, str):
        value = _parsed(value, f"the call of turn {number}")
    calls = value if isinstance(value, list) and value else [value]
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [_call(call, number) for call in calls],
    }


def _call(call: object, number: int) -> dict[str, Any]:
    """One call in the common form; arguments that are JSON text become an object.

    Chat templates print arguments as JSON themselves: a text would be quoted a second time.
    """
    if isinstance(call, dict):
        function = call.get("function", call)
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name:
            arguments = function.get("arguments", function.get("parameters"))
            if isinstance(arguments, str):
                arguments = _parsed(
                    arguments or "{}", f"the arguments of the call in turn {number}"
                )
            if arguments is None or isinstance(arguments, dict):
                made = {"name": name, "arguments": arguments or {}}
                known = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
                return {**known, "type": "function", "function": made}
    raise Unfit(
        "broken_tool_call", f"turn {number} has a call without a name or with odd arguments"
    )


def _parsed(text: str, where: str) -> Any:
    """JSON that stands in a text. Raises Unfit."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        reason = "wrong_type" if "call" not in where else "broken_tool_call"
        hint = AS_PYTHON if text.lstrip("[ \n").startswith("{'") else ""
        raise Unfit(reason, f"{where} is a text that is no JSON: {error.msg}{hint}") from error
    if deeper_than(value):
        raise Unfit("too_deep", f"{where} is nested too deep")
    return value
