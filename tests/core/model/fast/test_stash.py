"""Which cells stay on the device, and that a ring of two slots gives each cell its tensors back."""

from __future__ import annotations

import weakref
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.model.fast.graphs import Graphs
from core.model.fast.slot import Part, Slot, Widths
from core.model.fast.stash import Stash, ranks_of

GPU = torch.cuda.is_available()
LAYERS, TOKENS, HEADS = 6, 512, 8
WIDTHS = Widths(
    hidden=1024, qkv=1536, attention=1024, attention_pad=32, state=2 * HEADS, tails=(64, 32, 32),
    gate_up=2048, gate_up_pad=32,
)  # fmt: skip


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


class Filled:
    """A stash whose cells are filled with numbers of their own, and looked at backward.

    ``busy`` is how long the GPU computes in a cell, in cycles: copies take 200,000 or so.
    """

    def __init__(self, *, kept: int, held: int, device: str, light: bool = False, busy: int = 0):
        self.device, self._busy = torch.device(device), busy
        self.stash = Stash(
            LAYERS, replace(WIDTHS, light=light), kept=kept, held=held, tokens=TOKENS,
            dtype=torch.bfloat16, device=self.device,
        )  # fmt: skip
        self.first = torch.zeros((), dtype=torch.bfloat16, device=self.device)
        """Added to all numbers, which end below 256: bf16 has them all."""
        self.wrong = torch.zeros((), dtype=torch.int64, device=self.device)
        """Elements that were not what they should have been."""

    def forward(self, cells: int) -> None:
        for cell in range(cells):
            slot, number = self.stash.slot(cell), count(8 * cell)
            for part in Part:
                self._compute()
                for tensor in shared(slot):
                    tensor.fill_(-1)
                for tensor in tensors(slot, part):
                    tensor.copy_(self.first + next(number))
                if part is Part.ATTENTION:
                    state = torch.zeros(HEADS, len(slot.x), device=self.device)
                    slot.keep_state(state.copy_(self.first + 8 * cell))
                if slot.gate_up is not None:
                    slot.gate_up.whole.copy_(self.first + 8 * cell)
                slot.finished(part)
            self.stash.filled(cell, slot)
        self.stash.join()

    def backward(self, cells: int) -> None:
        for cell in reversed(range(cells)):
            slot, number = self.stash.load(cell), count(8 * cell)
            for tensor in shared(slot):
                tensor.fill_(-1)
            for part in Part:
                for tensor in tensors(slot, part):
                    self._compare(tensor, next(number))
            self._compare(slot.kept_state, 8 * cell)
            assert slot.state_shape == (HEADS, len(slot.x))
            if slot.gate_up is not None:
                self._compare(slot.gate_up.whole, 8 * cell)
            self._compute()
            for part in Part:  # what is fetched next must not come before this
                for tensor in tensors(slot, part):
                    tensor.fill_(-1)
            self.stash.release(cell)

    def _compare(self, found: torch.Tensor, number: int) -> None:
        self.wrong += (found != self.first + number).sum()

    def _compute(self) -> None:
        if self._busy:
            torch.cuda._sleep(self._busy)


def tensors(slot: Slot, part: Part) -> list[torch.Tensor]:
    """What the cell has for itself of a part, log-sum-exp left out."""
    found = {
        Part.QUERIES: [slot.x, slot.tails.qkv, slot.qkv],
        Part.ATTENTION: [slot.o.whole, slot.h],
        Part.TAILS: [slot.tails.gate_up, slot.tails.down],
    }[part]
    return [tensor for tensor in found if not any(tensor is one for one in shared(slot))]


def shared(slot: Slot) -> list[torch.Tensor]:
    """What cells write one over the other's."""
    return [slot.h, slot.qkv] if slot.light else []


def test_light_slots_share_one_place_for_what_is_computed_again() -> None:
    made = Filled(kept=0, held=LAYERS, device="cpu", light=True).stash
    made.begin([TOKENS, 40], keep=True)
    one, other = made.slot(0), made.slot(3)
    assert [slot.h.shape for slot in (one, other)] == [(TOKENS, 1024), (40, 1024)]
    assert [slot.qkv.shape for slot in (one, other)] == [(TOKENS, 1536), (40, 1536)]
    parts = one.h, one.qkv, other.h, other.qkv
    assert all(part.is_contiguous() for part in parts)
    assert len({part.data_ptr() for part in parts}) == 1


def test_memory_is_given_back_before_more_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation has one piece, the training behind it several: both at once may not fit."""
    made = Filled(kept=4, held=0, device="cpu", light=True).stash
    made.begin([TOKENS], keep=False)
    slot = made.slot(LAYERS - 1)
    assert slot.gate_up is not None
    before = [weakref.ref(part.untyped_storage()) for part in (slot.x, slot.gate_up.whole, slot.h)]
    assert all(storage() is not None for storage in before)
    del slot
    empty, left = torch.empty, []

    def taken(*shape: int, **wish: Any) -> torch.Tensor:
        left.append(sum(storage() is not None for storage in before))
        return empty(*shape, **wish)

    monkeypatch.setattr(torch, "empty", taken)
    made.begin([TOKENS, TOKENS], keep=True)
    assert len(left) == 2 * LAYERS + 4 + 1  # slots, gate and up, what light ones share
    assert not any(left)


def test_a_pass_that_is_replayed_has_the_shapes_of_its_own_kind() -> None:
    """The pass before may have had its log-sum-exp in another shape."""
    made = Filled(kept=0, held=0, device="cpu").stash
    for key, shape in (("cuDNN's", (1, HEADS, TOKENS, 1)), ("flash's", (HEADS, TOKENS))):
        made.begin([TOKENS], keep=True, key=key)
        slot = made.slot(2)
        slot.keep_state(torch.zeros(shape))
        made.filled(2, slot)
    made.begin([TOKENS], keep=True, key="cuDNN's")
    assert made.load(2).kept_state.shape == (1, HEADS, TOKENS, 1)
    made.begin([TOKENS], keep=True, key="flash's")
    assert made.load(2).kept_state.shape == (HEADS, TOKENS)


@pytest.mark.parametrize("light", [False, True])
def test_without_a_gpu_all_cells_stay(light: bool) -> None:
    filled = Filled(kept=3, held=0, device="cpu", light=light)
    for lengths in ([40], [40, 7]):
        filled.stash.begin(lengths, keep=True)
        filled.forward(LAYERS * len(lengths))
        filled.backward(LAYERS * len(lengths))
    assert int(filled.wrong) == 0
    filled.stash.begin([40], keep=True)
    filled.forward(LAYERS)
    filled.first += 1
    filled.backward(LAYERS)
    assert int(filled.wrong) > 0, "the comparison sees nothing"


@pytest.mark.skipif(not GPU, reason="without a GPU all cells stay")
@pytest.mark.parametrize("busy", [0, 300_000])
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("kept", [0, 4])
@pytest.mark.parametrize("held", [0, 1, 2, 3 * LAYERS])
@pytest.mark.parametrize("light", [False, True])
def test_cells_come_back_through_the_ring(
    light: bool, held: int, kept: int, recorded: bool, busy: int
) -> None:
    """Whether copies or computation take longer, as they are, recorded and replayed."""
    filled = Filled(kept=kept, held=held, device="cuda", light=light, busy=busy)
    graphs = Graphs(enabled=True)
    for lengths in ([TOKENS, 384, TOKENS], [TOKENS], [300, 200]):
        cells = LAYERS * len(lengths)
        for first in (0, 50, 100, 20):
            key = tuple(lengths) if recorded else None
            filled.first.fill_(first)
            filled.stash.begin(lengths, keep=True)
            graphs.run(key and (key, "forward"), lambda n=cells: filled.forward(n))  # type: ignore[misc]
            graphs.run(key and (key, "backward"), lambda n=cells: filled.backward(n))  # type: ignore[misc]
            assert int(filled.wrong) == 0, (lengths, first)
