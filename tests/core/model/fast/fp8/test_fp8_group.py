"""Products in FP8: what they round, and that adapters lose next to nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fast_models import adapted, flat_batch, gradients, quantized, reference_loss, whole

from core.model.fast import plain
from core.model.fast.adapters import Adapters
from core.model.fast.dims import Dims, fp8_tail
from core.model.fast.dropout import Mask, keep
from core.model.fast.fp8 import plain as eight
from core.model.fast.fp8.group import Fp8Group, scale_for
from core.model.fast.fp8.plain import FP8, LARGEST
from core.model.fast.linear import Wide
from core.model.fast.model import FastModel
from core.model.fast.nf4 import nf4_of
from core.model.fast.plan import Plan
from core.model.fast.work import Work

ROWS, COLUMNS, RANK, TOKENS = (96, 32), 128, 4, 12
LENGTHS = [7, 20, 1, 12]


@pytest.fixture
def group() -> Fp8Group:
    torch.manual_seed(0)
    weights = [nf4_of(quantized(torch.nn.Linear(COLUMNS, n, bias=False))) for n in ROWS]
    groups = [[(None, n, COLUMNS) for n in ROWS]]
    adapters = Adapters(groups, rank=RANK, scaling=2.0, device=torch.device("cpu"))
    adapters.weights.normal_(std=0.05)
    place, scale = adapters.places[0], scale_for(weights)
    return Fp8Group(tuple(weights), place, None, adapters, plain, eight, scale)


def expanded(group: Fp8Group) -> Any:
    return group.expanded(torch.full((group.room,), torch.nan))


def dense(group: Fp8Group) -> torch.Tensor:
    """The frozen weights as they are after NF4."""
    return torch.cat([weight.dequantized(torch.float32) for weight in group.weights])


def input_of(group: Fp8Group, weight: Any, width: int = COLUMNS) -> Wide:
    x = Wide(torch.randn(TOKENS, width + group.pad), width)
    x.main.mul_(torch.logspace(-3, 2, TOKENS)[:, None])  # tokens of all sizes
    group.project(x, weight, None)
    return x


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_the_largest_weight_is_found_without_dequantizing() -> None:
    weight = nf4_of(quantized(torch.nn.Linear(COLUMNS, 32, bias=False)))
    assert weight.largest() == pytest.approx(float(weight.dequantized(torch.float32).abs().max()))


def test_weights_are_the_same_in_both_directions(group: Fp8Group) -> None:
    weight, wanted = expanded(group), dense(group)
    assert weight.forward.dtype == weight.backward.dtype == FP8
    ahead = weight.forward[:, :COLUMNS].float() * group.scale
    back = weight.backward[:, : sum(ROWS)].float() * group.scale
    assert torch.equal(ahead, back.t())
    assert float(weight.forward[:, :COLUMNS].float().abs().max()) <= LARGEST / 2
    assert 0.01 < off(ahead, wanted) < 0.04
    assert weight.forward.data_ptr() % 16 == weight.backward.data_ptr() % 16 == 0


def test_forward_and_gradient_of_the_input_are_rounded_as_e4m3_is(group: Fp8Group) -> None:
    weight, w = expanded(group), dense(group)
    a, b = group.adapters.a(group.place), weight.b
    x = input_of(group, weight)
    out = torch.empty(TOKENS, group.rows)
    group.forward(x, weight, out)
    wanted = x.main @ w.t() + (x.main @ a.t()) @ b.t()
    for token in range(TOKENS):  # each has a scale of its own: small tokens are no worse
        assert 0.005 < off(out[token], wanted[token]) < 0.06
    dy = Wide(torch.randn(TOKENS, group.rows + group.pad), group.rows)
    group.backward_adapters(dy, weight, x.tail)
    back = torch.empty(TOKENS, COLUMNS)
    group.backward_input(dy, weight, back, None)
    assert 0.01 < off(back, dy.main @ w + (dy.main @ b) @ a) < 0.05


@pytest.mark.parametrize(
    ("std", "limit"), [(0.05, 0.003), (1e-3, 0.003), (1e-4, 0.004), (1e-5, 0.03)]
)
def test_what_the_adapter_adds_is_rounded_far_less(
    group: Fp8Group, std: float, limit: float
) -> None:
    """Also of a B that has hardly begun to learn, beside weights up to 0.1."""
    group.adapters.b(group.place).normal_(std=std)
    weight = expanded(group)
    x = input_of(group, weight)
    out = torch.empty(TOKENS, group.rows)
    group.forward(x, weight, out)
    rounded, scales = group._rounded(x.main, x.tail)
    base = rounded[:, :COLUMNS].float() @ weight.forward[:, :COLUMNS].float().t()
    wanted = x.tail[:, : group.place.ranks] @ weight.b.t()
    assert off(out - base * scales[:, None], wanted) < limit


def test_large_numbers_of_an_adapter_are_not_cut(group: Fp8Group) -> None:
    group.adapters.b(group.place).uniform_(-0.19, 0.19)  # times the scaling, 2, nearly 4 x 0.1
    weight = expanded(group)
    tail = weight.forward[:, COLUMNS : COLUMNS + 3 * group.place.ranks].float()
    high, _, low = tail.chunk(3, 1)
    assert off((high + low) * group.scale, weight.b) < 0.01


def test_weights_of_nothing_leave_the_adapter(group: Fp8Group) -> None:
    assert scale_for([SimpleNamespace(largest=lambda: 0.0)]) == pytest.approx(0.2 / LARGEST)  # type: ignore[list-item]


def test_a_raw_product_times_its_scales_is_the_product(group: Fp8Group) -> None:
    weight = expanded(group)
    x = input_of(group, weight)
    out, raw = torch.empty(TOKENS, group.rows), torch.empty(TOKENS, group.rows)
    group.forward(x, weight, out)
    scales = group.forward_raw(x, weight, raw)
    assert off(raw * scales[:, None], out) < 1e-6
    assert torch.equal(group.scales(x.main, x.tail), scales)
    onto = torch.ones_like(out)
    group.forward(x, weight, onto, onto=True)
    assert off(onto - 1, out) < 1e-4
    dy = Wide(torch.randn(TOKENS, group.rows + group.pad), group.rows)
    group.backward_adapters(dy, weight, x.tail)
    back, raw = torch.empty(TOKENS, COLUMNS), torch.empty(TOKENS, COLUMNS)
    group.backward_input(dy, weight, back, None)
    scales = group.backward_input_raw(dy, weight, raw, None)
    assert scales is not None
    assert off(raw * scales[:, None], back) < 1e-6


def test_dropout_is_of_the_adapter_alone(group: Fp8Group) -> None:
    weight, mask = expanded(group), Mask(0.5, torch.tensor(7)).at(0, 0)
    dy = Wide(torch.randn(TOKENS, group.rows + group.pad), group.rows)
    group.backward_adapters(dy, weight, torch.zeros(TOKENS, group.pad))
    dropped, wanted = torch.empty(TOKENS, COLUMNS), torch.empty(TOKENS, COLUMNS)
    assert group.backward_input_raw(dy, weight, dropped, mask) is None
    tail = dy.tail.clone()
    dy.tail.zero_()
    group.backward_input(dy, weight, wanted, None)
    for number in range(len(ROWS)):
        ranks = slice(number * RANK, (number + 1) * RANK)
        wanted += (tail[:, ranks] @ weight.a[ranks]) * keep(wanted, number, mask)
    assert off(dropped, wanted) < 0.01  # the rows' scales differ by what the tail is larger
    assert not torch.equal(keep(wanted, 0, mask), keep(wanted, 1, mask))


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kept", [0, 3])
def test_a_model_in_fp8_learns_nearly_what_it_learns_in_fp32(family: str, kept: int) -> None:
    model, batch = adapted(family), flat_batch(LENGTHS)
    loss = reference_loss(model, batch)
    loss.backward()
    wanted = gradients(model)
    own = FastModel(model, Plan(kept, mlp_tokens=16), fp8=True)(whole(batch))
    own.backward()
    found = gradients(model)
    assert own.item() == pytest.approx(loss.item(), rel=0.02)
    assert own.item() != loss.item()
    flat = [torch.cat([g.flatten() for g in one.values()]) for one in (found, wanted)]
    assert float(torch.nn.functional.cosine_similarity(*flat, dim=0)) > 0.97


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_what_is_kept_changes_nothing(family: str) -> None:
    model, batch = adapted(family), flat_batch(LENGTHS)
    found = []
    for plan in (Plan(0), Plan(3), Plan(0, light=True), Plan(3, light=True)):
        FastModel(model, plan, fp8=True)(whole(batch)).backward()
        found.append(gradients(model))
    for name, grad in found[0].items():
        assert all(torch.equal(grad, other[name]) for other in found[1:]), name


def test_light_cells_read_no_weights_that_were_not_laid_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each direction is laid out where it is multiplied in; elsewhere there is anything."""
    model, batch = adapted("llama"), flat_batch(LENGTHS)
    fast = FastModel(model, Plan(1, light=True), fp8=True)
    fast(whole(batch)).backward()
    wanted, room = gradients(model), Work.room

    def spoiled(self: Work, size: int) -> torch.Tensor:
        return room(self, size).fill_(torch.nan)

    monkeypatch.setattr(Work, "room", spoiled)
    fast(whole(batch)).backward()
    for name, grad in gradients(model).items():
        assert torch.equal(grad, wanted[name]), name


def test_the_plan_counts_the_weights_as_they_are_laid(group: Fp8Group) -> None:
    assert group.room * 2 >= sum(
        matrix.numel() * matrix.itemsize for matrix in (expanded(group).forward,
        expanded(group).backward))  # fmt: skip
    dims = Dims(1, COLUMNS, 64, COLUMNS, 64, 100, False, RANK, fp8=True)
    rows, columns = sum(ROWS), COLUMNS
    planned = dims._fp8_room(len(ROWS), columns, rows)
    assert planned <= group.room <= planned + 4 * 128
    assert fp8_tail(48) == 144
