"""Names of files as text: a system's may hold bytes that are none; a person's may be mistyped."""

from __future__ import annotations

import difflib
from itertools import islice
from pathlib import Path

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


_ENTRIES = 10_000
"""A folder with more is not looked through to the end for one name."""


def nearest_path(name: str | Path, *, holding: str = "") -> str | None:
    """The path that is there and most like a mistyped one, in the same folder; None without any.

    ``holding``: only folders with a file of this name in them.
    """
    path = Path(name)
    parent = path.expanduser().parent
    try:
        entries = [entry.name for entry in islice(parent.iterdir(), _ENTRIES)]
        for close in difflib.get_close_matches(path.name, entries, n=5, cutoff=0.6):
            if not undecoded(close) and (not holding or (parent / close / holding).is_file()):
                return str(path.parent / close)
    except (OSError, ValueError, RuntimeError):  # it is a suggestion only
        return None
    return None
