"""Phrases that mark a row as unfit: places nobody filled in, and answers that are none."""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.data.clean.fences import parts

Span = tuple[int, int]

_PLACES = re.compile(
    r"(?<![\\\w}{$])\{\{ ?[A-Za-z][\w -]{0,40}? ?\}\}(?!\})"
    r"|<(?:your|insert|enter|add|put)\s[^<>\n=]{1,60}>"
    r"|\[(?:your|insert|enter|add|fill in|company|customer|client|recipient|sender|product)\b"
    r"[^\[\]\n]{0,60}\](?![(\[:])"
    r"|\[(?:name|first name|last name|date|address|city|e-?mail|phone(?: number)?)\](?![(\[:])"
    r"|\blorem ipsum dolor\b",
    re.IGNORECASE,
)
_TEMPLATE_CODE = ("{%", "{{#", "{{/", "{{-", "{{>", "v-for=", "ng-", "\\begin{", "\\frac")
"""Signs of Jinja, Handlebars, Vue, Angular and LaTeX, in which braces are code."""

_REFUSALS = re.compile(
    r"\b(?:as an? (?:artificial intelligence|ai)(?: language model| assistant| model)?\b"
    r"(?=[, ]+(?:i\b|my\b|it is not|created|developed|trained))"
    r"|i(?:'m| am) (?:just |only )?an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|my (?:knowledge|training data) (?:cutoff|cut-off|only goes)"
    r"|as of my (?:last|latest) (?:knowledge )?(?:update|training))",
    re.IGNORECASE,
)
_OPENING = 200
"""Characters at an answer's start in which a refusal counts; later ones are part of a story."""
_OPENING_REFUSALS = re.compile(
    r"(?:\b(?:i(?:'m| am) (?:very |really |so )?sorry|sorry|i apologi[sz]e|unfortunately)\b"
    r"[^.!?\n]{0,40}?\bi(?: am|'m)? ?(?:can(?:no|')t|can not|unable|not able|won't|must decline)\b"
    r"|^\W*i(?: am|'m)? ?(?:cannot|can't|unable|not able|won't|must decline) (?:to )?"
    r"(?:assist|help|provide|fulfil|comply|answer|generate|create|write|do that|support)"
    r"|\bi(?:'m| am) not (?:able|programmed|comfortable) "
    r"(?:to (?:assist|help|provide|answer)|with|assisting|helping|providing)"
    r"|\b(?:goes|is) against my (?:programming|guidelines|principles))",
    re.IGNORECASE,
)


def may_hold_places(text: str) -> bool:
    """Whether a text may hold a place that should have been filled in."""
    return "{{" in text or "[" in text or "<" in text or "orem ipsum" in text


def unfilled_places(text: str) -> list[Span]:
    """Where a text holds unfilled places: ``{{name}}``, ``<your city>``, ``[INSERT DATE]``.

    Code is passed over. Braces count only where nothing speaks of a template language or LaTeX.
    """
    braces_are_code = any(sign in text for sign in _TEMPLATE_CODE)
    spans = []
    for start, part in _prose(text):
        for found in _PLACES.finditer(part):
            if not (braces_are_code and found.group().startswith("{{")):
                spans.append((start + found.start(), start + found.end()))
    return spans


def refusals(text: str) -> list[Span]:
    """Where an answer refuses at its start, or speaks of being a language model (English)."""
    straight = text.replace("’", "'")
    found = [*_OPENING_REFUSALS.finditer(straight[:_OPENING]), *_REFUSALS.finditer(straight)]
    return [hit.span() for hit in found]


def _prose(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    for part, code in parts(text):
        if not code:
            yield start, part
        start += len(part)
