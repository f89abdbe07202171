"""In which encoding a text file is, found by its bytes, and its bytes as UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from encodings import cp1252
from typing import Literal

from core.data.row import Reader

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
_NUL_PART = 0.2
"""Part of the pairs of bytes with a NUL on the same side that makes a text UTF-16."""
_CONTROLS = bytes([*range(9), *range(14, 32)])
_CONTROL_PART = 0.05
"""Part of control characters that makes a file binary; a text may have one here and there."""
# Five bytes mean nothing in Windows-1252; Latin-1's control characters stand in for them.
_WESTERN = "".join(c if c != "\ufffe" else chr(n) for n, c in enumerate(cp1252.decoding_table))


def find_encoding(samples: Sequence[bytes]) -> Encoding | None:
    """The encoding of a file by pieces of it, the first from its beginning; None: not text.

    UTF-8 unless the bytes speak against it. A few broken bytes do not make a file Latin-1: there
    must be no letter of UTF-8 beyond ASCII, and the high bytes must stand among plain letters.
    """
    head = samples[0]
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return None  # UTF-32
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    start = head[:4096]
    if b"\0" in start:
        if _is_wide(start[1::2], start[::2]):
            return "utf-16-le"
        if _is_wide(start[::2], start[1::2]):
            return "utf-16-be"
    controls = len(start) - len(start.translate(None, _CONTROLS))
    if controls > _CONTROL_PART * len(start):
        return None
    return "cp1252" if _is_western(samples) else "utf-8"


def _is_wide(upper: bytes, lower: bytes) -> bool:
    """Whether the halves of byte pairs are those of a text: NUL above plain letters."""
    under = bytes(low for high, low in zip(upper, lower, strict=False) if not high)
    good = sum(32 <= byte < 127 or byte >= 160 or byte in b"\t\n\r" for byte in under)
    return len(under) > max(1, _NUL_PART * len(upper)) and good >= 0.95 * len(under)


def _is_western(samples: Sequence[bytes]) -> bool:
    high = beside = 0
    for sample in samples:
        for match in _HIGH.finditer(sample):
            run = match.group()
            inside = match.start() > 0 and match.end() < len(sample)
            if inside and _is_utf8(run):
                return False
            around = sample[max(0, match.start() - 1) : match.end() + 1]
            high += len(run)
            if len(run) <= _RUN and _LETTER.search(around):
                beside += len(run)
    return high > 0 and beside >= _LATIN_PART * high


def _is_utf8(run: bytes) -> bool:
    try:
        run.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


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
