"""Which rows a run learns from and which it holds out, found the same way by all who ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.config.errors import InputError
from core.data.leaks import find_leaks, looks_for_near
from core.data.mix import Array, split
from core.data.read.sources import Rejected
from core.data.survey import Survey


@dataclass(frozen=True)
class Choice:
    """Numbers of rows: to learn from in ``own``; held out of ``given``, or of ``own`` without."""

    train: Array
    held_out: Array
    leaks: dict[str, Any] = field(default_factory=dict)
    """How many held-out rows repeat training rows, and what became of them."""


def choose(
    own: Survey, given: Survey | None, told: Callable[[Survey], None], *, near: bool = True
) -> Choice:
    """Split the rows, and reject those that are not sampled or that leak.

    ``given`` are the rows of ``data.eval_files``. Rows that are too long for the model are chosen
    with the others, for a run learns of their tokens only later. Without ``near`` held-out rows
    that nearly repeat others are looked for only where ``data.leaks`` asks. Raises InputError when
    no row has the field of ``data.stratify_by``.
    """
    data = own.config.data
    _refuse_no_field(own)
    rows = own.candidates
    found = split(rows, own.group[rows], data)
    for number in found.left_out.tolist():
        detail = f"max_train_samples is {data.max_train_samples}"
        own.take_back(number, Rejected(*own.place(number), "not_sampled", detail))
    side = own if given is None else given
    held = found.held_out if given is None else given.candidates
    near = (near or data.leaks == "near") and looks_for_near(data, len(found.train) + len(held))
    leaked = find_leaks(own, found.train, side, held, told, near=near)
    dropped = {leak.row: leak.rejected for leak in leaked if leak.exact or data.leaks == "near"}
    for number, rejected in dropped.items():
        side.take_back(number, rejected)
    leaks = {
        "exact": sum(leak.exact for leak in leaked),
        "near": sum(not leak.exact for leak in leaked),
        "dropped": len(dropped),
        "looked_for_near": near,
    }
    return Choice(found.train, held[~np.isin(held, list(dropped))], leaks)


def settled(chosen: Choice, own: Survey, given: Survey | None) -> Choice:
    """The choice without the rows that were rejected for their tokens."""
    held = _still_kept(own if given is None else given, chosen.held_out)
    return Choice(_still_kept(own, chosen.train), held, chosen.leaks)


def _still_kept(survey: Survey, numbers: Array) -> Array:
    return np.asarray(numbers[survey.reason[numbers] == 0])


def _refuse_no_field(own: Survey) -> None:
    name = own.config.data.stratify_by
    if name and len(own.groups) == 1:
        raise InputError(
            f"no row has a field {name}, which data.stratify_by names",
            kind="no_such_field",
            remedies=("name a field of the rows, or clear data.stratify_by",),
        )
