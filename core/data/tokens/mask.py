"""Which characters of a rendered chat carry loss: what the assistant says, for any template.

The method compares renderings. The text up to an assistant's turn, with the header that asks for
it (``add_generation_prompt``), must be the beginning of the whole text; so must the text up to the
end of that turn. What lies between them is what the model has to produce.

Most rows need one rendering only: how a template lays out a chat of certain roles is learned once
in this way (``layout.py``), and a row that fits is cut by that, letter by letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from core.data.chats.chat import Chat, Defect
from core.data.tokens.changes import Findings, compare, ignored_tools, thought_of
from core.data.tokens.layout import Layout, Span, learn, prefix_jobs, spans_of
from core.data.tokens.template import ChatTemplate, RenderJob, TemplateFault, tools_of, unmarked

_KNOWN_SHAPES = 512

Shape = tuple[str, ...]


@dataclass(frozen=True)
class Masked:
    """A rendered chat and the turns that carry loss, in order.

    ``notes`` are words for counting, each with a sentence for a person.
    """

    text: str
    spans: tuple[Span, ...]
    notes: Findings = field(default_factory=dict)


class Masker:
    """Renders chats with one template and finds what carries loss."""

    def __init__(self, template: ChatTemplate):
        self.template = template
        self._layouts: dict[Shape, Layout | None] = {}

    def mask(self, chats: Sequence[Chat]) -> list[Masked | Defect]:
        """Each chat masked, or why that cannot be done."""
        texts = self.template.render_many([self.template.job(chat) for chat in chats])
        shapes = [_shape(chat) for chat in chats]
        self._learn(shapes)
        results: list[Masked | Defect | None] = []
        for chat, text, shape in zip(chats, texts, shapes, strict=True):
            if isinstance(text, TemplateFault):
                results.append(Defect("template_refused", f"the chat template says: {text}"))
                continue
            layout = self._layouts.get(shape) if shape else None
            spans = layout.fit(text, chat) if layout else None
            results.append(Masked(text, spans, dict(layout.notes)) if layout and spans else None)
        places = [place for place, result in enumerate(results) if result is None]
        found = iter(self._by_prefixes([(chats[place], str(texts[place])) for place in places]))
        return [next(found) if result is None else result for result in results]

    def _learn(self, shapes: Sequence[Shape | None]) -> None:
        for shape in dict.fromkeys(shapes):
            if shape and shape not in self._layouts:
                if len(self._layouts) >= _KNOWN_SHAPES:
                    self._layouts.clear()
                self._layouts[shape] = learn(self.template, shape)

    def _by_prefixes(self, rows: Sequence[tuple[Chat, str]]) -> list[Masked | Defect]:
        """Rows that do not fit a layout: every turn is rendered up to its start and its end."""
        jobs: list[RenderJob] = []
        counts = []
        for chat, _ in rows:
            own = [*prefix_jobs(self.template, chat), *self._side_jobs(chat)]
            counts.append(len(own))
            jobs += own
        results = self.template.render_many(jobs) if jobs else []
        masked, start = [], 0
        for (chat, text), count in zip(rows, counts, strict=True):
            masked.append(self._masked(chat, text, results[start : start + count]))
            start += count
        return masked

    def _side_jobs(self, chat: Chat) -> list[RenderJob]:
        """The chat with the template's own marks, and without its tools, where it has such."""
        jobs = []
        if self.template.has_marks:
            jobs.append(self.template.job(chat, marks=True))
        if tools_of(chat):
            jobs.append(RenderJob(self.template.job(chat).messages))
        return jobs

    def _masked(
        self, chat: Chat, text: str, results: Sequence[str | TemplateFault]
    ) -> Masked | Defect:
        turns = [index for index, message in enumerate(chat) if message["role"] == "assistant"]
        spans = spans_of(text, chat, results[: 2 * len(turns)])
        side = list(results[2 * len(turns) :])
        marked = side.pop(0) if self.template.has_marks else None
        ignored = ignored_tools(chat, text, spans, side[0] if side else None)
        if ignored:
            return Defect("template_ignores_tools", f"the chat template leaves out {ignored}")
        notes = compare(chat, text)
        found = [span for span in spans if span is not None]
        if found and len(found) == len(spans) and _ordered(found):
            return Masked(text, _with_thoughts(chat, text, found, turns), notes)
        if isinstance(marked, str):
            own = unmarked(marked)
            if own.text == text and own.spans:
                notes["marks"] = "the template's own marks say what carries loss"
                return Masked(text, tuple(_marked_span(text, s, e) for s, e in own.spans), notes)
        if spans and spans[-1] is not None:
            notes["only_last_answer_trained"] = "the template rewrites the earlier answers"
            return Masked(text, (spans[-1],), notes)
        return Defect(
            "template_cannot_be_masked",
            "the template rewrites this chat so that its answers cannot be told from the rest; "
            "a template that says {% generation %} around them, or rows of one prompt and one "
            "completion, can be used",
        )


def _shape(chat: Chat) -> Shape | None:
    """The roles of a chat of plain texts; None where its messages carry more."""
    if all(len(message) == 2 for message in chat):
        return tuple([message["role"] for message in chat])
    return None


def _with_thoughts(
    chat: Chat, text: str, spans: Sequence[Span], turns: Sequence[int]
) -> tuple[Span, ...]:
    """The turns to learn: an earlier one whose reasoning the template dropped is not.

    It would teach to answer at once where the row shows an answer after thinking.
    """
    kept = []
    ends = [span.start for span in spans[1:]] + [len(text)]
    for span, turn, end in zip(spans, turns, ends, strict=True):
        thought = thought_of(chat[turn])
        if turn == turns[-1] or not thought or thought in text[span.start : span.end or end]:
            kept.append(span)
    return tuple(kept)


def _marked_span(text: str, start: int, end: int) -> Span:
    # A template may close its mark before the stop token: the token encoder looks on from `said`.
    words = text[start:end].rstrip()
    return Span(start, start + len(words), None)


def _ordered(spans: list[Span]) -> bool:
    return all(a.said <= b.start for a, b in pairwise(spans))


__all__ = ["Masked", "Masker", "Span"]
