"""Repairs of a text that no writer meant: encodings, control characters, line ends, white space.

Each repair has a quick test, which a text that needs nothing pays in well under a microsecond to
a few, and the repair itself, which leaves fenced and inline code as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import NamedTuple

from core.data.clean.fences import outside_code, parts


def has_odd_line_ends(text: str) -> bool:
    """Whether a line ends in the way of Windows or of old Macs."""
    return "\r" in text


def plain_line_ends(text: str) -> str:
    """The one repair that reaches into code: a line end is no part of what a line says."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


_CHARMAPS = ("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1257", "iso8859-2", "latin-1")
_OLD_CHARMAPS = ("cp437", "mac-roman")
"""Encodings whose other lead bytes are quotes, dashes and letters of everyday text."""
_C1 = frozenset(map(chr, range(0x80, 0xA0)))
_ASCII = bytes(range(128))
_HITS = 8
"""Places looked at one by one; a text with more of them is judged line by line."""


@lru_cache(maxsize=2)
def _foreign(text: str) -> frozenset[str]:
    """The characters of a text that are not ASCII."""
    data = text.encode("utf-8", "surrogatepass").translate(None, _ASCII)
    return frozenset(data.decode("utf-8", "surrogatepass"))


def may_be_mojibake(text: str) -> bool:
    """Whether a text holds pairs of characters as UTF-8 gives when it is read as another encoding.

    ftfy's own judgement costs 200 microseconds a kilobyte, so it is asked about these places only.
    """
    if text.isascii():
        return False
    foreign, pairs = _foreign(text), _pairs()
    no_small_lead = foreign.isdisjoint(pairs.small) or foreign.isdisjoint(pairs.signs)
    if no_small_lead and foreign.isdisjoint(pairs.capitals) and foreign.isdisjoint(_C1):
        return False
    for hits, hit in enumerate(pairs.pattern.finditer(text)):
        if hits == _HITS or _is_bad(text[max(0, hit.start() - 4) : hit.end() + 4]):
            return True
    return False


def right_encoding(text: str) -> str:
    """The text as it was before it was read in the wrong encoding, line by line."""

    def repaired(part: str) -> str:
        return "".join(
            _right_line(line) if may_be_mojibake(line) else line
            for line in re.split("(?<=\n)", part)
        )

    return outside_code(text, repaired)


_QUOTES = re.compile("â€œ|“|â€(?![\x80-\U0010ffff])")


def _right_line(line: str) -> str:
    from ftfy import fix_encoding

    return str(fix_encoding(_with_closing_quotes(line) if "â€" in line else line))


def _with_closing_quotes(line: str) -> str:
    """Give a closing quote its last byte back, which is no character of Windows-1252 and is lost
    in most files: behind an opened quote only."""
    opened = False

    def quote(found: re.Match[str]) -> str:
        nonlocal opened
        closes, opened = opened and found.group() == "â€", found.group() != "â€"
        return "â€\x9d" if closes else found.group()

    return _QUOTES.sub(quote, line)


@lru_cache(maxsize=4096)
def _is_bad(word: str) -> bool:
    from ftfy.badness import is_bad

    return bool(is_bad(word))


class _Pairs(NamedTuple):
    """A UTF-8 lead byte and a continuation byte, as any of the encodings shows them.

    Two small letters are no such pair: natural languages are full of them.
    """

    capitals: frozenset[str]
    """Lead bytes that look like anything but a small letter."""
    small: frozenset[str]
    signs: frozenset[str]
    """Continuation bytes that look like anything but a small letter."""
    pattern: re.Pattern[str]


def leads() -> frozenset[str]:
    """What the lead bytes of UTF-8 are in other encodings."""
    return _pairs().capitals | _pairs().small


@cache
def _pairs() -> _Pairs:
    leads = _shown(range(0xC2, 0xF5), _CHARMAPS) | _shown((0xC2, 0xC3, 0xC5, 0xE2), _OLD_CHARMAPS)
    rest = _shown(range(0x80, 0xC0), _CHARMAPS + _OLD_CHARMAPS)
    small = frozenset(char for char in leads if char.islower())
    capitals, signs = leads - small, frozenset(char for char in rest if not char.islower())
    either = f"{_class(capitals)}{_class(rest)}|{_class(small)}{_class(signs)}"
    return _Pairs(capitals, small, signs, re.compile(f"{either}|\xc3 |{_class(_C1)}"))


def _shown(codes: Iterable[int], charmaps: tuple[str, ...]) -> frozenset[str]:
    shown = "".join(bytes([code]).decode(name, "ignore") for code in codes for name in charmaps)
    return frozenset(char for char in shown if not char.isascii())


def _class(characters: frozenset[str]) -> str:
    return f"[{re.escape(''.join(sorted(characters)))}]"


_BARE = bytes(1 if (byte < 32 and byte not in (9, 10, 13)) or byte == 127 else 32
              for byte in range(256))  # fmt: skip
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BREAKS = re.compile("[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u2060-\u2064\u206a-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff]"
)
_JOINERS = re.compile("[\u200b-\u200d]")
_DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_TAGS = re.compile("(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|[\U000e0000-\U000e007f]+")
_INVISIBLE = frozenset(
    char
    for char in map(chr, [*range(0x80, 0xAE), *range(0x2000, 0x2070), *range(0xFE00, 0x10000),
                          *range(0xE0000, 0xE0080)])
    if any(p.match(char) for p in (_BREAKS, _CONTROLS, _JOINERS, _DIRECTIONS, _TAGS))
)  # fmt: skip


def has_controls(text: str) -> bool:
    """Whether a text may hold control or invisible characters."""
    if b"\x01" in text.encode("utf-8", "surrogatepass").translate(_BARE):
        return True
    return not (text.isascii() or _foreign(text).isdisjoint(_INVISIBLE))


def without_controls(text: str) -> str:
    """The text without control and invisible characters.

    What breaks a line becomes a line end. Joiners stay beside the scripts and emoji that need
    them, signs of direction in text that runs from right to left, tags in the flags that are
    made of them.
    """
    return outside_code(text, _without_controls)


def _without_controls(text: str) -> str:
    text = _BREAKS.sub("\n", _ESCAPES.sub("", text))
    text = _CONTROLS.sub("", text)
    if text.isascii():
        return text
    text = _TAGS.sub(lambda tags: tags.group(1) or "", text)
    if not _RIGHT_TO_LEFT.search(text):
        text = _DIRECTIONS.sub("", text)
    return _JOINERS.sub(_joiner, text)


def _joiner(found: re.Match[str]) -> str:
    text, start = found.string, found.start()
    before, after = text[start - 1 : start] if start else "", text[start + 1 : start + 2]
    if found.group() == "\u200b":  # marks where a word may be broken in scripts without spaces
        return found.group() if _breaks_words(before) or _breaks_words(after) else ""
    return "" if _joins_nothing(before) and _joins_nothing(after) else found.group()


def _breaks_words(char: str) -> bool:
    """Thai, Lao, Tibetan, Burmese, Khmer and Tai letters."""
    return bool(char) and (
        0x0E00 <= ord(char) < 0x10A0 or 0x1780 <= ord(char) < 0x1800 or 0x1950 <= ord(char) < 0x1AB0
    )


def _joins_nothing(char: str) -> bool:
    """Whether no joiner ever belongs beside a character: Latin, Greek, Cyrillic, CJK, signs."""
    code = ord(char) if char else 0
    return (
        code < 0x0530
        or 0x1E00 <= code < 0x2070
        or 0x3000 <= code < 0xA000
        or 0xAC00 <= code < 0xD800
    )


_LEADING = re.compile(r"(?:[-*+•]|\d{1,9}[.)])?\s*")
_CODE_SIGNS = re.compile(r"[`|\t={};<>\\#]")
_GAP = re.compile(r"(?<=\S)[ \xa0]{2,}(?=\S)")
_COLUMN = re.compile(r"\S[ \xa0]{3,}\S")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def has_spare_space(text: str) -> bool:
    """Whether a text may hold repeated or trailing white space."""
    return (
        "  " in text
        or " \n" in text
        or "\n\n\n" in text
        or "\xa0" in text
        or "\t\n" in text
        or text[:1].isspace()
        or text[-1:].isspace()
    )


def single_space(text: str) -> str:
    """One space and one blank line where there were several, nothing at the ends.

    A line that looks like code, a table or aligned columns keeps its spaces; so do indentation,
    the space behind a list's mark, and the two trailing spaces that break a line in Markdown.
    """
    pieces = list(parts(text, inline=False))
    last = len(pieces) - 1
    kept = [
        part if code else _single_space(part, opens=number == 0, ends=number == last)
        for number, (part, code) in enumerate(pieces)
    ]
    return "".join(kept)


def _single_space(part: str, *, opens: bool, ends: bool) -> str:
    """A part between code: what stands in one line with code keeps its spaces."""
    lines = _BLANK_LINES.sub("\n\n", part).split("\n")
    columns = [_COLUMN.search(line) is not None for line in lines]
    for number in range(0 if opens else 1, len(lines) if ends else len(lines) - 1):
        beside = columns[max(0, number - 1) : number] + columns[number + 1 : number + 2]
        if not (columns[number] and any(beside)):
            lines[number] = _single_line(lines[number])
    part = "\n".join(lines)
    part = part.lstrip("\n") if opens else part
    return part.rstrip(" \t\n") if ends else part


def _single_line(line: str) -> str:
    head = line.rstrip(" \t")
    tail = "  " if head and line[len(head) :] == "  " else ""
    if line[:1] in (" ", "\t") or _CODE_SIGNS.search(line):
        return head + tail
    mark = _LEADING.match(head)
    start = mark.end() if mark else 0
    return head[:start] + _GAP.sub(" ", head[start:]) + tail
