"""The one door between text of unknown origin and the terminal.

Rows of a data set, words of a model, lines of a log and names of files may hold escape sequences
that move the cursor, retitle the window, fill the clipboard, or marks that reorder and hide text.
Textual and rich pass many of them on. Everything that was not written by us goes through `inert`.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

UNSHOWABLE = "\N{REPLACEMENT CHARACTER}"
"""Stands for C1 controls, lone surrogates and noncharacters: there is no picture of them."""

HIDDEN = "\N{DOTTED CIRCLE}"
"""Stands for what would take no room or change the direction: shown, so that nothing hides."""

LINE_END = "\N{SYMBOL FOR NEWLINE}"
"""Stands for the Unicode line and paragraph separators, which break a line where none is due."""

# Format characters that draw something (Arabic number signs and their like): harmless, kept.
_VISIBLE_FORMAT = {
    *range(0x0600, 0x0606),
    *(0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD),
}

# Blank letters and marks that are not category Cf, yet show nothing: combining grapheme joiner,
# Hangul fillers, Mongolian and supplementary variation selectors (a known way to smuggle text).
# U+FE0E and U+FE0F stay: every second emoji carries one.
_BLANK = {
    *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),
    *range(0x180B, 0x1810),
    *range(0xFE00, 0xFE0E),
    *range(0xE0000, 0xE1000),
}


def inert(text: str, keep: str = "") -> str:
    """Make `text` harmless for a terminal, one character for one, so that offsets stay valid.

    Controls become their pictures (escape is shown as ␛), the rest as described at `UNSHOWABLE`,
    `HIDDEN` and `LINE_END`. Zero-width joiners count as hidden: terminals disagree about the width
    of joined emoji, and a data set is read more truly when they are seen.

    `keep` names characters to leave alone, usually "\\n" where the caller splits lines and "\\t"
    where it expands tabs. The result holds no markup protection: show it with `markup=False`.
    """
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_table(keep))


class _Table(dict[int, str]):
    """What `str.translate` shows for a code point: decided once, when first met.

    A ready table of all 1.1 million code points would cost half a second at the first odd letter.
    """

    def __missing__(self, code: int) -> str:
        shown = _placeholder(code) if _unsafe(code) else chr(code)
        self[code] = shown
        return shown


@lru_cache(maxsize=8)
def _table(keep: str) -> _Table:
    return _Table({ord(character): character for character in keep})


def _unsafe(code: int) -> bool:
    if code in _BLANK or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return True
    category = unicodedata.category(chr(code))
    return category in {"Cc", "Cs", "Zl", "Zp"} or (
        category == "Cf" and code not in _VISIBLE_FORMAT
    )


def _placeholder(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    if code in (0x2028, 0x2029):
        return LINE_END
    if code in _BLANK or unicodedata.category(chr(code)) == "Cf":
        return HIDDEN
    return UNSHOWABLE
