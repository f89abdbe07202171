"""Split and mix: by the seed alone, no row lost, shares as they were asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.data import DataConfig
from core.config.errors import InputError
from core.data.mix import check_weights, mix, split


def data(**settings: Any) -> DataConfig:
    return DataConfig.model_validate({"files": ["a.jsonl"]} | settings)


def test_the_split_follows_from_the_seed() -> None:
    rows = np.arange(100, 200)
    first, again, other = (split(rows, rows, data(seed=s, eval_fraction=0.2)) for s in (1, 1, 2))
    assert first.train.tolist() == again.train.tolist() != other.train.tolist()
    assert first.held_out.tolist() == again.held_out.tolist()
    assert len(first.held_out) == 20
    assert sorted([*first.train, *first.held_out]) == rows.tolist()
    assert first.train.tolist() != sorted(first.train.tolist())


def test_rows_beyond_the_limit_are_left_out_not_lost() -> None:
    rows = np.arange(50)
    found = split(rows, rows, data(max_train_samples=20))
    assert len(found.train) == 18
    assert len(found.held_out) == 2
    assert sorted([*found.train, *found.held_out, *found.left_out]) == rows.tolist()


@given(
    groups=st.lists(st.integers(0, 4), min_size=2, max_size=80),
    fraction=st.sampled_from([0.05, 0.1, 0.25, 0.5]),
)
def test_a_stratified_split_keeps_the_shares(groups: list[int], fraction: float) -> None:
    rows, named = np.arange(len(groups)), np.array(groups)
    found = split(rows, named, data(eval_fraction=fraction, stratify_by="kind"))
    plain = split(rows, named, data(eval_fraction=fraction))
    assert len(found.held_out) == len(plain.held_out)
    held = Counter(groups[row] for row in found.held_out)
    for group, count in Counter(groups).items():
        assert abs(held[group] - count * len(found.held_out) / len(groups)) < 1


def test_one_row_is_learned_and_none_held_out() -> None:
    assert split(np.array([7]), np.array([0]), data()).train == [7]


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    weights=st.lists(st.sampled_from([0.2, 1, 4, 20, 80]), min_size=4, max_size=4),
    by=st.sampled_from(["rows", "tokens"]),
)
def test_shares_are_as_asked_and_no_row_is_left_out(
    counts: list[int], weights: list[float], by: Any
) -> None:
    sets = np.repeat(np.arange(len(counts)), counts)
    lengths = 10 + (np.arange(len(sets)) * 7) % 23
    weights = weights[: len(counts)]
    names = [f"{n}.jsonl" for n in range(len(counts))]
    epoch, shares = mix(sets, lengths, names, weights, by, 3)
    again, _ = mix(sets, lengths, names, weights, by, 3)
    assert np.array_equal(epoch, again)
    assert set(epoch.tolist()) == set(range(len(sets)))
    seen = [share.rows_seen if by == "rows" else share.tokens_seen for share in shares]
    assert sum(share.rows_seen for share in shares) == len(epoch)
    largest = 1 if by == "rows" else 33
    scale = max(
        (n if by == "rows" else t) / w
        for n, t, w in zip(counts, [share.tokens for share in shares], weights, strict=True)
    )
    for amount, weight in zip(seen, weights, strict=True):
        assert abs(amount - weight * scale) <= largest


def test_oversampling_is_said_in_words() -> None:
    sets = np.array([0] * 80 + [1] * 10)
    _, (domain, general) = mix(sets, np.full(90, 5), ["d/domain.jsonl", "general.jsonl"],
                               [80, 20], "rows", 1)  # fmt: skip
    assert domain.words(100, "rows") == ("domain.jsonl is seen once an epoch: 80 of 100 rows (80%)")
    assert general.words(100, "rows") == (
        "general.jsonl is seen 2.0 times an epoch: 20 of 100 rows (20%)"
    )
    assert general.as_dict()["times_an_epoch"] == 2
    _, (_, empty) = mix(np.zeros(9, np.int64), np.full(9, 5), ["a", "b.jsonl"], [1, 1], "rows", 1)
    assert empty.words(9, "rows") == "b.jsonl has no row to learn from, and no part in the mix"


def test_weights_that_fit_no_files_are_refused() -> None:
    with pytest.raises(InputError, match="2 numbers for 1 entry"):
        check_weights(data(weights="80:20"))
    with pytest.raises(ValueError, match="above 0"):
        data(weights=[0])
