"""Where code stands in a text: fenced blocks and inline spans, which cleaning leaves alone.

More is taken for code rather than less: a block that is never closed reaches to the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_BLOCK = (
    r"^[ \t>]*(?:(?P<ticks>`{3,})[^`\n]*|(?P<waves>~{3,})[^\n]*)$"
    r"(?:.*?^[ \t>]*(?:(?P=ticks)`*|(?P=waves)~*)[ \t\r]*$|.*\Z)"
    r"|(?P<loose>`{3,}).+?(?P=loose)"
)
_INLINE = r"(?<!`)(?P<span>`{1,2})(?!`)[^\n]{1,500}?(?<!`)(?P=span)(?!`)"
_BLOCKS = re.compile(_BLOCK, re.MULTILINE | re.DOTALL)
_CODE = re.compile(f"{_BLOCK}|{_INLINE}", re.MULTILINE | re.DOTALL)


def parts(text: str, *, inline: bool = True) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is code; joined they are the text again.

    Without ``inline`` only blocks count as code.
    """
    if "`" not in text and "~~~" not in text:
        yield text, False
        return
    end = 0
    for found in (_CODE if inline else _BLOCKS).finditer(text):
        if found.start() > end:
            yield text[end : found.start()], False
        yield found.group(), True
        end = found.end()
    if end < len(text):
        yield text[end:], False


def outside_code(text: str, change: Callable[[str], str], *, inline: bool = True) -> str:
    """The text with ``change`` made to all that is not code."""
    if "`" not in text and "~~~" not in text:
        return change(text)
    return "".join(part if code else change(part) for part, code in parts(text, inline=inline))


def without_code(text: str) -> str:
    """The text with a blank in place of all code."""
    return "".join(" " if code else part for part, code in parts(text))
