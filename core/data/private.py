"""Personal data and secrets in rows: found, counted, and masked or left as the settings say.

Nothing here proves that a row holds none. It says what it found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from core.data.keys import secrets
from core.data.personal import Found, cards, emails, ibans, ipv4_addresses, ipv6_addresses, phones

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
_LONG = bytes(
    97 if (chr(byte).isalnum() and byte < 128) or byte in b"_-+/" else 32 for byte in range(256)
)
_DIGITS = bytes(48 if 48 <= byte <= 57 else 46 if byte == 46 else 97 for byte in range(256))
_NO_DIGITS = bytes(byte for byte in range(256) if not 48 <= byte <= 57)
_FEWEST = 4
"""Digits of the shortest thing that is made of them, an address such as 1.1.1.1."""
_QUAD = re.compile(rb"0\.0{1,3}\.0{1,3}\.0")
_BETWEEN = b" -()/\t"


def may_hold(text: str) -> tuple[_Finder, ...]:
    """Which searches a text is worth: all others surely find nothing in it.

    The surest come first: of places that overlap the first one counts.
    """
    data = text.encode("utf-8", "surrogatepass")
    address = "@" in text
    finders: list[_Finder] = []
    if b"aaaaaaaaaaaaaaaa" in data.translate(_LONG) or (address and "://" in text):
        finders.append(secrets)
    counted = len(data.translate(None, _NO_DIGITS))
    digits = data.translate(_DIGITS, _BETWEEN) if counted >= _FEWEST else b""
    if b"0000000000" in digits:
        finders.append(ibans)
    if b"0000000000000" in digits:
        finders.append(cards)
    if address:
        finders.append(emails)
    dotted = b"0.0" in digits
    if b"0000000" in (data.translate(_DIGITS, _BETWEEN + b".") if dotted else digits):
        finders.append(phones)
    if dotted and _QUAD.search(data.translate(_DIGITS)):
        finders.append(ipv4_addresses)
    colons = text.count(":")
    if colons > 6 or (colons > 1 and "::" in text):
        finders.append(ipv6_addresses)
    return tuple(finders)


def find(text: str) -> list[Found]:
    """All places with personal data or secrets, from left to right, none within another."""
    taken: list[Found] = []
    for finder in may_hold(text):
        for found in finder(text):
            if all(found.end <= other.start or found.start >= other.end for other in taken):
                taken.append(found)
    return sorted(taken, key=lambda found: found.start)


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
