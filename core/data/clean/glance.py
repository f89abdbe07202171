"""One glance at many texts: which of them may hold what a rule repairs, or personal data.

The texts of some hundred rows are looked at as one array of bytes, at a hundredth of what a search
of each costs. What is let pass here surely holds nothing; what is not is for the searches to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from core.data.clean import repairs
from core.data.clean.keys import MOST_OF_A_PASSWORD, PASSWORD_CALLS, SIGNS
from core.data.clean.personal import BETWEEN, LONG, LONG_RUN, SIGNS_BETWEEN

Array = npt.NDArray[Any]

_PAD = b"\0" * 8
"""Stands behind all texts: what is looked at behind a digit is there."""
_HEX = np.zeros(256, np.bool_)
_HEX[list(b"0123456789ABCDEFabcdef")] = True
_JOINS = np.zeros(256, np.bool_)
_JOINS[[*BETWEEN, *SIGNS_BETWEEN, *b".0123456789"]] = True
_WIDTH = np.zeros(256, np.int64)
"""Bytes of a character, by its first one."""
_WIDTH[0xC0:0xE0], _WIDTH[0xE0:0xF0], _WIDTH[0xF0:] = 2, 3, 4
_MAY_LEAD = np.zeros(256, np.bool_)
"""First bytes of the characters that a lead byte of UTF-8 may have become in another encoding."""
_MAY_LEAD[[lead.encode()[0] for lead in repairs.leads()]] = True
_SIGNS = tuple(sign.encode() for sign in SIGNS)
_CALLS = tuple(word.encode() for word in PASSWORD_CALLS)
_CALLED_WITHIN = 256
"""Bytes before a password in which it is called one."""
_NUMBER = 7
"""Digits of the shortest phone number; accounts and cards have more."""


class Glance(NamedTuple):
    """What each of some texts may hold; one entry a text."""

    odd: list[bool]
    """Characters that a repair of line ends, encodings or control characters may want."""
    private: list[bool]
    """Personal data or a secret."""


def glance(texts: Sequence[bytes], marks: int = 0) -> Glance:
    """Look at texts in UTF-8. ``marks``: NULs that the caller has put among them, which are none
    of their own."""
    data = b"\n".join([*texts, _PAD])
    chars = np.frombuffer(data, np.uint8)
    ends = np.cumsum([len(text) + 1 for text in texts])
    odd = [*_controls(data, chars, marks + len(_PAD)), *_foreign(data, chars)]
    return Glance(_marked(ends, odd), _marked(ends, [*_private(data, chars)]))


def _marked(ends: Array, places: list[Array]) -> list[bool]:
    """Which texts hold one of the places."""
    marked = np.zeros(len(ends) + 1, np.bool_)
    for some in places:
        marked[np.searchsorted(ends, some, side="right")] = True
    return marked[: len(ends)].tolist()  # type: ignore[no-any-return]


def _controls(data: bytes, chars: Array, marks: int) -> list[Array]:
    places = np.flatnonzero(chars < 32)
    found = chars[places]
    odd = (found != 9) & (found != 10)
    if np.count_nonzero(found == 0) == marks:
        odd &= found != 0
    # Where some text has a NUL of its own, all are looked at: they are that rare.
    return [places[odd], *_all(data, b"\x7f", chars)]


def _foreign(data: bytes, chars: Array) -> Iterator[Array]:
    """Where an invisible character stands, or two that may be one in the wrong encoding."""
    if data.isascii():
        return
    places = np.flatnonzero(chars > 0xBF)
    first, second, third = chars[places], chars[places + 1], chars[places + 2]
    following = chars[places + _WIDTH[first]]
    pair = _MAY_LEAD[first] & (following > 127)
    latin = ((first == 0xC2) & (second < 0xAE)) | (
        (first == 0xC3) & (second == 0x83) & (following == 0x20)
    )
    signs = (first == 0xE2) & (
        ((second == 0x80) & (_between(third, 0x8B, 0x8F) | _between(third, 0xA8, 0xAE)))
        | ((second == 0x81) & (third > 0x9F))
    )
    yield places[pair | latin | signs | (first == 0xEF) | (first == 0xF3)]


def _between(values: Array, least: int, most: int) -> Array:
    found: Array = (values >= least) & (values <= most)
    return found


def _all(data: bytes, sign: bytes, chars: Array) -> Iterator[Array]:
    """All places of a sign, if there is one."""
    if sign in data:
        yield np.flatnonzero(chars == sign[0])


def _private(data: bytes, chars: Array) -> Iterator[Array]:
    yield from _all(data, b"@", chars)
    digits = np.flatnonzero((chars - np.uint8(48)) < 10)
    shape = data.translate(LONG)
    yield _long_runs(data, shape, digits)
    yield _passwords(data, shape, digits)
    if not len(digits):
        return  # all but addresses and some keys have some
    colons = np.flatnonzero(chars == 58)
    colons = colons[(chars[colons - 4] | 1) == 51]  # 2 or 3, the first digit of IP version 6
    yield colons[_HEX[chars[colons - 3]] & _HEX[chars[colons - 2]] & _HEX[chars[colons - 1]]]
    yield from _numbers(chars, digits)


def _numbers(chars: Array, digits: Array) -> Iterator[Array]:
    """Where digits make a phone number, an account or a card, or an IP address."""
    if len(digits) < 4:
        return
    before, after = digits[:-1], digits[1:]
    gaps = after - before
    # What stands between two digits is looked at by its first and last two signs only.
    joined = gaps == 1
    wide = np.flatnonzero(~joined)
    left, right = before[wide], after[wide]
    joined[wide] = (
        _JOINS[chars[left + 1]] & _JOINS[chars[right - 1]]
        & _JOINS[chars[left + 2]] & _JOINS[chars[right - 2]]
    )  # fmt: skip
    # Each digit that begins so many: what seems joined may have begun in the text before.
    breaks = np.concatenate([[0], np.cumsum(~joined)])
    yield digits[: 1 - _NUMBER][breaks[_NUMBER - 1 :] == breaks[: 1 - _NUMBER]]
    dotted = np.zeros(len(gaps), np.bool_)
    dotted[wide] = (gaps[wide] == 2) & (chars[left + 1] == 46)
    dots = np.flatnonzero(dotted)
    if len(dots) > 2:
        apart = np.cumsum((gaps > 1) & ~dotted)
        one, three = dots[:-2], dots[2:]
        yield digits[one[(three - one <= 6) & (apart[one] == apart[three])]]


def _long_runs(data: bytes, shape: bytes, digits: Array) -> Array:
    """Where a long run of letters and digits is no word: what is random has digits, mostly."""
    runs = []
    start = shape.find(LONG_RUN)
    while start >= 0:
        least = start + len(LONG_RUN)
        end = shape.find(b" ", least)
        if (sign := shape.find(b"b", least, end)) >= 0:
            end = sign
        runs.append((start, end))
        start = shape.find(LONG_RUN, end)
    if not runs:
        return np.empty(0, np.int64)
    found = np.array(runs, np.int64)
    if b"PRIVATE KEY" in data:
        return found[:, 0]
    counts = np.diff(np.searchsorted(digits, found), axis=1)[:, 0]
    shaped = np.array([data.startswith(_SIGNS, start) for start, _ in runs], np.bool_)
    kept: Array = found[(counts > 1) | shaped, 0]
    return kept


def _passwords(data: bytes, shape: bytes, digits: Array) -> Array:
    """Where a long run with a digit and a sign such as ``$`` inside is called a password."""
    if b"b" not in shape or not len(digits):
        return np.empty(0, np.int64)
    kinds, found, reached = np.frombuffer(shape, np.uint8), [], -1
    signs = np.flatnonzero(kinds == 98)
    # Neighbours of a sign at the beginning or the end are those of the pad, which is none.
    signs = signs[(kinds[signs - 1] == 97) & (kinds[(signs + 1) % len(kinds)] == 97)]
    for sign in signs.tolist():
        if sign < reached:
            continue
        start = 1 + shape.rfind(b" ", max(0, sign - MOST_OF_A_PASSWORD), sign)
        start = max(start, sign - MOST_OF_A_PASSWORD)
        reached = shape.find(b" ", sign, sign + MOST_OF_A_PASSWORD)
        reached = reached if reached >= 0 else sign + MOST_OF_A_PASSWORD
        if reached - start >= len(LONG_RUN):
            before = data[max(0, start - _CALLED_WITHIN) : start].lower()
            if any(word in before for word in _CALLS):
                found.append(start)
    return np.array(found, np.int64)
