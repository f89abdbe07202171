"""Which of torch's attention kernels a batch takes; none of them is run here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from core.model.fast import attention
from core.model.fast.attention import Attentions, Cudnn, Documents, Flash


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def chosen(monkeypatch: pytest.MonkeyPatch, *, equal: bool = True) -> type:
    monkeypatch.setattr(Attentions, "_try_cudnn", lambda *_: True)
    q, k = torch.empty(1024, 4, 64), torch.empty(1024, 2, 64)
    documents = Documents(torch.tensor([0, 1024], dtype=torch.int32), 1024, 1024, equal)
    return type(Attentions("cuda").best(q, k, documents))


def test_equal_lengths_take_cudnn_and_others_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch) is Cudnn
    assert chosen(monkeypatch, equal=False) is Flash


@pytest.mark.usefixtures("deterministic")
def test_a_deterministic_run_takes_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch) is Flash


def test_a_plan_gets_the_layout_it_was_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_LAYOUTS", {})
    q, k, v = torch.randn(3, 64, 4, 8).unbind()
    dense, wide = torch.randn(64, 4, 8), torch.randn(64, 5, 8)[:, :4]
    first = Cudnn()._laid_out(dense, wide, (q, k, v), 64)
    assert first[0] is dense
    assert first[1] is wide
    out, grad = Cudnn()._laid_out(wide, dense, (q, k, v), 64)
    assert (out.stride(), grad.stride()) == (dense.stride(), wide.stride())
    assert torch.equal(out, wide)
    assert torch.equal(grad, dense)
    # Other documents are another plan's.
    assert Cudnn()._laid_out(wide, dense, (q, k, v), 32)[0] is wide


def test_heads_go_together_with_the_keys_that_they_read() -> None:
    q, k = torch.empty(70_000, 32, 1), torch.empty(70_000, 8, 1)
    groups = attention.groups_of(q, k)
    assert len(groups) == 4
    assert groups[1] == (slice(8, 16), slice(2, 4))
    assert attention.groups_of(q[:8192], k[:8192]) == [(slice(0, 32), slice(0, 8))]


def test_each_kernel_keeps_heads_elsewhere() -> None:
    heads = slice(2, 4)
    state = torch.randn(2, 8, 5, 1)
    assert torch.equal(Cudnn().state_of(state, heads), state[:, heads])
    assert Cudnn().state_of(state, heads).is_contiguous()
    assert torch.equal(Flash().state_of(state[0, :, :, 0], heads), state[0, heads, :, 0])
