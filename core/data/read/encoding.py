"""In which encoding a text file is, found by its bytes, and its bytes as UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from encodings import cp1252
from typing import Literal

from core.data.read.alphabets import judge
from core.data.read.charsets import foreign, has_utf8, is_damage, is_utf8
from core.data.read.row import Reader

Encoding = Literal["utf-8", "utf-16-le", "utf-16-be", "cp1252"]

NAMES = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16 LE",
    "utf-16-be": "UTF-16 BE",
    "cp1252": "Latin-1 (Windows-1252)",
}
BOM = codecs.BOM_UTF8

_HIGH = re.compile(rb"[\x80-\xff]+")
_LETTER = re.compile(rb"[A-Za-z]")
_LATIN_PART = 0.7
_RUN = 2
"""Most high bytes of Western European text stand in runs of one or two beside a plain letter; in
other encodings, in damaged UTF-8 and in binary files they stand beside each other."""
_MARKS = "‚„‘’“”‹›«»…¿¡\xa0".encode("cp1252")
"""Marks that stand beside a letter beyond ASCII as well: they do not count for a run's length."""
_MARKED_RUN = 6
_LETTERS = "ÀÁÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáãäåæçèéêëìíîïñòóôõöøùúûüŠŽšžŒœŸ".encode("cp1252")
_ALONE = _LETTERS + _MARKS + "–—€£¥¢§°©®™²³¹µ½¼¾·•×÷±ªº†‰".encode("cp1252")
"""What stands alone between blanks, quotes and digits too. Not here: ÿ and þ, which are a mark of
UTF-16, and Â, Ã and â, which are what is left of most damaged letters of UTF-8."""
_LEADS = "ÂÃâ".encode("cp1252")
"""How the letters and marks of Western languages begin in UTF-8."""
_BETWEEN = frozenset(b"\t\n\r" + bytes(range(32, 127)))
_NUL_PART = 0.2
"""Part of the pairs of bytes with a NUL on the same side that makes a text UTF-16."""
_CONTROLS = bytes([*range(9), *range(14, 32)])
_CONTROL_PART = 0.05
"""Part of control characters that makes a file binary; a text may have one here and there."""
# Five bytes mean nothing in Windows-1252; Latin-1's control characters stand in for them.
_WESTERN = "".join(c if c != "\ufffe" else chr(n) for n, c in enumerate(cp1252.decoding_table))


@dataclass(frozen=True)
class Found:
    """In which encoding a file is."""

    encoding: Encoding | None
    """As it is read; None: no text."""
    likely: str = ""
    """Another one that its bytes speak for, which is not read here: a key of ``CHARSETS``."""
    doubt: bool = False
    """It may as well be another one."""
    odd: bytes = b""
    """A sentence to look at, where there is doubt."""


def find_encoding(samples: Sequence[bytes]) -> Found:
    """The encoding of a file by pieces of it, the first from its beginning.

    UTF-8 unless the bytes speak against it. A few broken bytes do not make a file Latin-1: there
    must be no letter of UTF-8 beyond ASCII, the high bytes must stand among plain letters, or
    alone and be letters, currencies and marks of Western languages, and make words of them.
    """
    head = samples[0]
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return Found(None)  # UTF-32
    if head.startswith(codecs.BOM_UTF16_LE):
        return Found("utf-16-le")
    if head.startswith(codecs.BOM_UTF16_BE):
        return Found("utf-16-be")
    start = head[:4096]
    if b"\0" in start:
        if _is_wide(start[1::2], start[::2]):
            return Found("utf-16-le")
        if _is_wide(start[::2], start[1::2]):
            return Found("utf-16-be")
    controls = len(start) - len(start.translate(None, _CONTROLS))
    if controls > _CONTROL_PART * len(start):
        return Found(None)
    if head.startswith(BOM) or all(map(bytes.isascii, samples)):
        return Found("utf-8")
    return _find_letters(samples)


def _find_letters(samples: Sequence[bytes]) -> Found:
    """The encoding by bytes beyond ASCII."""
    western = _is_western(samples)
    if not western and has_utf8(samples):
        return Found("utf-8")
    judged = judge(samples)
    if western and judged.likely == "cp1252":
        return Found("cp1252", doubt=judged.doubt, odd=judged.odd)
    # What makes Western words, but has letters of UTF-8 too, is put together from both.
    if is_damage(samples) or (judged.likely == "cp1252" and _has_letter(samples)):
        return Found("utf-8")
    likely = judged.likely if judged.likely != "cp1252" else ""
    return Found("utf-8", likely or foreign(samples))


def _has_letter(samples: Sequence[bytes]) -> bool:
    """Whether a run of bytes, whole and beside plain ones, is UTF-8 and hardly by chance."""
    return any(
        match.start() > 0
        and match.end() < len(sample)
        and is_utf8(match.group()) and not _is_chance(match.group())
        for sample in samples
        for match in _HIGH.finditer(sample)
    )  # fmt: skip


def _is_wide(upper: bytes, lower: bytes) -> bool:
    """Whether the halves of byte pairs are those of a text: NUL above plain letters."""
    under = bytes(low for high, low in zip(upper, lower, strict=False) if not high)
    good = sum(32 <= byte < 127 or byte >= 160 or byte in b"\t\n\r" for byte in under)
    return len(under) > max(1, _NUL_PART * len(upper)) and good >= 0.95 * len(under)


def _is_western(samples: Sequence[bytes]) -> bool:
    high = good = chance = 0
    for sample in samples:
        for match in _HIGH.finditer(sample):
            run = match.group()
            inside = match.start() > 0 and match.end() < len(sample)
            if inside and is_utf8(run):
                if not _is_chance(run):
                    return False
                chance += len(run)
                continue
            high += len(run)
            beside = sample[max(0, match.start() - 1) : match.start()]
            if _is_short(run) and _fits(run, beside + sample[match.end() : match.end() + 1]):
                good += len(run)
    return high > chance and good >= _LATIN_PART * high


def _is_chance(run: bytes) -> bool:
    """Whether a run of UTF-8 may be a Western letter before a mark, as a French é before »."""
    return run[0] not in _LEADS and run[-1] in _MARKS and _is_short(run)


def _is_short(run: bytes) -> bool:
    if len(run) <= _RUN:
        return True
    rest = run.translate(None, _MARKS)
    return len(run) <= _MARKED_RUN and len(rest) <= _RUN and not rest.translate(None, _LETTERS)


def _fits(run: bytes, beside: bytes) -> bool:
    """Whether a run is part of a word, or of what stands alone in a text."""
    if _LETTER.search(beside):
        return True
    return not run.translate(None, _ALONE) and _BETWEEN.issuperset(beside)


class Transcoded:
    """A stream in another encoding, read as UTF-8. What is half a character stays broken."""

    def __init__(self, stream: Reader, encoding: Encoding):
        self._stream = stream
        self._decoder = (
            None
            if encoding == "cp1252"
            else codecs.getincrementaldecoder(encoding)("surrogatepass")
        )
        self._fresh = True

    def read(self, size: int, /) -> bytes:
        """Some bytes of UTF-8, for about ``size`` of the file."""
        while raw := self._stream.read(size):
            text = self._decode(raw)
            if self._fresh:
                text, self._fresh = text.removeprefix("\ufeff"), False
            if text:
                return text.encode("utf-8", "surrogatepass")
        try:
            self._decode(b"", final=True)
        except UnicodeDecodeError:  # an odd byte at the end: as a byte that UTF-8 has not
            self._decoder = None
            return b"\xff"
        return b""

    def _decode(self, raw: bytes, *, final: bool = False) -> str:
        if self._decoder is None:
            return codecs.charmap_decode(raw, "strict", _WESTERN)[0]
        return self._decoder.decode(raw, final)


def has_mac_ends(head: bytes) -> bool:
    """Whether the lines of a text end as on old Macs, in CR alone."""
    # The last byte may be the first half of a Windows line end.
    return b"\r" in head[:-1] and b"\n" not in head


class MacLines:
    """A stream of UTF-8 with the line ends of old Macs, read with plain ones."""

    def __init__(self, stream: Reader):
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """Some bytes of UTF-8."""
        return self._stream.read(size).replace(b"\r", b"\n")


class WithoutMark:
    """A stream of UTF-8 without the mark that some programs write before it."""

    def __init__(self, stream: Reader):
        self._stream = stream
        self._fresh = True

    def read(self, size: int, /) -> bytes:
        """Some bytes of UTF-8."""
        raw = self._stream.read(size)
        if self._fresh:
            self._fresh = False
            if raw.startswith(BOM):
                return raw[len(BOM) :] or self._stream.read(size)
        return raw
