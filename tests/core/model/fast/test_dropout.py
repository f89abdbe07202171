from __future__ import annotations

import torch

from core.model.fast.dropout import Mask, keep

SEED = torch.tensor(3_456_789_012)


def test_it_drops_the_part_asked_for_and_makes_up_for_it() -> None:
    x, mask = torch.ones(500, 400), Mask(0.05, SEED)
    factors = keep(x, 0, mask)
    assert abs(float((factors == 0).double().mean()) - 51 / 1024) < 0.002
    assert set(factors.unique().tolist()) == {0.0, factors.max().item()}
    assert abs(float(factors.double().mean()) - 1) < 0.003


def test_what_is_next_to_nothing_or_all_is_neither() -> None:
    x = torch.ones(500, 400)
    for part, dropped in ((0.0004, 1), (0.9996, 1023)):
        factors = keep(x, 0, Mask(part, SEED))
        assert abs(float((factors == 0).double().mean()) - dropped / 1024) < 0.0005
        assert torch.isfinite(factors).all()


def test_linears_places_and_passes_have_masks_of_their_own() -> None:
    x = torch.ones(300, 300)
    masks = [Mask(0.5, SEED), Mask(0.5, SEED + 1), *(Mask(0.5, SEED).at(2, n) for n in range(2))]
    dropped = [keep(x, number, mask) == 0 for mask in masks for number in range(3)]
    for n, one in enumerate(dropped):
        for other in dropped[n + 1 :]:
            # Independent halves agree on half of the elements.
            assert abs(float((one == other).double().mean()) - 0.5) < 0.01


def test_the_same_place_drops_the_same() -> None:
    x = torch.ones(20, 30)
    assert torch.equal(keep(x, 1, Mask(0.3, SEED).at(4, 2)), keep(x, 1, Mask(0.3, SEED).at(4, 2)))
