"""Where the turns of a chat are in a rendering: found by renderings of its beginnings.

A layout is what such renderings of a made-up chat tell of all chats with the same roles: the
template's own text around each content. It holds for a row only if that text and the row's
contents, put together, are the row's whole rendering; else the row's own beginnings are rendered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.data.chats.chat import Chat, Message
from core.data.tokens.template import ChatTemplate, RenderJob, TemplateFault

_SPACE = "\t\u2003", "\u2003\t"
_BEGIN, _END = "\U000f0021", "\U000f0022"
"""Around the contents of a made-up chat: nothing that a template or a person writes."""

_HEADER_SEARCH = 64
"""Characters that an answer and a template's opening of it may have in common."""


@dataclass(frozen=True)
class Span:
    """One assistant turn in the text.

    ``said`` is where the assistant's own words end, and from where a stop token is looked for;
    ``end`` where the turn ends for the template, None where that is not known.
    """

    start: int
    said: int
    end: int | None


@dataclass(frozen=True)
class Layout:
    """How a template lays out a chat of certain roles."""

    literals: tuple[str, ...]
    """What it writes before each content, and after the last."""
    kept: tuple[tuple[bool, bool], ...]
    """For each content, whether white space before and after it stays."""
    turns: tuple[tuple[int, int, int | None], ...]
    """For each answer: its message, the characters before and after its content that belong to
    the turn; None where its end is not known."""
    notes: Mapping[str, str]

    def fit(self, text: str, chat: Chat) -> tuple[Span, ...] | None:
        """The answers of a chat whose rendering is ``text``; None where it is not laid out so."""
        parts, places, length = [self.literals[0]], [], len(self.literals[0])
        for message, (left, right), literal in zip(chat, self.kept, self.literals[1:], strict=True):
            content = _trimmed(message["content"], left, right)
            places.append((length, length + len(content)))
            length += len(content) + len(literal)
            parts += [content, literal]
        if length != len(text) or "".join(parts) != text:
            return None
        spans = []
        for index, back, on in self.turns:
            start, end = places[index]
            said = start + len(text[start:end].rstrip())
            spans.append(Span(start - back, said, None if on is None else end + on))
        return tuple(spans)


def learn(template: ChatTemplate, roles: Sequence[str]) -> Layout | None:
    """The layout of chats with these roles; None where the template has none that holds."""
    chat: Chat = [
        {"role": role, "content": f"{_SPACE[0]}{_BEGIN}{number}{_END}{_SPACE[1]}"}
        for number, role in enumerate(roles)
    ]
    whole, *results = template.render_many([template.job(chat), *prefix_jobs(template, chat)])
    if isinstance(whole, TemplateFault):
        return None
    parts = _taken_apart(whole, len(chat))
    if parts is None:
        return None
    literals, kept, places = parts
    spans = spans_of(whole, chat, results)
    turns = [number for number, role in enumerate(roles) if role == "assistant"]
    layout_turns = []
    for index, span in zip(turns, spans, strict=True):
        if span is None:
            return None
        start, end = places[index]
        layout_turns.append(
            (index, start - span.start, None if span.end is None else span.end - end)
        )
        if span.start > start or (span.end is not None and span.end < end):
            return None
    if any(a is None or b is None or a.said > b.start for a, b in pairwise(spans)):
        return None
    notes = _notes(whole, [results[2 * n] for n in range(len(turns))], spans, places, turns)
    return Layout(tuple(literals), tuple(kept), tuple(layout_turns), notes)


def prefix_jobs(template: ChatTemplate, chat: Chat) -> list[RenderJob]:
    """For each answer: the chat up to it with the header that asks for it, and up to its end."""
    whole = template.job(chat)
    jobs = []
    for index, message in enumerate(chat):
        if message["role"] == "assistant":
            jobs.append(RenderJob(whole.messages[:index], whole.tools, True))
            jobs.append(RenderJob(whole.messages[: index + 1], whole.tools))
    return jobs


def spans_of(text: str, chat: Chat, prefixes: Sequence[str | TemplateFault]) -> list[Span | None]:
    """The place of each answer by the renderings of ``prefix_jobs``; None where they disagree."""
    answers = [message for message in chat if message["role"] == "assistant"]
    return [
        _span(text, prefixes[2 * number], prefixes[2 * number + 1], message)
        for number, message in enumerate(answers)
    ]


def _span(
    text: str, before: str | TemplateFault, after: str | TemplateFault, message: Message
) -> Span | None:
    # Some templates refuse a chat that ends here.
    if isinstance(before, TemplateFault) or isinstance(after, TemplateFault):
        return None
    start = _start(text, before, message)
    if start is None:
        return None
    if text.startswith(after) and len(after) > start:
        return Span(start, _said(text, start, len(after), message), len(after))
    end = _moved_end(text, start, after, message)
    if end is not None:
        return Span(start, _said(text, start, end, message), end)
    said = _follows(text, start, message)
    return None if said is None else Span(start, said, None)


def _start(text: str, before: str, message: Message) -> int | None:
    """Where the answer begins: after the header that asks for it."""
    if text.startswith(before):
        return len(before)
    # The header goes on with something that finished answers do not have, such as the opening of
    # a thought: the answer's words must then follow where the two part.
    parting = next(
        (place for place, (a, b) in enumerate(zip(text, before, strict=False)) if a != b), len(text)
    )
    if not message["content"].strip():
        return None
    for start in range(parting, max(0, parting - _HEADER_SEARCH), -1):
        words = _skipped(text, start)
        for said in _wordings(message):
            if text.startswith(said, words) and words + len(said) >= parting:
                return start
    return None


def _moved_end(text: str, start: int, after: str, message: Message) -> int | None:
    """The end of a turn that begins otherwise in the whole chat than where it is the last.

    Templates leave an earlier turn's thought out; all else of the turn must follow at ``start``.
    """
    probe, place, words = text[start : start + 3], start, _wordings(message)
    while probe and (place := after.find(probe, place + 1)) >= 0:
        rest = after[place:]
        if text.startswith(rest, start) and (not words or any(said in rest for said in words)):
            return start + len(rest)
    return None


def _said(text: str, start: int, end: int, message: Message) -> int:
    """Where the assistant's words end; the whole turn where the template changed them."""
    stripped = start + len(text[start:end].rstrip())
    if message.get("tool_calls"):
        return stripped  # the calls come after the words
    said = _follows(text, start, message)
    if said is not None and said <= end:
        return said
    # Something of the template's stands before the words, such as an empty thought.
    for words in _wordings(message):
        place = text.rfind(words, start, end)
        if place >= 0:
            return place + len(words)
    return stripped


def _follows(text: str, start: int, message: Message) -> int | None:
    """Where the turn's words end if they begin at ``start``, white space aside."""
    words, start = message["content"].strip(), _skipped(text, start)
    return start + len(words) if text.startswith(words, start) else None


def _skipped(text: str, start: int) -> int:
    """The next place that is no white space."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _wordings(message: Message) -> list[str]:
    """An answer's words, and those after its thought."""
    content = message["content"]
    wordings = (content.strip(), content.rpartition("</think>")[2].strip())
    return [words for words in dict.fromkeys(wordings) if words]


def _taken_apart(
    text: str, count: int
) -> tuple[list[str], list[tuple[bool, bool]], list[tuple[int, int]]] | None:
    """The made-up chat's rendering as literals, kept white space and places of contents."""
    literals, kept, places, reached = [], [], [], 0
    for number in range(count):
        core = f"{_BEGIN}{number}{_END}"
        start = text.find(core, reached)
        if start < 0 or text.count(core) != 1:
            return None
        end = start + len(core)
        left, right = text.endswith(_SPACE[0], reached, start), text.startswith(_SPACE[1], end)
        start -= len(_SPACE[0]) * left
        end += len(_SPACE[1]) * right
        literals.append(text[reached:start])
        kept.append((left, right))
        places.append((start, end))
        reached = end
    return [*literals, text[reached:]], kept, places


def _trimmed(content: str, left: bool, right: bool) -> str:
    if not left:
        content = content.lstrip()
    return content if right else content.rstrip()


def _notes(
    text: str,
    befores: Sequence[str | TemplateFault],
    spans: Sequence[Span | None],
    places: Sequence[tuple[int, int]],
    turns: Sequence[int],
) -> dict[str, str]:
    """What is to be known of all rows with this layout."""
    notes = {}
    for before, span, index in zip(befores, spans, turns, strict=True):
        if span is None or not isinstance(before, str):
            continue
        own = text[span.start : places[index][0]]
        if own.strip():
            notes["template_text_trained"] = (
                f"the template itself writes {json.dumps(own)} before an answer; it carries loss, "
                "since the model has to write it when it is asked"
            )
        more = before[span.start :]
        if more.strip():
            notes["prompt_differs"] = (
                f"when the model is asked, the template goes on with {json.dumps(more)}, which "
                "finished answers do not have"
            )
    return notes
