"""How wide a slot's parts are, and that log-sum-exp finds room between them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fast_models import adapted

from core.model.fast.linear import Wide
from core.model.fast.route import layers_of
from core.model.fast.slot import Slot, Tails, Widths, widths_of

WIDTHS = Widths(
    hidden=1024, qkv=1536, attention=1024, attention_pad=32, state=16, tails=(64, 32, 32),
    gate_up=2048, gate_up_pad=32,
)  # fmt: skip


def test_light_slots_have_no_room_for_what_is_computed_again() -> None:
    light = replace(WIDTHS, light=True)
    assert sum(WIDTHS.parts) - sum(light.parts) == WIDTHS.hidden + WIDTHS.qkv
    assert WIDTHS.parts[2] == light.parts[2]
    assert (WIDTHS.shared, light.shared) == (0, WIDTHS.qkv)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_layer_tells_the_widths(dtype: torch.dtype) -> None:
    """Log-sum-exp is in fp32 whatever its neighbours are."""
    (first, *_), _ = layers_of(adapted("llama"), dtype, torch.device("cpu"))
    widths, sizes = widths_of(first, dtype), first.sizes
    assert widths.qkv == sizes.queries + 2 * sizes.keys
    assert widths.attention == sizes.queries
    assert widths.state * dtype.itemsize == sizes.heads * 4


def test_log_sum_exp_keeps_its_shape() -> None:
    """A kernel gives it as it wants, some with less of it than there is room for."""
    tokens, heads = 5, 8
    rest = torch.empty(tokens, 0)
    state = torch.full((tokens, 2 * heads), 7.0, dtype=torch.bfloat16)
    slot = Slot(
        rest, rest, rest, Wide(rest, 0), state.view(-1).view(torch.float32),
        Tails(rest, rest, rest), None, light=False, finished=lambda _: None,
    )  # fmt: skip
    for shape in ((heads, tokens), (1, heads, tokens, 1), (0,)):
        given = torch.randn(shape)
        slot.keep_state(given)
        assert torch.equal(slot.kept_state, given)
        assert slot.kept_state.untyped_storage().data_ptr() == state.untyped_storage().data_ptr()
