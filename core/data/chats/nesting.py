"""How deep values are nested: a limit, so that no later step meets Python's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

DEPTH_LIMIT = 64
"""Levels of lists and objects; deeper nesting is rejected."""

_NESTS = (list, dict)


def deeper_than(value: object, limit: int = DEPTH_LIMIT) -> bool:
    """Whether lists and objects are nested beyond the limit; goes level by level."""
    level: list[Any] = [value] if isinstance(value, _NESTS) else []
    for _ in range(limit):
        if not level:
            return False
        level = [item for one in level for item in _inside(one) if isinstance(item, _NESTS)]
    return bool(level)


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
