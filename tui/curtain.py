"""The frame of the screen, drawn before anything is imported: a start that can be seen at once.

Textual and what the panes need take most of a second to load. Meanwhile the person sees where
things will be. Textual then draws over it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J\x1b[H"
_LEAVE = "\x1b[?25h\x1b[?1049l"

WIDE = 110
"""As `tui.screens.main.WIDE`, which costs too much to import here."""


@contextmanager
def curtain() -> Iterator[None]:
    """Draw the frame; take the terminal back if what follows does not get to draw."""
    size = os.get_terminal_size()
    sys.stdout.write(_ENTER + "\r\n".join(frame(size.columns, size.lines)))
    sys.stdout.flush()
    try:
        yield
    except BaseException:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        raise


def frame(columns: int, rows: int) -> list[str]:
    """The lines of an empty screen, each ``columns`` wide."""
    if columns < 24 or rows < 8:
        return ["finetui"]
    if columns < WIDE:
        head = [" finetui".ljust(columns), " " * columns]
        return [*head, *_box(" 3 Graphs ", columns, rows - 3), " starting".ljust(columns)]
    left = min(72, columns * 2 // 5)
    upper = (rows - 2) * 3 // 5
    lower = rows - 2 - upper
    halves = (("Data", "Graphs", 1, 3, upper), ("Config", "Log", 2, 4, lower))
    body = []
    for one, other, key, other_key, height in halves:
        west = _box(f" {key} {one} ", left, height)
        east = _box(f" {other_key} {other} ", columns - left, height)
        body += [a + b for a, b in zip(west, east, strict=True)]
    return [" finetui".ljust(columns), *body, " starting".ljust(columns)]


def _box(title: str, width: int, height: int) -> list[str]:
    top = f"╭─{title}".ljust(width - 1, "─") + "╮"
    bottom = "╰" + "─" * (width - 2) + "╯"
    return [top, *["│" + " " * (width - 2) + "│"] * (height - 2), bottom]
