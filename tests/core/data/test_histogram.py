"""Bars of lengths: every row is in one, and a cut costs what it costs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.data.histogram import histogram, proposed


def test_without_rows_there_is_nothing() -> None:
    assert histogram(np.array([], dtype=np.uint32)) == []
    assert proposed([]) is None


def test_bars_end_at_lengths_one_would_cut_at() -> None:
    bars = histogram(np.array([3, 16, 17, 25, 50], dtype=np.uint32))
    assert [(bar.low, bar.high, bar.rows) for bar in bars] == [
        (0, 16, 2), (16, 24, 1), (24, 32, 1), (32, 48, 0), (48, 64, 1),
    ]  # fmt: skip
    assert [(bar.cut_rows, bar.lost) for bar in bars] == [
        (3, 1 + 9 + 34), (2, 1 + 26), (1, 18), (1, 2), (0, 0),
    ]  # fmt: skip


def test_the_proposal_leaves_99_of_100_rows_whole() -> None:
    lengths = np.array([90] * 99 + [5000])
    assert proposed(histogram(lengths)) == 96
    assert proposed(histogram(np.array([90] * 98 + [5000] * 2))) == 6144


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=60))
def test_every_row_is_in_one_bar_and_the_last_cuts_nothing(lengths: list[int]) -> None:
    bars = histogram(np.array(lengths, dtype=np.uint32))
    assert sum(bar.rows for bar in bars) == len(lengths)
    assert (bars[-1].cut_rows, bars[-1].lost) == (0, 0)
    for bar in bars:
        assert bar.cut_rows == sum(n > bar.high for n in lengths)
        assert bar.lost == sum(max(0, n - bar.high) for n in lengths)
