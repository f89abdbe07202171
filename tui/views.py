"""A row in three views, as pieces of text with a style each: raw, rendered, token by token."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from core.config.counted import counted
from core.data.chats.formats import Chat
from core.data.filter import Pattern
from core.data.read.sources import Rejected, Row
from core.data.tokens.encoded import NO_LOSS, Encoded
from tui.look import TOO_LONG, Look

if TYPE_CHECKING:  # the tokenizers wait until the first rows are drawn
    from core.data.tokens.codec import ChatCodec

Piece = tuple[str, str]
"""Text of any origin, and the style it is shown in."""

OPEN, CLOSE = "⟦", "⟧"
"""Stand around what carries loss, so that it shows without colours too."""

SHOWN_TOKENS = 40_000
"""Tokens of a row that are shown one by one; each has a character or more on the screen."""

MARKED = 2000
"""Matches of a search that are marked in one text; more would only cost time."""


def raw_view(look: Look) -> list[Piece]:
    """The row as it stands in the file, below what it was changed to."""
    if not look.edited:
        return _raw(look.source)
    return [
        ("edited by hand\n", "head"),
        *_raw(look.row),
        ("\n\nin the file\n", "head"),
        *_raw(look.source),
    ]


def _raw(row: Row | Rejected) -> list[Piece]:
    if isinstance(row, Rejected):
        return [(row.raw or "(nothing of it can be shown)", "")]
    return [(json.dumps(row.value, ensure_ascii=False, indent=2, default=str), "")]


def rendered_view(look: Look, codec: ChatCodec | None) -> list[Piece]:
    """The row as the model sees it; what carries loss stands between marks."""
    if look.chat is None:
        return raw_view(look)
    if look.too_long:
        what = "as the row has them, before any repair and template"
        return [(_too_long(f"its turns are shown {what}"), "dim"), *_plain(look.chat)]
    if look.encoded is not None:
        return _runs(look.encoded)
    if look.twin is not None:
        kept = [(f"row {look.twin + 1:,} is kept\n\n", "success"), *_plain(look.twin_chat or [])]
        return [*_plain(look.chat), *kept]
    if codec is not None:
        from core.data.tokens.template import TemplateFault

        try:
            return [(codec.render(look.chat), "")]
        except TemplateFault as fault:
            return [(f"The model's chat template says: {fault}\n\n", "error"), *_plain(look.chat)]
    return [
        ("b chooses a base model; then its own template is shown.\n\n", "dim"),
        *_plain(look.chat),
    ]


def token_view(look: Look, *, ids: bool = False) -> list[Piece]:
    """Token by token; what carries loss stands between marks and on a ground of its own."""
    if look.too_long:
        return [(_too_long("it is not shown token by token"), "dim"), *_plain(look.chat or [])]
    if look.encoded is None:
        why = "b chooses a base model; then its tokens are shown.\n\n" if not look.problem else ""
        return [(why, "dim"), *rendered_view(look, None)]
    pieces: list[Piece] = []
    before = False
    encoded = look.encoded
    if encoded.length > SHOWN_TOKENS:
        encoded = replace(encoded, length=SHOWN_TOKENS)
    for token, text, label in zip(encoded.ids, encoded.pieces, encoded.labels, strict=True):
        loss = label != NO_LOSS
        if loss != before:
            pieces.append((OPEN if loss else CLOSE, "accent"))
        elif pieces:
            pieces.append(("│", "dim"))
        if ids:
            pieces.append((f"{token}:", "dim"))
        pieces.append((text.replace("\n", "↵\n"), "loss" if loss else ""))
        before = loss
    if before:
        pieces.append((CLOSE, "accent"))
    if encoded is not look.encoded:
        more = counted(look.encoded.length - encoded.length, "more token")
        pieces.append((f"\n… {more}", "dim"))
    return pieces + _cut(look.encoded)


def caption(look: Look) -> str:
    """What the loss mask comes to, in a few words."""
    if look.problem:
        return "will be rejected"
    if look.too_long:
        return "too long to be shown in tokens"
    encoded = look.encoded
    if encoded is None:
        return ""
    stop = "✓" if encoded.stop_trained else "✗ not learned"
    cut = f" ─ cut from {encoded.full_length:,}" if encoded.truncated else ""
    return f"{encoded.loss_tokens:,} of {encoded.length:,} tokens carry loss ─ stop {stop}{cut}"


def marked(pieces: Iterable[Piece], patterns: Iterable[Pattern]) -> list[Piece]:
    """The same pieces with what patterns find in them in the style `match`."""
    left = list(pieces)
    for pattern in patterns:
        left = [part for piece in left for part in _marked(piece, pattern)]
    return left


def parted(pieces: Iterable[Piece], characters: int) -> tuple[list[Piece], list[Piece]]:
    """The pieces up to so many characters, and those behind."""
    head: list[Piece] = []
    tail: list[Piece] = []
    for text, style in pieces:
        if len(text) > characters:
            tail.append((text[characters:], style))
        if characters > 0:
            head.append((text[:characters], style))
        characters = max(0, characters - len(text))
    return head, tail


def private(pieces: Iterable[Piece]) -> list[Piece]:
    """The same pieces with personal data and secrets that are found in them in the style `match`,
    each with its kind."""
    from core.data.clean.private import find

    left: list[Piece] = []
    for text, style in pieces:
        at = 0
        for place in find(text):
            left += [(text[at : place.start], style), (text[place.start : place.end], "match")]
            left.append((f"‹{place.kind}›", "warning"))
            at = place.end
        left.append((text[at:], style))
    return [piece for piece in left if piece[0]]


def _marked(piece: Piece, pattern: Pattern) -> list[Piece]:
    text, style = piece
    parts: list[Piece] = []
    at = 0
    while at < len(text) and len(parts) < 2 * MARKED:
        span = pattern.span(text, at)
        if span is None or span[0] == span[1]:
            break
        parts += [(text[at : span[0]], style), (text[span[0] : span[1]], "match")]
        at = span[1]
    return [part for part in [*parts, (text[at:], style)] if part[0]]


def _runs(encoded: Encoded) -> list[Piece]:
    found: list[Piece] = []
    tokens = zip(encoded.pieces, encoded.labels, strict=True)
    for loss, run in groupby(tokens, lambda token: token[1] != NO_LOSS):
        text = "".join([text for text, _ in run])
        found += [(OPEN, "accent"), (text, "loss"), (CLOSE, "accent")] if loss else [(text, "")]
    return found + _cut(encoded)


def _too_long(what: str) -> str:
    return f"This row has more than {TOO_LONG:,} characters: {what}.\n\n"


def _cut(encoded: Encoded) -> list[Piece]:
    if not encoded.truncated:
        return []
    left = encoded.full_length - encoded.length
    return [
        (
            f"\n✂ {counted(left, 'token more is', 'tokens more are')} cut off by max_length",
            "warning",
        )
    ]


def _plain(chat: Chat) -> list[Piece]:
    pieces: list[Piece] = []
    for message in chat:
        pieces += [(message["role"] + "\n", "head"), (message["content"] + "\n\n", "")]
    return pieces
