"""How long rows are, in a few bars, and what a cut at each length costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SPARED = 0.99
"""Part of the rows that the proposed length leaves whole."""

_LEAST = 16


@dataclass(frozen=True)
class Bar:
    """Rows whose length is above ``low`` and at most ``high``, and what a cut at ``high`` does."""

    low: int
    high: int
    rows: int
    cut_rows: int
    """Rows that are longer than ``high``."""
    lost: int
    """Their tokens beyond it."""


def histogram(lengths: Array) -> list[Bar]:
    """Bars up to the longest row. Their ends are lengths that one would cut at: 16, 24, 32 ..."""
    if not len(lengths):
        return []
    ends = _ends(int(lengths.max()))
    ordered = np.sort(lengths).astype(np.int64)
    sums = np.concatenate([[0], np.cumsum(ordered)])
    places = np.searchsorted(ordered, ends, "right")
    bars, before = [], 0
    for low, high, place in zip([0, *ends], ends, places.tolist(), strict=False):
        cut = len(ordered) - place
        lost = int(sums[-1] - sums[place]) - cut * high
        bars.append(Bar(low, high, place - before, cut, lost))
        before = place
    return bars


def proposed(bars: list[Bar]) -> int | None:
    """The least of the ends that leaves enough rows whole; None without rows."""
    total = sum(bar.rows for bar in bars)
    enough = (bar.high for bar in bars if bar.cut_rows <= (1 - SPARED) * total)
    return next(enough, None)


def _ends(longest: int) -> list[int]:
    """Powers of two and the middle between each two, until the longest row fits."""
    ends, step = [_LEAST], _LEAST
    while ends[-1] < longest:
        ends.append(step * 3 // 2)
        if ends[-1] < longest:
            ends.append(step * 2)
        step *= 2
    return ends
