"""Counts with their nouns, in the singular and in the plural."""

from __future__ import annotations


def counted(count: float, one: str, many: str = "") -> str:
    """`1 row`, `4,812 rows`, `2.5 epochs`; `many`: where an s is too little, as in `row is`."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {one if count == 1 else many or one + 's'}"
