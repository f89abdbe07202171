"""Which characters of a rendered chat carry loss: what the assistant says, for any template.

The method compares renderings. The text up to an assistant's turn, with the header that asks for
it (``add_generation_prompt``), must be the beginning of the whole text; so must the text up to the
end of that turn. What lies between them is what the model has to produce.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from core.data.formats import Chat, Message
from core.data.template import ChatTemplate, TemplateFault


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
class Masked:
    """A rendered chat and the turns that carry loss, in order. ``note`` says how, for counting."""

    text: str
    spans: tuple[Span, ...]
    note: str = ""


class UnmaskableError(Exception):
    """No way was found to tell the assistant's words from the rest."""


def mask(template: ChatTemplate, chat: Chat) -> Masked:
    """Render a chat and find what carries loss.

    Raises TemplateFault when the template refuses the chat, UnmaskableError when it rewrites
    turns in a way that leaves nothing to compare.
    """
    text = template.render(chat)
    turns = [index for index, message in enumerate(chat) if message["role"] == "assistant"]
    spans = [_span(template, chat, index, text) for index in turns]
    found = [span for span in spans if span is not None]
    if len(found) == len(spans) and _ordered(found):
        return Masked(text, tuple(found))
    if template.has_marks:
        marked = template.render_marked(chat)
        if marked.text == text and marked.spans:
            return Masked(text, tuple(_marked_span(text, s, e) for s, e in marked.spans), "marks")
    if spans and spans[-1] is not None:
        return Masked(text, (spans[-1],), "only_last_answer_trained")
    raise UnmaskableError(
        "the template rewrites this chat so that its answers cannot be told from the rest"
    )


def _span(template: ChatTemplate, chat: Chat, index: int, text: str) -> Span | None:
    """The place of one assistant turn, or None where the renderings do not agree."""
    try:
        before = template.render(chat[:index], add_generation_prompt=True)
        if not text.startswith(before):
            return None
        after = template.render(chat[: index + 1])
    except TemplateFault:
        return None  # some templates refuse a chat that ends here
    start = len(before)
    if text.startswith(after) and len(after) > start:
        return Span(start, _said(text, start, len(after), chat[index]), len(after))
    return _located(text, start, chat[index])


def _located(text: str, start: int, message: Message) -> Span | None:
    """A turn whose end the template rewrites later: its words must follow the header at once."""
    said = _follows(text, start, message)
    return None if said is None else Span(start, said, None)


def _said(text: str, start: int, end: int, message: Message) -> int:
    """Where the assistant's words end; the whole turn where the template changed them."""
    said = _follows(text, start, message)
    if said is not None and said <= end:
        return said
    # Something of the template's stands before the words, such as an empty thought.
    words = message["content"].strip()
    place = text.rfind(words, start, end)
    return place + len(words) if place >= 0 else end


def _follows(text: str, start: int, message: Message) -> int | None:
    """Where the turn's words end if they begin at ``start``, white space aside."""
    words = message["content"].strip()
    while start < len(text) and text[start].isspace():
        start += 1
    return start + len(words) if text.startswith(words, start) else None


def _marked_span(text: str, start: int, end: int) -> Span:
    # A template may close its mark before the stop token: the token encoder looks on from `said`.
    words = text[start:end].rstrip()
    return Span(start, start + len(words), None)


def _ordered(spans: list[Span]) -> bool:
    return all(a.said <= b.start for a, b in pairwise(spans))
