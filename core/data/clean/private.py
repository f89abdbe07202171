"""Personal data and secrets in rows: found, counted, and masked or left as the settings say.

Nothing here proves that a row holds none. It says what it found.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Iterator
from typing import Any

from core.data.clean.keys import SIGNS, secrets
from core.data.clean.personal import (
    LONG,
    LONG_RUN,
    SHAPE,
    Found,
    cards,
    emails,
    ibans,
    ipv4_addresses,
    ipv6_addresses,
    phones,
    typed,
)

PERSONAL: tuple[str, ...] = ("email", "phone", "card", "iban", "ip")
SECRET = "secret"  # noqa: S105 - the name of a kind

MASKS = {
    "email": "<EMAIL_ADDRESS>",
    "phone": "<PHONE_NUMBER>",
    "card": "<CREDIT_CARD>",
    "iban": "<IBAN_CODE>",
    "ip": "<IP_ADDRESS>",
    SECRET: "<SECRET>",
}
"""What stands in place of what was found; the names that other tools give it too."""

_Finder = Callable[[str], Iterator[Found]]
_QUAD = re.compile(rb"0\.0{1,3}\.0{1,3}\.0")


def may_hold(text: str) -> tuple[_Finder, ...]:
    """Which searches a text is worth: all others surely find nothing in it.

    The surest come first: of places that overlap the first one counts. The text is looked at as a
    shape, in which a digit is ``0``, a letter ``a`` and what may stand between digits ``-``.
    """
    shape = _shape(text)
    address, count = "@" in text, shape.count(b"0")
    finders: list[_Finder] = []
    random = count > 0 or any(sign in text for sign in SIGNS)
    if (random and _has_long_run(text)) or (address and "://" in text):
        finders.append(secrets)
    dotted = count > 3 and b"0.0" in shape
    digits = b""
    if count > 6:
        digits = (shape if text.isascii() else _shape(typed(text))).translate(None, b"-")
    if b"0000000000" in digits:
        finders.append(ibans)
    if b"0000000000000" in digits:
        finders.append(cards)
    if address:
        finders.append(emails)
    if b"0000000" in (digits.translate(None, b".") if dotted else digits):
        finders.append(phones)
    if dotted and _QUAD.search(shape):
        finders.append(ipv4_addresses)
    colons = text.count(":") if count else 0
    if colons > 6 or (colons > 1 and "::" in text):
        finders.append(ipv6_addresses)
    return tuple(finders)


def _shape(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").translate(SHAPE)


def _has_long_run(text: str) -> bool:
    shape = text.encode("utf-8", "surrogatepass").translate(LONG)
    return LONG_RUN in shape or (b"b" in shape and LONG_RUN in shape.replace(b"b", b"a"))


def find(text: str) -> list[Found]:
    """All places with personal data or secrets, from left to right, none within another."""
    taken: list[Found] = []
    for finder in may_hold(text):
        for found in finder(text):
            place = bisect(taken, found.start, key=lambda other: other.start)
            free = place == 0 or taken[place - 1].end <= found.start
            if free and (place == len(taken) or taken[place].start >= found.end):
                taken.insert(place, found)
    return taken


def masked(text: str, places: list[Found]) -> str:
    """The text with a word in place of each found one."""
    pieces, end = [], 0
    for found in places:
        pieces += [text[end : found.start], MASKS[found.kind]]
        end = found.end
    return "".join([*pieces, text[end:]])


def texts_of(turn: Any) -> Iterator[str]:
    """All that a turn says: content, reasoning, and what it hands to tools."""
    for key in ("content", "reasoning_content", "tool_calls"):
        yield from _strings(turn.get(key))


def changed(turn: Any, change: Callable[[str], str]) -> Any:
    """The turn with ``change`` made to all that it says; the same object when nothing changes."""
    new = {
        key: _changed(value, change)
        if key in ("content", "reasoning_content", "tool_calls")
        else value
        for key, value in turn.items()
    }
    return turn if new == turn else new


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _changed(inner, change) for key, inner in value.items()}
    return [_changed(inner, change) for inner in value] if isinstance(value, list) else value
