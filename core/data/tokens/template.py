"""Chat templates: the Jinja text that comes with a model, rendered as transformers does.

Templates are foreign code: they run in a process of their own, see ``sandbox.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from core.config.errors import InputError
from core.data.chats.chat import Chat
from core.data.tokens.renderer import RENDERER, STRIKES, RenderJob, TemplateFault
from core.data.tokens.sandbox import CLOSE, OPEN

__all__ = ["FALLBACK", "ChatTemplate", "Marked", "RenderJob", "TemplateFault", "tools_of"]

FALLBACK = """\
{%- if bos_token and bos_token != eos_token %}{{ bos_token }}{% endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '### Response:\\n' + message.content + (eos_token or '') + '\\n\\n' }}
    {%- elif message.role == 'user' %}
        {{- '### Instruction:\\n' + message.content + '\\n\\n' }}
    {%- else %}
        {{- message.content + '\\n\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}
"""
"""Our own plain template, for models that come without one."""

_MARK = re.compile(f"[{OPEN}{CLOSE}]")
_REASONING = ("reasoning_content", "thinking", "reasoning")


@dataclass(frozen=True)
class Marked:
    """A rendering, and the spans of it that the template itself marks as generated."""

    text: str
    spans: tuple[tuple[int, int], ...]


class ChatTemplate:
    """One compiled template. ``variables`` are the special tokens that it may print.

    ``tool_source`` is the template for chats with tools, where a model has one apart.
    """

    def __init__(
        self,
        source: str,
        variables: Mapping[str, str],
        origin: str,
        tool_source: str | None = None,
    ):
        """Compile ``source``. Raises InputError when it is not valid Jinja."""
        self.source = source
        self.origin = origin
        """Where the template comes from, in words."""
        self._number = _compiled(source, variables, origin)
        self._tool_number = (
            self._number if tool_source is None else _compiled(tool_source, variables, origin)
        )

    @cached_property
    def has_marks(self) -> bool:
        """Whether the template marks what the model generates."""
        return re.search(r"\{%-?\s*generation\s*-?%\}", self.source) is not None

    def render(self, chat: Chat, *, add_generation_prompt: bool = False) -> str:
        """The chat as the model sees it. Raises TemplateFault."""
        (result,) = self.render_many([self.job(chat, add_generation_prompt=add_generation_prompt)])
        if isinstance(result, TemplateFault):
            raise result
        return result

    def job(
        self, chat: Chat, *, add_generation_prompt: bool = False, marks: bool = False
    ) -> RenderJob:
        """A rendering to ask ``render_many`` for."""
        return RenderJob(_plain(chat), tools_of(chat), add_generation_prompt, marks)

    def render_many(self, jobs: Sequence[RenderJob]) -> list[str | TemplateFault]:
        """The text of each job, or why there is none: much faster than one by one.

        Raises InputError for a template that had to be stopped again and again.
        """
        results = RENDERER.render(self._number, jobs)
        if self._tool_number != self._number:
            places = [place for place, job in enumerate(jobs) if job.tools]
            texts = RENDERER.render(self._tool_number, [jobs[place] for place in places])
            for place, text in zip(places, texts, strict=True):
                results[place] = text
        for number in {self._number, self._tool_number}:
            if RENDERER.worn_out(number):
                raise _unusable(self.origin, f"it was stopped {STRIKES} times: {_why(results)}")
        return results


def unmarked(text: str) -> Marked:
    """A rendering with marks, taken apart."""
    parts, spans, start, length = _MARK.split(text), [], 0, 0
    for mark, part in zip(["", *_MARK.findall(text)], parts, strict=True):
        if mark == OPEN:
            start = length
        elif mark == CLOSE:
            spans.append((start, length))
        length += len(part)
    return Marked("".join(parts), tuple(spans))


def tools_of(chat: Chat) -> list[Any] | None:
    """The tool definitions that travel with a chat's first message."""
    return chat[0].get("tools") or None if chat else None


def _plain(chat: Chat) -> list[dict[str, Any]]:
    """The messages as templates get them from transformers."""
    return [
        {"role": message["role"], "content": message["content"]}
        if len(message) == 2
        else _whole(message)
        for message in chat
    ]


def _whole(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with more than a text: nothing empty in it, its reasoning under all its names."""
    plain = {key: value for key, value in message.items() if value is not None and key != "tools"}
    thought = next((plain[key] for key in _REASONING if key in plain), None)
    if thought is not None:
        plain = {"thinking": thought, **plain, "reasoning_content": thought}
    if "tool_calls" in plain:
        plain["tool_calls"] = [_call(call) for call in plain["tool_calls"]]
    return plain


def _call(call: Any) -> Any:
    """A tool call whose arguments are values: as text, some templates would quote them twice."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return call
    if not isinstance(arguments, dict):
        return call
    changed = {**function, "arguments": arguments}
    return {**call, "function": changed} if "function" in call else changed


def _compiled(source: str, variables: Mapping[str, str], origin: str) -> int:
    try:
        return RENDERER.compile(source, variables)
    except TemplateFault as fault:
        raise _unusable(origin, str(fault)) from fault


def _unusable(origin: str, why: str) -> InputError:
    return InputError(
        f"the chat template ({origin}) cannot be used: {why}",
        kind="bad_template",
        remedies=("repair the model's chat_template.jinja, or use another model",),
    )


def _why(results: Sequence[str | TemplateFault]) -> str:
    return next((str(text) for text in results if isinstance(text, TemplateFault)), "no reply")
