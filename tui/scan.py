"""Long looks through the rows, for a thread: filter, sort, search. Each may be ended at any time.

`tick` hears of the part that is done, 0 to 1, and ends the work by raising `Ended`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from multiprocessing import resource_tracker

import numpy as np

from core.data.filter import Array, Filter
from tui.columns import Column
from tui.rows import Rows

Tick = Callable[[float], None]

_EVERY = 0.1
_LOOKED = 64
_PIECE = 2000
"""Rows that are looked at between two that are shown."""
_MANY = 2000
"""Rows from which a search first looks through the bytes of the files."""


class Ended(Exception):  # noqa: N818 - a wish, not an error
    """The person does not want to know any more."""


class Stopwatch:
    """Calls `tick` ten times a second, however fast the rows go by."""

    def __init__(self, tick: Tick, total: int):
        self._tick, self._total = tick, max(1, total)
        self._next = 0.0

    def at(self, done: int) -> None:
        """So many are done. Cheap enough for every row."""
        if done % _LOOKED == 0 and (now := time.monotonic()) >= self._next:
            self._next = now + _EVERY
            self._tick(done / self._total)


def ready_for_processes() -> None:
    """Start what Python keeps for its other processes, with the program's true error stream.

    Textual puts one without a file in its place, and Python would fail to hand that on.
    """
    with redirect_stderr(sys.__stderr__):
        resource_tracker.ensure_running()


def select(rows: Rows, wanted: Filter, tick: Tick) -> Iterator[tuple[Array, float]]:
    """Numbers of the rows that pass a filter, some at a time, each with the part that is done.

    Where the survey is asked, or rows are still being found, it goes on until they are all known.
    Rows edited by hand may come before others that stand above them.
    """
    asks_survey = any(term.cheap for term in wanted.terms)
    reached = 0
    while True:
        # In this order: what is whole now has all rows that are counted behind it.
        whole = rows.looked_at if asks_survey else rows.complete
        count = rows.known if asks_survey else rows.count
        at = partial(tick, rows.part(reached))
        for numbers, done in _likely(rows, wanted, reached, count):
            yield _holding(rows, wanted, numbers, at), rows.part(done)
            at = partial(tick, rows.part(done))
        reached = count
        if whole:
            return
        at()
        time.sleep(_EVERY)


def _likely(rows: Rows, wanted: Filter, first: int, count: int) -> Iterator[tuple[Array, int]]:
    """Numbers from ``first`` to ``count`` that may pass, and up to where that is known."""
    numbers = first + np.flatnonzero(wanted.mask(rows, count)[first:])
    if not wanted.reads:
        yield numbers, count
    elif not wanted.needles:
        for start in range(0, len(numbers), _PIECE):
            some = numbers[start : start + _PIECE]
            yield some, int(some[-1]) + 1
    else:
        for likely, done in rows.holding(wanted.needles, first, count):
            yield np.intersect1d(numbers, likely, assume_unique=True), done


def _holding(rows: Rows, wanted: Filter, numbers: Array, tick: Callable[[], None]) -> Array:
    """Those of the numbers whose rows pass what has to be read for."""
    if not wanted.reads:
        return numbers
    watch = Stopwatch(lambda _: tick(), len(numbers))
    found = []
    for done, number in enumerate(numbers.tolist()):
        watch.at(done)
        if holds(rows, wanted, number):
            found.append(number)
    return np.array(found, dtype=np.int64)


def search(
    rows: Rows, wanted: Filter, order: Array | None, start: int, tick: Tick
) -> Iterator[int]:
    """Places in `order` (None: all rows, as they come) of rows that pass, from `start` on and
    round the end."""
    count = rows.count if order is None else len(order)
    cheap = wanted.mask(rows, rows.known)
    asks_survey = any(term.cheap for term in wanted.terms)
    places = (start + np.arange(count)) % max(1, count)
    if wanted.needles and count > _MANY:
        found = [np.zeros(0, np.int64)]
        for some, done in rows.holding(wanted.needles, 0, rows.count):
            tick(done / rows.count)
            found.append(some)
        likely = np.concatenate(found)
        places = places[np.isin(places if order is None else order[places], likely)]
    watch = Stopwatch(tick, len(places))
    for step, place in enumerate(places.tolist()):
        watch.at(step)
        number = place if order is None else int(order[place])
        passes = bool(cheap[number]) if number < len(cheap) else not asks_survey
        if passes and holds(rows, wanted, number):
            yield place


def holds(rows: Rows, wanted: Filter, number: int) -> bool:
    """Whether a row passes what has to be read for."""
    return not wanted.reads or wanted.holds(rows.row(number), partial(rows.chat, number))


def sort(rows: Rows, numbers: Array, column: Column, *, down: bool, tick: Tick) -> Array:
    """The same numbers in the order of a column; rows that are equal in it stay as they were.

    Where the survey has to tell, it is waited for.
    """
    keys = column.keys(rows)
    while keys is not None and len(keys) <= numbers.max(initial=-1) and not rows.looked_at:
        tick(rows.part(len(keys)))
        time.sleep(_EVERY)
        keys = column.keys(rows)
    if keys is not None:
        numbers = numbers[numbers < len(keys)]
        values = keys[numbers]
        # A dash is no number: such rows come last, whichever way it goes.
        nothing = values == 0 if column.right else np.zeros(len(values), np.bool_)
        return numbers[np.lexsort((-values if down else values, nothing))]
    watch = Stopwatch(tick, len(numbers))
    texts = []
    for done, number in enumerate(numbers.tolist()):
        watch.at(done)
        texts.append(column.text(rows, number)[:64].casefold())
    order = sorted(range(len(texts)), key=texts.__getitem__, reverse=down)
    return numbers[np.array(order, dtype=np.int64)]
