"""Bars of lengths: every row is in one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.data.histogram import histogram


def test_without_rows_there_is_nothing() -> None:
    assert histogram(np.array([], dtype=np.uint32)) == []


def test_bars_end_at_lengths_one_would_cut_at() -> None:
    assert histogram(np.array([3, 16, 17, 25, 50], dtype=np.uint32)) == [
        (0, 16, 2), (16, 24, 1), (24, 32, 1), (32, 48, 0), (48, 64, 1),
    ]  # fmt: skip


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=60))
def test_every_row_is_in_one_bar(lengths: list[int]) -> None:
    bars = histogram(np.array(lengths, dtype=np.uint32))
    assert sum(bar.rows for bar in bars) == len(lengths)
    for bar in bars:
        assert bar.rows == sum(bar.low < n <= bar.high for n in lengths)
