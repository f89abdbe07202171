"""Tables that are written as one JSON object, as pandas and ``datasets`` do it."""

from __future__ import annotations

from typing import Any

from core.data.chats.shapes import shape_of

TO_LINES = 'write one object a line, with pandas: df.to_json(NAME, orient="records", lines=True)'
"""What to do about a table that is too large to be read so."""


def rows_inside(table: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of an object that is a table; None where it is a row itself.

    By columns (``{"instruction": {"0": ..}, ..}``), by rows (``{"0": {row}, ..}``), as lists of
    equal length, or split into names and values, each only where the fields are of a known format.
    """
    parts = list(table.values())
    if {"columns", "data"} <= table.keys():
        return _split(table["columns"], table["data"])
    if parts and all(isinstance(part, dict) for part in parts):
        if all(shape_of(part) is not None for part in parts):
            return parts
        keys = parts[0].keys()
        if keys and shape_of(table) is not None and all(part.keys() == keys for part in parts):
            return [{name: part[key] for name, part in table.items()} for key in keys]
    columns = parts and shape_of(table) is not None and all(_is_column(part) for part in parts)
    if columns and len({len(part) for part in parts}) == 1:
        return [dict(zip(table, values, strict=True)) for values in zip(*parts, strict=True)]
    return None


def _is_column(part: object) -> bool:
    """Whether a list holds plain values, not turns."""
    return (
        isinstance(part, list) and bool(part) and not any(isinstance(v, dict | list) for v in part)
    )


def _split(names: object, data: object) -> list[dict[str, Any]] | None:
    if not (isinstance(names, list) and isinstance(data, list) and names and data):
        return None
    if not all(isinstance(name, str) for name in names):
        return None
    if not all(isinstance(values, list) and len(values) == len(names) for values in data):
        return None
    return [dict(zip(names, values, strict=True)) for values in data]
