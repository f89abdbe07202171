"""The output head that waits in RAM, against the one on the device; on the CPU."""

from __future__ import annotations

import pytest
import torch
from fast_models import adapted, flat_batch, gradients, whole

from core.model.fast import footprint, plain
from core.model.fast.dims import Dims
from core.model.fast.head import Head, Scored
from core.model.fast.model import FastModel
from core.model.fast.plan import Plan
from core.model.fast.streamed import Belt, StreamedHead

VOCABULARY, HIDDEN = 300, 16
CPU = torch.device("cpu")


class Room:
    """The shared memory, of any size."""

    def __init__(self, elements: int = 1, dtype: torch.dtype = torch.float32):
        self._flat = torch.full((elements,), torch.nan, dtype=dtype)
        self.asked = 0

    def room(self, least: int) -> torch.Tensor:
        self.asked = least
        if len(self._flat) < least:
            self._flat = torch.full((least,), torch.nan, dtype=self._flat.dtype)
        return self._flat

    def logits(self, rows: int, vocabulary: int) -> torch.Tensor:
        return self.room(rows * vocabulary)[: rows * vocabulary].view(rows, vocabulary)


def scored(lengths: list[int], labelled: list[int], dtype: torch.dtype) -> list[Scored]:
    return [
        Scored(
            torch.randn(length, HIDDEN).to(dtype),
            torch.randperm(length)[:count].sort().values,
            torch.randint(0, VOCABULARY, (count,)),
        )
        for length, count in zip(lengths, labelled, strict=True)
    ]


def copies(pieces: list[Scored]) -> list[Scored]:
    return [piece._replace(hidden=piece.hidden.clone()) for piece in pieces]


@pytest.mark.parametrize("tile", [7, 100, 299, 300, 4096])
@pytest.mark.parametrize("elements", [1, 20_000, 1_000_000])
def test_loss_and_gradient_are_those_of_the_head_on_the_device(tile: int, elements: int) -> None:
    torch.manual_seed(0)
    table, norm = torch.randn(VOCABULARY, HIDDEN), torch.rand(HIDDEN) + 0.5
    pieces = scored([40, 9, 25], [33, 0, 1], torch.float32)
    first, second = copies(pieces), copies(pieces)
    wanted = Head(norm, 1e-6, table, 8, plain).loss(first, Room(), keep=True)  # type: ignore[arg-type]
    head = StreamedHead(norm, 1e-6, Belt(table, CPU, tile), 8, plain)
    found = head.loss(second, Room(elements), keep=True)  # type: ignore[arg-type]
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    for mine, theirs in zip(second, first, strict=True):
        assert float((mine.hidden - theirs.hidden).norm()) <= 1e-6 * float(theirs.hidden.norm())
    third = copies(pieces)
    loss = head.loss(third, Room(elements), keep=False)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert all(torch.equal(a.hidden, b.hidden) for a, b in zip(third, pieces, strict=True))


def test_its_room_is_what_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "HEAD_TILE", 100)
    dims = Dims(1, HIDDEN, 0, HIDDEN, HIDDEN, VOCABULARY, False, rank=4)
    plan = Plan(0, host_head=True, loss_rows=8, micro_batch=2, longest=40)
    table, norm = torch.randn(VOCABULARY, HIDDEN).bfloat16(), torch.ones(HIDDEN).bfloat16()
    pieces, room = scored([40, 40], [40, 40], torch.bfloat16), Room(dtype=torch.bfloat16)
    StreamedHead(norm, 1e-6, Belt(table, CPU, 100), 8, plain).loss(pieces, room, keep=True)  # type: ignore[arg-type]
    # Four tensors begin at a multiple of 64 elements.
    planned = footprint._loss_room(dims, plan)
    assert planned <= room.asked < planned + 5 * 64


def test_half_precision_is_no_worse_than_on_the_device() -> None:
    torch.manual_seed(0)
    table, norm = torch.randn(VOCABULARY, HIDDEN).bfloat16(), torch.ones(HIDDEN).bfloat16()
    pieces = scored([60], [50], torch.bfloat16)
    exact = [pieces[0]._replace(hidden=pieces[0].hidden.double())]
    Head(norm.double(), 1e-6, table.double(), 64, plain).loss(
        exact, Room(dtype=torch.float64), keep=True,  # type: ignore[arg-type]
    )  # fmt: skip
    errors = []
    for head in (
        Head(norm, 1e-6, table, 64, plain),
        StreamedHead(norm, 1e-6, Belt(table, CPU, 64), 64, plain),
    ):
        copy = copies(pieces)
        head.loss(copy, Room(dtype=torch.bfloat16), keep=True)  # type: ignore[arg-type]
        errors.append(float((copy[0].hidden.double() - exact[0].hidden).norm()))
    assert errors[1] < 1.2 * errors[0]


def test_very_large_logits_do_not_overflow() -> None:
    table, norm = torch.randn(VOCABULARY, HIDDEN) * 300, torch.ones(HIDDEN)
    pieces = scored([20], [20], torch.float32)
    head = StreamedHead(norm, 1e-6, Belt(table, CPU, 32), 8, plain)
    loss = head.loss(pieces, Room(), keep=True)  # type: ignore[arg-type]
    assert loss.isfinite()
    assert pieces[0].hidden.isfinite().all()


def test_tiles_that_are_there_do_not_come_again() -> None:
    table = torch.arange(50.0).view(10, 5)
    belt, fetched = Belt(table, CPU, 3), []
    fetch = belt._fetch

    def noted(number: int) -> None:
        held = belt._held[number % len(belt._slots)]
        fetched.extend([] if held == number else [number])
        fetch(number)

    belt._fetch = noted  # type: ignore[method-assign]
    belt.begin([torch.empty(3, 5) for _ in range(2)])
    up = [(begin, tile.clone()) for begin, tile in belt.tiles()]
    assert fetched == [0, 1, 2, 3]
    down = [(begin, tile.clone()) for begin, tile in belt.tiles(back=True)]
    assert fetched == [0, 1, 2, 3, 1, 0]
    assert [begin for begin, _ in up] == [0, 3, 6, 9]
    for (begin, tile), (other, again) in zip(up, reversed(down), strict=True):
        assert begin == other
        assert torch.equal(tile, table[begin : begin + 3])
        assert torch.equal(tile, again)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("tied", [False, True])
def test_a_whole_model_learns_the_same(tied: bool) -> None:
    model = adapted("qwen2")
    causal = model.get_base_model()
    if tied:
        causal.lm_head.weight = causal.model.embed_tokens.weight
    batch = whole(flat_batch([7, 20]), flat_batch([13, 4, 2]))
    found, losses = [], []
    for plan in (Plan(3), Plan(0, host_embedding=True, host_head=True, mlp_tokens=8, loss_rows=5)):
        fast = FastModel(model, plan)
        loss = fast(batch)
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            assert fast(batch).item() == pytest.approx(losses[0], rel=1e-6)
        found.append(gradients(model))
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    for name, wanted in found[0].items():
        assert float((found[1][name] - wanted).norm()) < 1e-5 * float(wanted.norm()), name


def test_a_pass_without_labels_learns_nothing() -> None:
    table, norm = torch.randn(VOCABULARY, HIDDEN), torch.ones(HIDDEN)
    pieces = scored([20], [0], torch.float32)
    head = StreamedHead(norm, 1e-6, Belt(table, CPU, 32), 8, plain)
    assert head.loss(pieces, Room(), keep=True).item() == 0  # type: ignore[arg-type]
    assert not pieces[0].hidden.any()
