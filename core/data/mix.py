"""Which kept rows are learned, which are held out, and how often each is seen in an epoch.

All of it follows from the seed and the rows' order, so that the same data is split and mixed the
same way everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from core.config.counted import counted
from core.config.data import DataConfig
from core.config.errors import InputError

Array = npt.NDArray[Any]

MANY_TIMES = 10
"""A row that is seen more often than this in one epoch will be learned by heart."""


@dataclass(frozen=True)
class Split:
    """Numbers of rows: to learn from (in a seeded random order), held out, and left out."""

    train: Array
    held_out: Array
    left_out: Array


@dataclass(frozen=True)
class Share:
    """One set in the mix: what it has, what it gets, and how often its rows are seen."""

    name: str
    weight: float
    rows: int
    tokens: int
    rows_seen: int
    tokens_seen: int

    @property
    def times(self) -> float:
        """How often its rows are seen in an epoch, on average."""
        return self.rows_seen / self.rows if self.rows else 0.0

    def words(self, seen: int, by: str) -> str:
        """One sentence about it; ``seen`` is what all sets together give, in rows or tokens."""
        if not self.rows:
            return f"{Path(self.name).name} has no row to learn from, and no part in the mix"
        own = self.rows_seen if by == "rows" else self.tokens_seen
        how = "once" if self.rows_seen == self.rows else f"{self.times:.1f} times"
        return (
            f"{Path(self.name).name} is seen {how} an epoch: {own:,} of {seen:,} {by} "
            f"({own / seen:.0%})"
        )

    def as_dict(self) -> dict[str, object]:
        return {
            "set": self.name, "weight": self.weight, "rows": self.rows, "tokens": self.tokens,
            "rows_an_epoch": self.rows_seen, "tokens_an_epoch": self.tokens_seen,
            "times_an_epoch": round(self.times, 4),
        }  # fmt: skip


def check_weights(data: DataConfig) -> None:
    """Refuse weights that are not one for each entry of the files. Raises InputError."""
    if data.weights and len(data.weights) != len(data.files):
        raise InputError(
            f"data.weights has {counted(len(data.weights), 'number')} for "
            f"{counted(len(data.files), 'entry', 'entries')} of data.files",
            kind="bad_weights",
            remedies=("write one weight for each entry, in the same order, or clear them",),
        )


def split(rows: Array, groups: Array, data: DataConfig) -> Split:
    """Choose among ``rows`` (numbers, with the group of each) as the settings say."""
    order = _shuffled(len(rows), data.seed)
    limit = data.max_train_samples or len(order)
    order, left = order[:limit], order[limit:]
    count = 0
    if not data.eval_files and data.eval_fraction > 0 and len(order) > 1:
        count = min(max(1, round(len(order) * data.eval_fraction)), len(order) - 1)
    held = np.arange(len(order)) < count
    if data.stratify_by:
        held = _by_group(groups[order], count)
    return Split(rows[order[~held]], np.sort(rows[order[held]]), rows[left])


def _by_group(groups: Array, count: int) -> Array:
    """Which rows, in their order, are the ``count`` that have the same share of each group, as far
    as whole rows allow: the first of each."""
    _, own, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    wanted = sizes * count / len(groups)
    taken = wanted.astype(np.int64)
    by_rest = np.argsort(taken - wanted, kind="stable")
    taken[by_rest[: count - int(taken.sum())]] += 1
    together = np.argsort(own, kind="stable")
    place = np.empty_like(together)
    place[together] = np.arange(len(own)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.asarray(place < taken[own])


def mix(
    sets: Array,
    lengths: Array,
    names: Sequence[str],
    weights: Sequence[float],
    by: Literal["rows", "tokens"],
    seed: int,
) -> tuple[Array, list[Share]]:
    """Which rows an epoch has, with rows of small sets more than once, and what that comes to.

    ``sets`` and ``lengths`` (in tokens) have an entry for each row. No row is left out: the set
    that has most for its weight is seen once, the others as often as their weights ask.
    """
    sizes = lengths if by == "tokens" else np.ones_like(lengths)
    have = [int(sizes[sets == number].sum()) for number in range(len(names))]
    scale = max((size / weight for size, weight in zip(have, weights, strict=True)), default=0.0)
    parts, shares = [], []
    for number, (name, weight) in enumerate(zip(names, weights, strict=True)):
        rows = np.flatnonzero(sets == number)
        chosen = _repeated(rows, sizes, weight * scale, (seed, number))
        parts.append(chosen)
        shares.append(
            Share(
                name, weight, len(rows), int(lengths[rows].sum()), len(chosen),
                int(lengths[chosen].sum()),
            )
        )  # fmt: skip
    epoch = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return epoch[_shuffled(len(epoch), seed)], shares


def _repeated(rows: Array, sizes: Array, wanted: float, seeds: tuple[int, ...]) -> Array:
    """The rows as often as brings their sizes together to about ``wanted``."""
    have = int(sizes[rows].sum())
    if not have:
        return rows
    whole = max(1, int(wanted / have + 1e-9))
    order = rows[_shuffled(len(rows), *seeds)]
    rest = wanted - whole * have
    # A row more where that comes nearer to what is wanted.
    extra = order[: int(np.searchsorted(np.cumsum(sizes[order]) - sizes[order] / 2, rest))]
    return np.concatenate([np.tile(rows, whole), extra])


def _shuffled(count: int, *seeds: int) -> Array:
    """The numbers below ``count`` in an order that follows from the seeds, in every version of
    numpy: the streams of RandomState are frozen (NEP 19)."""
    bits = np.random.MT19937(np.random.SeedSequence(seeds))
    return np.random.RandomState(bits).permutation(count)


def mix_words(shares: Sequence[Share], by: Literal["rows", "tokens"]) -> list[tuple[str, str]]:
    """What the mix comes to, a sentence a set, each with the level it is logged at."""
    seen = sum(share.rows_seen if by == "rows" else share.tokens_seen for share in shares)
    told = [(share.words(seen, by), "info") for share in shares]
    told += [
        (
            f"{Path(share.name).name} would be learned by heart, seen {share.times:.0f} times an "
            "epoch: lower its weight, or add rows",
            "warning",
        )
        for share in shares
        if share.times > MANY_TIMES
    ]
    return told
