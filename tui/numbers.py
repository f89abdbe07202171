"""Numbers as a person reads them: fixed widths, so that nothing jumps while they change."""

from __future__ import annotations

import math

GIB = 1 << 30


def count(value: int) -> str:
    """`4,812`."""
    return f"{value:,}"


def short(value: float) -> str:
    """`940`, `4.1k`, `40.4M`, `7.6B`."""
    for limit, letter in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):.1f}{letter}"
    return f"{value:,.0f}"


def gib(value: int) -> str:
    """Bytes as `6.1`; a dash where the value is not known (-1)."""
    return "–" if value < 0 else f"{value / GIB:.1f}"


def size(value: int) -> str:
    """Bytes as `164 MB` or `6.1 GB`, in the units of file listings."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= limit:
            number = value / limit
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
    return f"{value} B"


def loss(value: float | None) -> str:
    """Four digits; `nan` and `inf` are said as such; a dash before the first."""
    if value is None:
        return "–"
    return f"{value:.3f}" if math.isfinite(value) and abs(value) < 1000 else f"{value:.3g}"


def rate(value: float | None) -> str:
    """A learning rate: `2e-4`, `1.71e-4`."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def clock(seconds: float | None) -> str:
    """A time to go: `12:31`, `3:04:05`, `2d 03h`; `–:––` while not known."""
    if seconds is None or not math.isfinite(seconds):
        return "–:––"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24}d {hours % 24:02}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
