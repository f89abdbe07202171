"""What a rule does to a row, before and after, in pieces that a screen can colour."""

from __future__ import annotations

from difflib import SequenceMatcher

from core.data.chats.formats import Chat
from core.data.clean.private import MASKS, find
from core.data.clean.rules import Rule

Pieces = tuple[tuple[str, bool], ...]
"""A text in pieces, each with whether the rule is about it; joined they are an excerpt."""

_BEFORE, _WINDOW = 40, 400
"""Characters shown before the first change, and in all."""


def preview(rule: Rule, chat: Chat) -> tuple[Pieces, Pieces] | None:
    """An excerpt of the first turn that a rule changes, before and after; None where it changes
    nothing.

    For a rule that rejects, the excerpt marks what it rejects and the second part is empty; for one
    that finds, it marks what is found and the second part shows it masked. Rules on length or
    language have nothing to point at: their Defect says it all.
    """
    for turn in chat:
        text = turn["content"]
        if rule.repair is not None and turn["role"] != "tool":
            repaired = rule.repair(text)
            if repaired != text:
                return _compared(text, repaired)
        elif rule.find is not None:
            spans = rule.find(text)
            if spans:
                return marked(text, spans), _masked(text, spans) if rule.kind == "find" else ()
    return None


def marked(text: str, spans: list[tuple[int, int]]) -> Pieces:
    """An excerpt of a text with the given places marked; it begins shortly before the first."""
    start = max(0, min(first for first, _ in spans) - _BEFORE)
    stop = min(len(text), start + _WINDOW)
    pieces, end = [], start
    for first, last in sorted(spans):
        if end <= first < stop:
            pieces += [(text[end:first], False), (text[first : min(last, stop)], True)]
            end = min(last, stop)
    pieces.append((text[end:stop], False))
    return tuple(piece for piece in pieces if piece[0])


def _masked(text: str, spans: list[tuple[int, int]]) -> Pieces:
    """The excerpt as masking leaves it."""
    pieces, places, end = "", [], 0
    for place in find(text):
        if (place.start, place.end) in spans:
            pieces += text[end : place.start]
            places.append((len(pieces), len(pieces) + len(MASKS[place.kind])))
            pieces += MASKS[place.kind]
            end = place.end
    return marked(pieces + text[end:], places)


def _compared(old: str, new: str) -> tuple[Pieces, Pieces]:
    """Both texts around their first difference, with what differs marked."""
    pairs = zip(old, new, strict=False)
    shortest = min(len(old), len(new))
    first = next((n for n, (a, b) in enumerate(pairs) if a != b), shortest)
    start = max(0, first - _BEFORE)
    a, b = old[start : start + _WINDOW], new[start : start + _WINDOW]
    before, after = [], []
    for kind, a_from, a_to, b_from, b_to in SequenceMatcher(None, a, b, False).get_opcodes():
        if a_to > a_from:
            before.append((a[a_from:a_to], kind != "equal"))
        if b_to > b_from:
            after.append((b[b_from:b_to], kind != "equal"))
    return tuple(before), tuple(after)
