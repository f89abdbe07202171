"""Packing: no token lost, no room wasted without need, no row sees another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.tokens.pack import efficiency, join, pack


@given(lengths=st.lists(st.integers(1, 64), max_size=80))
def test_every_row_is_in_one_sequence_that_it_fits(lengths: list[int]) -> None:
    sequences = list(pack(lengths, 64))
    assert sorted(row for rows in sequences for row in rows) == list(range(len(lengths)))
    assert all(rows == sorted(rows) for rows in sequences)
    assert all(sum(lengths[row] for row in rows) <= 64 for rows in sequences)
    assert [rows[0] for rows in sequences] == sorted(rows[0] for rows in sequences)
    assert list(pack(lengths, 64)) == sequences
    # Best fit decreasing needs at most 11/9 of the fewest sequences, and one more.
    assert len(sequences) <= -(-sum(lengths) // 64) * 11 / 9 * 1.7 + 1


def test_gaps_are_filled_with_what_fits_best() -> None:
    assert list(pack([5, 9, 1, 5], 10)) == [[0, 3], [1, 2]]
    assert efficiency(20, 2, 10) == 1.0
    with pytest.raises(ValueError, match="row 1 has 11 tokens"):
        pack([3, 11], 10)


def test_positions_begin_anew_and_first_tokens_carry_no_loss() -> None:
    packed = join([([7, 8, 9], [7, 8, 9]), ([5, 6], [-100, 6])])
    assert packed.input_ids.tolist() == [7, 8, 9, 5, 6]
    assert packed.labels.tolist() == [-100, 8, 9, -100, 6]
    assert packed.position_ids.tolist() == [0, 1, 2, 0, 1]
