"""Loss curves in JSON lines, as ``curves.py run`` writes them, checked when they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_WORDS = ("NaN", "Infinity", "-Infinity")
"""How a journal writes what JSON has no number for."""


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The newest curve of each variant.

    Raises ValueError for a file that holds anything else, OSError where it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} holds other things than curves: it is no text") from None
    found = {}
    for number, text in enumerate(lines, 1):
        try:
            curve = _curve(text)
        except ValueError as error:
            raise ValueError(
                f"{path} holds other things than curves: line {number} {error}"
            ) from None
        found[curve["variant"]] = curve
    return found


def _curve(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        raise ValueError("is no JSON") from None
    if not isinstance(line, dict) or not isinstance(line.get("variant"), str):
        raise ValueError("names no variant")
    if not isinstance(line.get("path"), str):
        raise ValueError("names no path")
    points = {kind: _points(kind, line.get(kind)) for kind in ("losses", "evaluations")}
    if not points["losses"]:
        raise ValueError("has no losses")
    return line | points


def _points(kind: str, given: Any) -> list[tuple[int, float]]:
    """Points (step, loss)."""
    if not isinstance(given, list):
        raise ValueError(f"has no {kind}")
    found = []
    for point in given:
        match point:
            case [int(step), int() | float() as loss]:
                found.append((step, float(loss)))
            case [int(step), str(word)] if word in _WORDS:
                found.append((step, float(word)))
            case _:
                raise ValueError(f"has {json.dumps(point)[:40]} among its {kind}")
    return found
