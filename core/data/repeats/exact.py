"""Which rows repeat an earlier one exactly: keys met so far, in sorted arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Firsts:
    """Keys of 16 bytes, and the number of the row that had each first.

    24 bytes a key. New keys come as small sorted runs, which are merged as they grow, so that
    each key is moved only a few times.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Array, Array, Array]] = []

    def origins(self, keys: Array, numbers: Array) -> Array:
        """For each key the number of the earlier row with the same one, else -1; notes new ones."""
        halves = np.ascontiguousarray(keys).view("<u8").reshape(-1, 2)
        order = np.lexsort((numbers, halves[:, 1], halves[:, 0]))
        low, high, rows = halves[order, 0], halves[order, 1], np.asarray(numbers)[order]
        found = self._earlier(low, high)
        starts = np.ones(len(low), np.bool_)
        starts[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
        leader = np.maximum.accumulate(np.where(starts, np.arange(len(low)), 0))
        within = np.where(starts, -1, rows[leader])
        found = np.where(found >= 0, found, within)
        new = starts & (found < 0)
        self._add(low[new], high[new], rows[new])
        origins = np.full(len(keys), -1, np.int64)
        origins[order] = found
        return origins

    def find(self, keys: Array) -> Array:
        """For each key the number of the row that has it, else -1; notes nothing."""
        halves = np.ascontiguousarray(keys).view("<u8").reshape(-1, 2)
        return self._earlier(halves[:, 0], halves[:, 1])

    def _earlier(self, low: Array, high: Array) -> Array:
        found = np.full(len(low), -1, np.int64)
        for lows, highs, rows in self._runs:
            place = np.searchsorted(lows, low)
            place[place == len(lows)] = 0
            # Two keys that agree in their first half only are as rare as they are harmless: the
            # second one is taken as new.
            same = (lows[place] == low) & (highs[place] == high)
            found[same] = rows[place[same]]
        return found

    def _add(self, low: Array, high: Array, rows: Array) -> None:
        if not len(low):
            return
        self._runs.append((low, high, rows))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            parts = zip(self._runs.pop(), self._runs.pop(), strict=True)
            low, high, rows = (np.concatenate(part) for part in parts)
            order = np.argsort(low, kind="stable")
            self._runs.append((low[order], high[order], rows[order]))
