"""What a template makes of a chat's contents: what it drops, changes, or leaves out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from core.data.chats.chat import Chat, Message
from core.data.tokens.layout import Span
from core.data.tokens.template import TemplateFault, tools_of

Findings = dict[str, str]
"""Words for counting, each with a sentence for a person."""

_SHOWN = 60
_KNOWN = 4
"""Letters by which the place of a changed content is known again."""


def compare(chat: Chat, text: str) -> Findings:
    """Contents that are not in the rendering as they stand, white space at their ends aside."""
    findings: Findings = {}
    for number, message in enumerate(chat, 1):
        thought = thought_of(message)
        if thought and thought not in text:
            findings["reasoning_dropped"] = (
                f"the template leaves out the reasoning of turn {number}: {_head(thought)}"
            )
        words = message["content"].strip()
        if thought and words not in text:
            words = words.rpartition("</think>")[2].strip()
        if (
            words not in text
            and not _quoted(words, text)
            and "template_changes_content" not in findings
        ):
            findings["template_changes_content"] = (
                f"turn {number} ({message['role']}): {_difference(words, text)}"
            )
    return findings


def thought_of(message: Message) -> str:
    """An answer's reasoning, from its own field or from ``<think>`` in the content."""
    if message["role"] != "assistant":
        return ""
    own = message.get("reasoning_content")
    if own:
        return str(own).strip()
    head, mark, _ = message["content"].rpartition("</think>")
    return head.partition("<think>")[2].strip() if mark else ""


def ignored_tools(
    chat: Chat,
    text: str,
    spans: Sequence[Span | None],
    without_tools: str | TemplateFault | None,
) -> str:
    """What of a chat's tools the template leaves out, in words; empty when nothing."""
    if tools_of(chat) and without_tools == text:
        return "the definitions of the tools"
    answers, reached = list(spans), 0
    for number, message in enumerate(chat, 1):
        if message["role"] == "assistant":
            span = answers.pop(0)
            said = text[span.start : span.end or len(text)] if span else text[reached:]
            reached = span.said if span else reached
            for call in message.get("tool_calls") or ():
                missing = next((part for part in _call_parts(call) if part not in said), None)
                if missing is not None:
                    return f"a tool call of turn {number}: {_head(missing)}"
        elif message["role"] == "tool":
            words, following = message["content"].strip(), answers[0] if answers else None
            between = text[reached : following.start if following else len(text)]
            if words not in between and not _quoted(words, between):
                return f"the tool's result in turn {number}: {_head(words)}"
    return ""


def _call_parts(call: Any) -> list[str]:
    """What has to be seen of a tool call: its name, and what its arguments are called."""
    function = call.get("function", call) if isinstance(call, dict) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    names = list(arguments) if isinstance(arguments, dict) else []
    return [str(part) for part in (function.get("name", ""), *names)]


def _quoted(words: str, text: str) -> bool:
    """Whether the text has the words as a JSON text, as some templates write tool results."""
    return any(json.dumps(words, ensure_ascii=flag)[1:-1] in text for flag in (False, True))


def _difference(words: str, text: str) -> str:
    """Where the template's text parts from a content."""
    low, high = 0, len(words)
    while low < high:  # the longest beginning of the words that the text has
        middle = (low + high + 1) // 2
        low, high = (middle, high) if words[:middle] in text else (low, middle - 1)
    if low < min(len(words), _KNOWN):
        return f"the template leaves {_head(words)} out"
    place = text.find(words[:low])
    begin = max(0, low - _SHOWN // 2)
    theirs = text[place + begin : place + low + _SHOWN // 2]
    return f"the row has {_head(words[begin:])}, the template prints {_head(theirs)}"


def _head(text: str) -> str:
    return json.dumps(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…", ensure_ascii=False)
