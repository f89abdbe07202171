"""Held-out rows that the training also sees: they would measure memory, not what was learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.config.counted import counted
from core.config.data import DataConfig
from core.data.chats.formats import Chat
from core.data.mix import Array
from core.data.read.sources import Rejected
from core.data.repeats.exact import Firsts
from core.data.repeats.near import leaks as near_leaks
from core.data.survey import Survey

EXACT, NEAR = "repeats_training_row", "near_training_row"
NEAR_ROWS = 200_000
"""More rows than this are compared nearly only when ``data.leaks`` asks: it takes minutes."""
_TELL_ROWS = 1000


@dataclass(frozen=True)
class Leak:
    """A held-out row that a training row repeats, exactly or nearly."""

    row: int
    exact: bool
    rejected: Rejected


def looks_for_near(data: DataConfig, rows: int) -> bool:
    """Whether so many rows are compared nearly too."""
    return data.leaks == "near" or rows <= NEAR_ROWS


def find_leaks(
    own: Survey,
    train: Array,
    given: Survey,
    held: Array,
    told: Callable[[Survey], None],
    *,
    near: bool = True,
) -> list[Leak]:
    """The ``held`` rows of ``given`` that repeat one of the ``train`` rows of ``own``.

    ``near``: those that nearly repeat one too. ``told`` is called now and then; it may raise to end
    it.
    """
    found = list(_exact(own, train, given, held))
    if not len(held) or not near:
        return found
    rest = held[~np.isin(held, [leak.row for leak in found])]
    alike = near_leaks(
        _chats(own, train, told),
        _chats(given, rest, told),
        own.config.clean.near_threshold,
        own.spool.folder if own.spool is not None else None,
    )
    for leak in alike:
        detail = f"shares {leak.similarity:.0%} of its word groups with {_where(own, leak.train)}"
        row = Rejected(*given.place(leak.held_out), NEAR, detail)
        found.append(Leak(leak.held_out, False, row))
    return found


def leak_words(leaks: Mapping[str, Any]) -> list[str]:
    """What was found, for the log."""
    told = []
    if leaks["exact"]:
        told.append(
            counted(
                leaks["exact"],
                "held-out row repeats a training row and is left out",
                "held-out rows repeat training rows and are left out",
            )
        )
    if leaks["near"]:
        left_out = leaks["dropped"] > leaks["exact"]
        one = "is left out" if left_out else "stays: data.leaks = near leaves it out"
        many = "are left out" if left_out else "stay: data.leaks = near leaves them out"
        told.append(counted(
            leaks["near"], f"held-out row nearly repeats a training row and {one}",
            f"held-out rows nearly repeat training rows and {many}",
        ))  # fmt: skip
    return told


def _exact(own: Survey, train: Array, given: Survey, held: Array) -> Iterator[Leak]:
    rows = np.sort(train)
    known = Firsts()
    known.origins(own.key(rows), rows)
    found = known.find(given.key(held))
    for number, row in zip(held.tolist(), found.tolist(), strict=True):
        if row >= 0:
            detail = f"repeats {_where(own, row)}"
            yield Leak(number, True, Rejected(*given.place(number), EXACT, detail))


def _chats(
    survey: Survey, numbers: Array, told: Callable[[Survey], None]
) -> Iterator[tuple[int, Chat]]:
    for count, number in enumerate(numbers.tolist()):
        if count % _TELL_ROWS == 0:
            told(survey)
        yield number, survey.chat(number).chat


def _where(survey: Survey, number: int) -> str:
    file, line = survey.place(number)
    return f"{file}, line {line}"
