"""Names of files as text: a system's may hold bytes that are none."""

from __future__ import annotations

_FIRST, _LAST = "\udc80", "\udcff"
"""What Python puts in the place of bytes that are not UTF-8."""


def undecoded(text: str) -> str:
    """A text with the bytes written out that are not UTF-8; empty where all of it is text.

    Such a name opens its file, but cannot be written into a configuration or a report.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join(f"\\x{ord(c) & 0xFF:02x}" if _FIRST <= c <= _LAST else c for c in text)
    return ""
