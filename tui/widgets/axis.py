"""Where the ticks of an axis go and what they say."""

from __future__ import annotations

import math
from itertools import pairwise

_TIME_STEPS_SECONDS = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200),
    *(86400, 172800, 432000, 864000),
)

# Nearer to the ends of what a float holds, steps and air would be 0 or infinite.
_LEAST, _GREATEST = 1e-280, 1e280


def nice_step(span: float, most: int) -> float:
    """The smallest 1, 2 or 5 times a power of ten that divides `span` into at most `most` parts."""
    if not _LEAST < span < _GREATEST:
        return 1.0
    rough = span / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 5, 10):
        if factor * power >= rough * (1 - 1e-9):
            return factor * power
    return 10 * power


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values from `low` to `high`, at most `most` parts apart, both ends included."""
    return _multiples(low, high, nice_step(high - low, most))


def step_ticks(low: float, high: float, most: int) -> list[float]:
    """Like `nice_ticks` for what is counted in whole numbers: never a tick at half a step."""
    return _multiples(low, high, max(1.0, nice_step(high - low, most)))


def time_ticks(low: float, high: float, most: int) -> list[float]:
    """Ticks of a duration in seconds, at whole minutes, quarters, hours and days."""
    rough = (high - low) / max(1, most)
    step = next((s for s in _TIME_STEPS_SECONDS if s >= rough * (1 - 1e-9)), 0)
    return _multiples(low, high, float(step or nice_step((high - low) / 86400, most) * 86400))


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Decades between two positive bounds, thinned to `most`; 1, 2 and 5 of each where there is
    room; plain round values where the bounds are closer than a factor of about three."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [d for d in range(first, last + 1) if _within(10.0**d, low, high)]
    fine = [f * 10.0**d for d in range(first, last + 1) for f in (1, 2, 5)]
    fine = [value for value in fine if _within(value, low, high)]
    if 3 <= len(fine) <= most:
        return fine
    if len(decades) >= 2:
        return [10.0**d for d in decades[:: math.ceil(len(decades) / max(1, most))]]
    return [tick for tick in nice_ticks(low, high, most) if tick > 0]


def roomy(low: float, high: float, most: int, *, log: bool = False) -> tuple[float, float]:
    """Bounds of a y axis that hold both values, with a little air, and that stay where they are
    while the values move a little."""
    if log:
        low = max(low, _LEAST)
        high = min(max(low, high), _GREATEST)
        air = max(0.02 * (math.log10(high) - math.log10(low)), 0.02)
        return low / 10**air, high * 10**air
    if high - low <= 1e-12 * max(abs(low), abs(high)) or high - low < _LEAST:
        air = 0.1 * abs(low) or 1.0
        return low - air, high + air
    quarter = nice_step(high - low, most) / 4
    if not (high - low < _GREATEST and max(abs(low), abs(high)) / quarter < 1e15):
        return low, high
    y0, y1 = math.floor(low / quarter) * quarter, math.ceil(high / quarter) * quarter
    return min(low, y0), max(high, y1)


def _multiples(low: float, high: float, step: float) -> list[float]:
    if not (high - low) / step < 1000:
        return []
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def _within(value: float, low: float, high: float) -> bool:
    return low * (1 - 1e-9) <= value <= high * (1 + 1e-9)


def tick_labels(ticks: list[float], *, log: bool = False) -> list[str]:
    """Labels of one axis, all with as many decimals as the closest two ticks need; on a log axis
    each with as many as it needs itself."""
    if not ticks:
        return []
    if log:
        return [_shortest(tick) for tick in ticks]
    largest = max(abs(tick) for tick in ticks)
    gaps = [b - a for a, b in pairwise(ticks) if b > a]
    step = min(gaps, default=largest) or 1.0
    if largest and not 1e-3 <= largest < 1e6:
        digits = max(0, math.floor(math.log10(largest)) - math.floor(math.log10(step) + 1e-9))
        return [scientific(tick, digits) if tick else "0" for tick in ticks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{tick:,.{decimals}f}" if tick else f"{0:.{decimals}f}" for tick in ticks]


def number(value: float) -> str:
    """A value of a curve in at most eight characters, with four digits that count."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        before = 1 if abs(value) < 1 else math.floor(math.log10(abs(value))) + 1
        return f"{value:.{max(0, 4 - before)}f}"
    return scientific(value, 2)


def scientific(value: float, digits: int) -> str:
    """`2.0e-4` rather than Python's `2.0e-04`."""
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _shortest(value: float) -> str:
    if 1e-3 <= value < 1e5:
        return f"{value:,g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def duration(seconds: float) -> str:
    """`0:05`, `12:31`, `1:02:03`, `2d 03:00`: how long after the start."""
    total = round(abs(seconds))
    sign = "-" if seconds < 0 and total else ""
    days, rest = divmod(total, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds_left = divmod(rest, 60)
    if days:
        return f"{sign}{days}d {hours:02}:{minutes:02}"
    if hours:
        return f"{sign}{hours}:{minutes:02}:{seconds_left:02}"
    return f"{sign}{minutes}:{seconds_left:02}"
