"""Which cells stay on the device, and that a ring of two slots gives each cell its tensors back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model.fast.stash import ranks_of


@given(st.integers(1, 300), st.data())
def test_each_cell_has_a_place_of_its_own(cells: int, data: st.DataObject) -> None:
    sent = data.draw(st.integers(0, cells))
    ranks = ranks_of(cells, sent)
    assert len(set(ranks)) == cells
    assert [rank for leaves, rank in ranks if leaves] == list(range(sent))
    assert [rank for leaves, rank in ranks if not leaves] == list(range(cells - sent))


@pytest.mark.parametrize(("cells", "held"), [(32, 9), (128, 31), (32, 0), (32, 32), (10, 3)])
def test_those_that_stay_are_spread_evenly(cells: int, held: int) -> None:
    stay = [cell for cell, (leaves, _) in enumerate(ranks_of(cells, cells - held)) if not leaves]
    assert len(stay) == held
    if 0 < held < cells:
        apart = [after - before for before, after in zip([-1, *stay], stay, strict=False)]
        assert max(apart) - min(apart) <= 1
        assert stay[-1] == cells - 1
