"""Types for argparse that tell in a line what an argument must be, and why a file is none."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """Whole numbers of ``least`` or more."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < least:
            raise ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


def several(least: int) -> Callable[[str], list[int]]:
    """Whole numbers of ``least`` or more, comma-separated; none for an empty text."""
    number = at_least(least)
    return lambda text: [number(part) for part in text.split(",") if part]


def assignment(text: str) -> tuple[str, str]:
    """Name and value of ``NAME=VALUE``."""
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise ArgumentTypeError(f"{text!r}: give a name and a value, NAME=VALUE")
    return name, value


def positive(text: str) -> float:
    """A number above 0, and not without end."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def seconds(text: str) -> float:
    """A time from 0 on; ``inf`` for no end."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value) or value < 0:
        raise ArgumentTypeError(f"{text!r} is no time from 0 on")
    return value


def reason(error: Exception) -> str:
    """What an error says; of a file, which cannot be read or written, and why, in words."""
    if not isinstance(error, OSError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"there is no file {error.filename}"
    if isinstance(error, IsADirectoryError):
        return f"{error.filename} is a folder, not a file"
    why = (error.strerror or type(error).__name__).lower()
    return f"{error.filename}: {why}" if error.filename else why
