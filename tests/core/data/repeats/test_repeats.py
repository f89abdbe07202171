"""Repetitions are told as a plain dictionary would tell them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.data.repeats.exact import Firsts


@given(blocks=st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=12))
def test_as_a_dictionary_would(blocks: list[list[int]]) -> None:
    firsts, seen, number = Firsts(), dict[int, int](), 0
    for block in blocks:
        keys = np.array([(v * 7919, v) for v in block], "<u8").reshape(-1, 2).view("V16").ravel()
        numbers = np.arange(number, number + len(block))
        wanted = []
        for row, value in zip(numbers.tolist(), block, strict=True):
            wanted.append(seen.get(value, -1))
            seen.setdefault(value, row)
        assert firsts.origins(keys, numbers).tolist() == wanted
        number += len(block)


def test_finding_notes_nothing() -> None:
    firsts = Firsts()
    keys = np.arange(8, dtype="<u8").reshape(4, 2).view("V16").ravel()
    assert firsts.find(keys).tolist() == [-1] * 4
    firsts.origins(keys[:2], np.array([10, 11]))
    assert firsts.find(keys[::-1]).tolist() == [-1, -1, 11, 10]


def test_keys_that_agree_by_half_are_no_repetition() -> None:
    firsts = Firsts()
    keys = np.array([(1, 5), (1, 6)], "<u8").view("V16").ravel()
    assert firsts.origins(keys, np.array([0, 1])).tolist() == [-1, -1]
    assert firsts.origins(keys[1:], np.array([2])).tolist() in ([1], [-1])
    other = np.array([(1, 7)], "<u8").view("V16").ravel()
    assert firsts.origins(other, np.array([3])).tolist() == [-1]
