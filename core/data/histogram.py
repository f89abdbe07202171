"""How long rows are, in a few bars."""

from __future__ import annotations

from itertools import dropwhile
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_LEAST = 16


class Bar(NamedTuple):
    """Rows whose length is above ``low`` and at most ``high``."""

    low: int
    high: int
    rows: int


def histogram(lengths: Array) -> list[Bar]:
    """Bars from the shortest to the longest row. They end where one would cut: 16, 24, 32 ..."""
    if not len(lengths):
        return []
    ends = _ends(int(lengths.max()))
    counts, _ = np.histogram(lengths, [-1, *(end + 0.5 for end in ends)])
    bars = [Bar(*bar) for bar in zip([0, *ends], ends, counts.tolist(), strict=False)]
    return list(dropwhile(lambda bar: not bar.rows, bars))


def _ends(longest: int) -> list[int]:
    """Powers of two and the middle between each two, until the longest row fits."""
    ends, step = [_LEAST], _LEAST
    while ends[-1] < longest:
        ends.append(step * 3 // 2)
        if ends[-1] < longest:
            ends.append(step * 2)
        step *= 2
    return ends
