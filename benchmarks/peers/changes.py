"""What the command line changes in workloads: ``FIELD=VALUE``, checked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from peers.shapes import MODELS, Row

_LEAST = {"steps": 1, "warm_up": 0, "batch": 1, "accumulation": 1, "rank": 1, "length": 2}
_SWITCHES = ("mixed", "random_base", "as_text", "search")


def changes_of(parts: Iterable[str]) -> dict[str, Any]:
    """The fields that are changed, and their values.

    Raises ValueError for what no workload has, and values that none can have.
    """
    found = {}
    for part in parts:
        key, _, text = part.partition("=")
        if key not in Row.__dataclass_fields__ or key in ("name", "what", "entrants"):
            raise ValueError(f"a workload has no {key}")
        try:
            value = json.loads(text)
        except ValueError:
            raise ValueError(
                f"--change {part}: {text!r} is no value in JSON, such as 12 or true"
            ) from None
        if wanted := _wanted(key, value):
            raise ValueError(f"--change {part}: give {wanted}")
        found[key] = value
    return found


def _wanted(key: str, value: Any) -> str:
    """What a field takes, where that is something else than ``value``; empty where it is not."""
    counted = isinstance(value, int) and not isinstance(value, bool)
    number = counted or isinstance(value, float)
    if key in _LEAST:
        return "" if counted and value >= _LEAST[key] else f"a whole number from {_LEAST[key]} on"
    if key in _SWITCHES:
        return "" if isinstance(value, bool) else "true or false"
    if key == "dropout":
        return "" if number and 0 <= value < 1 else "a number from 0 to below 1"
    if key == "device_gib":
        return "" if value is None or (number and value > 0) else "a number above 0, or null"
    if key == "model":
        return "" if value in list(MODELS) else f"one of {', '.join(MODELS)}, in quotes"
    texts = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    return "" if texts else 'settings and their values, {"memory.limit_gib": "7.4"}'


def changed(rows: Iterable[Row], changes: dict[str, Any]) -> list[Row]:
    """The workloads as they will run. Raises ValueError where one has no step that is timed."""
    found = [replace(row, **changes) for row in rows]
    for row in found:
        if not row.search and row.steps <= row.warm_up:
            raise ValueError(
                f"{row.name}: of {row.steps} steps none is timed after a warm-up of {row.warm_up}"
            )
    return found
