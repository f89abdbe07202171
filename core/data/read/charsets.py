"""Encodings that are not read here: their names, and how to tell which one a file is in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

_HIGH = bytes(range(128, 256))
_RUN = re.compile(rb"[\x80-\xff]+")
_FEW_BYTES, _FEW_LINES = 20, 3
"""Fewer bytes beyond ASCII, or fewer lines with some among others, may be damage."""
_MOST_BYTES, _MOST_RUNS = 32 << 10, 2000
_UTF8_PART = 0.2
"""Bytes that are UTF-8 by chance are at most this part of a text in another encoding."""


class Charset(NamedTuple):
    """An encoding as ``iconv`` names it, and for which languages it is."""

    iconv: str
    words: str


CHARSETS = {
    "cp1252": Charset("CP1252", "Western European"),
    "cp1250": Charset("CP1250", "Central European, as Polish, Czech and Hungarian"),
    "iso8859_2": Charset("ISO-8859-2", "Central European, as Polish, Czech and Hungarian"),
    "cp1254": Charset("CP1254", "Turkish"),
    "cp1257": Charset("CP1257", "Baltic"),
    "cp1258": Charset("CP1258", "Vietnamese"),
    "mac_roman": Charset("MACINTOSH", "Western European of old Macs"),
    "cp850": Charset("CP850", "Western European of DOS"),
    "cp1251": Charset("CP1251", "Cyrillic"),
    "koi8_r": Charset("KOI8-R", "Cyrillic"),
    "cp866": Charset("CP866", "Cyrillic of DOS"),
    "mac_cyrillic": Charset("MAC-CYRILLIC", "Cyrillic of old Macs"),
    "cp1253": Charset("CP1253", "Greek"),
    "cp1255": Charset("CP1255", "Hebrew"),
    "cp1256": Charset("CP1256", "Arabic"),
    "tis_620": Charset("TIS-620", "Thai"),
    "gb18030": Charset("GB18030", "Chinese"),
    "big5": Charset("BIG5", "Chinese, traditional"),
    "cp932": Charset("CP932", "Japanese, Shift-JIS"),
    "euc_jp": Charset("EUC-JP", "Japanese"),
    "cp949": Charset("CP949", "Korean"),
}
"""By Python's names; the latter are for other letters than Latin ones."""
_OTHER_LETTERS = list(CHARSETS)[list(CHARSETS).index("cp1251") :]


def foreign(samples: Sequence[bytes]) -> str:
    """The encoding of other letters than Latin ones that a text is in; empty where unknown.

    A few letters speak for none.
    """
    raw = _doubtful(samples)
    if raw is None:
        return ""
    from charset_normalizer import from_bytes

    best = from_bytes(raw, cp_isolation=_OTHER_LETTERS).best()
    return best.encoding if best is not None else ""


def is_damage(samples: Sequence[bytes]) -> bool:
    """Whether so few of the lines are beyond ASCII that they say nothing of the file."""
    found, lines = _lines(samples)
    return len(found) < _FEW_LINES and 2 * len(found) < lines


def has_utf8(samples: Sequence[bytes]) -> bool:
    """Whether so many of the bytes beyond ASCII are UTF-8 that it is no chance."""
    high = good = 0
    runs = (match.group() for sample in samples for match in _RUN.finditer(sample))
    for run in islice(runs, _MOST_RUNS):
        high += len(run)
        good += len(run) * is_utf8(run)
    return good > _UTF8_PART * high


def _lines(samples: Sequence[bytes]) -> tuple[list[bytes], int]:
    """The lines that are not ASCII, as far as they are whole, and how many there are in all."""
    lines, found = 0, []
    for number, sample in enumerate(samples):
        whole = sample.split(b"\n")[1 if number else 0 :]  # a sample begins inside of a line
        whole[-1:] = [line.rstrip(_HIGH) for line in whole[-1:]]  # and may end inside of a letter
        lines += sum(map(bool, whole))
        found += [line for line in whole if not line.isascii()]
    return found, lines


def _doubtful(samples: Sequence[bytes]) -> bytes | None:
    """The lines that are not ASCII; None where there is too little of them."""
    raw = b"\n".join(_lines(samples)[0])
    if len(raw) - len(raw.translate(None, _HIGH)) < _FEW_BYTES:
        return None
    return raw if len(raw) <= _MOST_BYTES else raw[:_MOST_BYTES].rstrip(_HIGH)


def is_utf8(run: bytes) -> bool:
    """Whether bytes are whole letters of UTF-8."""
    try:
        run.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
