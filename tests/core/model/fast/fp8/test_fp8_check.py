"""A run in FP8 is refused where its products are not what they should be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fast_models import TritonError, adapted

from core.config.errors import RefusedError
from core.model.fast.fp8 import plain
from core.model.fast.model import FastModel
from core.model.fast.plan import Plan


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_sound_products_pass_and_draw_no_random_number(family: str) -> None:
    model, state = adapted(family), torch.random.get_rng_state()
    FastModel(model, Plan(3), fp8=True)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("piece", ["quantize", "expand"])
def test_mixed_up_numbers_are_found(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = getattr(plain, piece)

    def mixed(*given: Any, **wish: Any) -> None:
        sound(*given, **wish)
        made = given[2] if piece == "quantize" else given[5].backward
        made.copy_(made.float().roll(1, -1))

    monkeypatch.setattr(plain, piece, mixed)
    with pytest.raises(RefusedError, match=r"q, k and v: a product is off by \d+% of its norm"):
        FastModel(adapted("llama"), Plan(3), fp8=True)


def test_nan_is_no_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "multiply", lambda x, w, out: out.fill_(torch.nan))
    with pytest.raises(RefusedError, match="off by nan%"):
        FastModel(adapted("llama"), Plan(3), fp8=True)


@pytest.mark.parametrize("kind", [RuntimeError, TritonError])
def test_what_a_card_cannot_multiply_is_told(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def multiply(*_: Any) -> None:
        raise kind("FP8 needs another card\nand more lines")

    monkeypatch.setattr(plain, "multiply", multiply)
    with pytest.raises(RefusedError, match=r"q, k and v: FP8 needs another card$"):
        FastModel(adapted("llama"), Plan(3), fp8=True)
