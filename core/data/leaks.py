"""Held-out rows that the training also sees: they would measure memory, not what was learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.data.repeats import Firsts
from core.data.sources import Rejected
from core.data.survey import Survey

EXACT = "repeats_training_row"


def leaks(own: Survey, train: Sequence[int], given: Survey) -> list[tuple[int, Rejected]]:
    """The kept rows of ``given`` that repeat one of the ``train`` rows of ``own``, and why."""
    rows = np.array(sorted(train), np.int64)
    known = Firsts()
    known.origins(own.key(rows), rows)
    kept = given.kept
    found = []
    for number, row in zip(kept.tolist(), known.find(given.key(kept)).tolist(), strict=True):
        if row >= 0:
            file, line = own.place(row)
            rejected = Rejected(*given.place(number), EXACT, f"repeats {file}, line {line}")
            found.append((number, rejected))
    return found
