"""The numbers behind a curve: growing arrays, smoothing, and their picture in pixels.

Knows nothing of a screen. A million points are projected in milliseconds, so that a chart can be
drawn anew whenever it is looked at, and no point is ever averaged away: a column of pixels shows
the least and the greatest of what falls into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Axis = Literal["step", "time"]
Floats = NDArray[np.float64]

_FIRST_CAPACITY = 256
_EMA_BLOCK = 65_536  # points smoothed at once: fits the cache of a core


@dataclass(frozen=True)
class View:
    """The part of the plane that a chart shows; both ends belong to it.

    `x0`, `x1` are steps, or seconds after `origin` (unix seconds) on the time axis.
    """

    x0: float
    x1: float
    y0: float
    y1: float
    axis: Axis = "step"
    origin: float = 0.0

    def row(self, y: float, height: int, *, log: bool = False) -> int:
        """Pixel row of one value in view, of `height` rows counted from the top."""
        value = np.array([math.log10(y) if log else y])
        return int(_rows(value, value, self, height, log=log).top[0])


class Projection(NamedTuple):
    """For each pixel column the topmost and lowest pixel drawn, counted from the top; -1: none."""

    top: NDArray[np.int64]
    bottom: NDArray[np.int64]


class Point(NamedTuple):
    """One measured point; `value` is NaN where it was not finite."""

    step: float
    time: float
    value: float


class Series:
    """A curve that grows at its end.

    Steps never go down (a run that rolled back calls `truncate_above` first); a clock that was set
    back counts as standing still. Values that are not finite are kept as NaN: a gap in the line,
    and no part of any bound.
    """

    def __init__(self) -> None:
        self._data = np.empty((3, _FIRST_CAPACITY))
        self._size = 0
        self._low = math.inf
        self._high = -math.inf
        self._ema: _Ema | None = None

    def __len__(self) -> int:
        return self._size

    @property
    def steps(self) -> Floats:
        """Steps, ascending. A view: do not change."""
        return self._data[0, : self._size]

    @property
    def times(self) -> Floats:
        """Unix seconds, ascending. A view: do not change."""
        return self._data[1, : self._size]

    @property
    def values(self) -> Floats:
        """Values, NaN where not finite. A view: do not change."""
        return self._data[2, : self._size]

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Least and greatest finite value, or None before the first."""
        return (self._low, self._high) if self._low <= self._high else None

    def append(self, step: float, time: float, value: float) -> None:
        """Add one point. Raises ValueError as `extend` does, which is faster for many."""
        if not (math.isfinite(step) and math.isfinite(time)):
            raise ValueError("a step or a time is not a finite number")
        at = self._size
        if at:
            self._check_order(step)
            time = max(time, self._data.item(1, at - 1))
        self._reserve(at + 1)
        if math.isfinite(value):
            self._low, self._high = min(self._low, value), max(self._high, value)
        else:
            value = math.nan
        self._data[:, at] = step, time, value
        self._size = at + 1

    def extend(self, steps: ArrayLike, times: ArrayLike, values: ArrayLike) -> None:
        """Add points from three sequences of one length.

        Raises ValueError when the lengths differ, a time is not finite, or a step is not finite or
        lower than the one before it.
        """
        new = _checked(steps, times, values)
        count = new.shape[1]
        if not count:
            return
        if self._size:
            self._check_order(new[0, 0])
            np.maximum(new[1], self._data[1, self._size - 1], out=new[1])
        self._reserve(self._size + count)
        self._data[:, self._size : self._size + count] = new
        self._size += count
        self._widen(new[2])

    def truncate_above(self, step: float) -> None:
        """Forget every point later than `step`: what a resume from that step does over again."""
        keep = int(np.searchsorted(self.steps, step, side="right"))
        if keep == self._size:
            return
        self._size = keep
        self._low, self._high = math.inf, -math.inf
        self._widen(self.values)
        if self._ema is not None:
            self._ema.truncate(self.values)

    def ema(self, alpha: float) -> Floats:
        """Exponential moving average in which the past weighs `alpha` (0 to below 1), debiased.

        NaN where the value is; the average goes on behind it. Points that were smoothed before
        are not smoothed again while `alpha` stays the same. The result is a view.
        """
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha is {alpha}, must be at least 0 and below 1")
        if self._ema is None or self._ema.alpha != alpha:
            self._ema = _Ema(alpha)
        return self._ema.follow(self.values)

    def nearest(self, x: float, axis: Axis = "step", origin: float = 0.0) -> int | None:
        """Index of the point nearest to `x` on the axis, or None while there is none."""
        if not self._size:
            return None
        xs, x = self._xs(axis), x + (origin if axis == "time" else 0.0)
        after = int(np.searchsorted(xs, x))
        if after == 0:
            return 0
        if after == self._size:
            return self._size - 1
        return after if xs[after] - x < x - xs[after - 1] else after - 1

    def point(self, index: int) -> Point:
        """The point at `index`, as plain numbers."""
        step, time, value = self._data[:, : self._size][:, index].tolist()
        return Point(step, time, value)

    def bounds_between(
        self, x0: float, x1: float, axis: Axis = "step", origin: float = 0.0, *, log: bool = False
    ) -> tuple[float, float] | None:
        """Least and greatest finite (with `log`: positive) value from `x0` to `x1`, both included;
        None where there is none."""
        shift = origin if axis == "time" else 0.0
        xs = self._xs(axis)
        first = int(np.searchsorted(xs, x0 + shift, side="left"))
        last = int(np.searchsorted(xs, x1 + shift, side="right"))
        if first == 0 and last == self._size and not (log and self._low <= 0):
            return self.bounds
        part = self.values[first:last]
        if log:
            part = part[part > 0]
        if not part.size:
            return None
        low, high = float(np.fmin.reduce(part)), float(np.fmax.reduce(part))
        return None if math.isnan(low) else (low, high)

    def project(
        self,
        view: View,
        width: int,
        height: int,
        *,
        log: bool = False,
        alpha: float | None = None,
    ) -> Projection:
        """The curve as pixels: `width` columns, `height` rows, row 0 on top.

        A column spans the least to the greatest of its points, lengthened to where the line to its
        neighbours crosses the border; nothing is drawn across a NaN (or, with `log`, a value that
        is not positive). With `alpha` the smoothed curve is drawn.
        """
        values = self.values if alpha is None else self.ema(alpha)
        pixel = (view.x1 - view.x0) / max(1, width - 1) or 1.0
        shift = view.origin if view.axis == "time" else 0.0
        edges: Floats = view.x0 + shift + (np.arange(width + 1, dtype=np.float64) - 0.5) * pixel
        low, high = _columns(self._xs(view.axis), values, edges, pixel, log=log)
        return _rows(low, high, view, height, log=log)

    def _xs(self, axis: Axis) -> Floats:
        return self.steps if axis == "step" else self.times

    def _check_order(self, step: float) -> None:
        last = self._data.item(0, self._size - 1)
        if step < last:
            raise ValueError(f"step {step:.0f} after step {last:.0f}: call truncate_above first")

    def _reserve(self, size: int) -> None:
        if size > self._data.shape[1]:
            grown = np.empty((3, max(size, 2 * self._data.shape[1])))
            grown[:, : self._size] = self._data[:, : self._size]
            self._data = grown

    def _widen(self, values: Floats) -> None:
        if values.size:
            self._low = float(np.fmin(self._low, np.fmin.reduce(values)))
            self._high = float(np.fmax(self._high, np.fmax.reduce(values)))


def bounds_of(bounds: Iterable[tuple[float, float] | None]) -> tuple[float, float] | None:
    """The bounds that hold all given ones, or None if there are none."""
    known = [bound for bound in bounds if bound is not None]
    if not known:
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _checked(steps: ArrayLike, times: ArrayLike, values: ArrayLike) -> Floats:
    """A fresh array of shape (3, points), in order and with NaN for what is not finite."""
    rows = [np.asarray(row, dtype=np.float64).ravel() for row in (steps, times, values)]
    if len({row.size for row in rows}) != 1:
        raise ValueError(f"{rows[0].size} steps, {rows[1].size} times, {rows[2].size} values")
    new = np.stack(rows)
    if not np.isfinite(new[:2]).all():
        raise ValueError("a step or a time is not a finite number")
    if (new[0, 1:] < new[0, :-1]).any():
        raise ValueError("steps go down: call truncate_above where a run rolled back")
    np.maximum.accumulate(new[1], out=new[1])
    new[2, ~np.isfinite(new[2])] = math.nan
    return new


def _columns(
    xs: Floats, values: Floats, edges: Floats, pixel: float, *, log: bool
) -> tuple[Floats, Floats]:
    """Least and greatest value shown in each column, in units of the y axis; NaN: none.

    `edges` are the borders of the columns, one more than there are columns.
    """
    width = edges.size - 1
    low, high = np.full(width, math.nan), np.full(width, math.nan)
    borders = np.searchsorted(xs, edges)
    first, last = int(borders[0]), int(borders[-1])
    # One point beyond each end, so that a line runs on to the edge of the picture.
    first, last = max(0, first - 1), min(xs.size, last + 1)
    if first == last:
        return low, high
    part = _positive(values[first:last]) if log else values[first:last]
    filled = np.flatnonzero(np.diff(borders))
    if filled.size:
        starts = borders[filled] - first
        stop = int(borders[-1]) - first
        low[filled] = np.fmin.reduceat(part[:stop], starts)
        high[filled] = np.fmax.reduceat(part[:stop], starts)
    if log:
        low, high = np.log10(low), np.log10(high)
    crossing = _crossings(xs[first:last], part, edges, borders - first, pixel, log=log)
    for bound, combine in ((low, np.fmin), (high, np.fmax)):
        combine(bound, crossing[:-1], out=bound)
        combine(bound, crossing[1:], out=bound)
    return low, high


def _crossings(
    xs: Floats,
    values: Floats,
    edges: Floats,
    after: NDArray[np.int64],
    pixel: float,
    *,
    log: bool,
) -> Floats:
    """The value of the line at each border of columns; NaN at a gap and beyond the ends.

    `after` is the index of the first point behind each border. Points stand in the middle of
    their pixel, so that the line is the same wherever in the column they fall.
    """
    crossing = np.full(edges.size, math.nan)
    inside = np.flatnonzero((after > 0) & (after < xs.size))
    right = after[inside]
    left = right - 1
    from_column = np.floor((xs[left] - edges[0]) / pixel)
    to_column = np.floor((xs[right] - edges[0]) / pixel)
    span = np.maximum(to_column - from_column, 1.0)
    share = np.clip((inside - 0.5 - from_column) / span, 0.0, 1.0)
    start, end = values[left], values[right]
    if log:
        start, end = np.log10(start), np.log10(end)
    crossing[inside] = start + (end - start) * share
    return crossing


def _rows(low: Floats, high: Floats, view: View, height: int, *, log: bool) -> Projection:
    """Values (logarithms with `log`) to pixel rows; columns wholly outside the view stay empty."""
    y0, y1 = (math.log10(view.y0), math.log10(view.y1)) if log else (view.y0, view.y1)
    scale = (height - 1) / (y1 - y0) if y1 > y0 else 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # far outside is infinitely far outside
        top, bottom = np.rint((y1 - high) * scale), np.rint((y1 - low) * scale)
    drawn = (bottom >= 0) & (top <= height - 1)  # False where NaN
    top = np.where(drawn, np.clip(top, 0, height - 1), -1).astype(np.int64)
    bottom = np.where(drawn, np.clip(bottom, 0, height - 1), -1).astype(np.int64)
    return Projection(top, bottom)


def _positive(values: Floats) -> Floats:
    """`values` with NaN for what has no logarithm; no copy where all have one."""
    if np.fmin.reduce(values) > 0:
        return values
    return np.where(values > 0, values, math.nan)


class _Ema:
    """An exponential moving average that goes on where it stopped."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self._smooth = np.empty(0)
        self._size = 0  # points smoothed
        self._finite = 0  # of them finite
        self._state = 0.0  # weighted sum of all finite values so far

    def follow(self, values: Floats) -> Floats:
        """The averages of `values`, of which the first ones are those given before."""
        if values.size > self._smooth.size:
            grown = np.empty(max(values.size, 2 * self._smooth.size))
            grown[: self._size] = self._smooth[: self._size]
            self._smooth = grown
        while self._size < values.size:
            block = values[self._size : self._size + _EMA_BLOCK]
            self._smooth[self._size : self._size + block.size] = self._extend(block)
            self._size += block.size
        return self._smooth[: values.size]

    def truncate(self, values: Floats) -> None:
        """Forget what follows `values`, of which all points were given before or are still new."""
        if values.size >= self._size:
            return
        self._size = values.size
        self._finite = int(np.count_nonzero(~np.isnan(values)))
        self._state = 0.0
        if self._finite:
            last = float(self._smooth[: self._size][~np.isnan(values)][-1])
            self._state = last * (1 - self.alpha**self._finite)

    def _extend(self, block: Floats) -> Floats:
        finite = ~np.isnan(block)
        sums = _decaying_sums((1 - self.alpha) * block[finite], self.alpha)
        ages = np.arange(1, sums.size + 1, dtype=np.float64)
        if sums.size:
            sums += self._state * self.alpha**ages
            self._state = float(sums[-1])
        weights = 1 - self.alpha ** (self._finite + ages)
        self._finite += sums.size
        averages = np.full(block.size, math.nan)
        averages[finite] = sums / weights
        return averages


def _decaying_sums(terms: Floats, alpha: float) -> Floats:
    """`s[i] = terms[i] + alpha * s[i - 1]`, by doubling the reach: log2 passes, no Python loop."""
    sums, reach, weight = terms, 1, alpha
    while reach < sums.size and weight > 1e-18:
        sums[reach:] += weight * sums[:-reach]
        reach, weight = 2 * reach, weight * weight
    return sums
