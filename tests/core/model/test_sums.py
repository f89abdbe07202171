"""A linear and its adapter as one sum: what PEFT computes, but rounded once."""

from __future__ import annotations

from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from peft import LoraConfig, get_peft_model

from core.model import sums

ROWS, COLUMNS = 384, 256


class Net(torch.nn.Module):
    """One linear, in 4 bit or in bf16."""

    def __init__(self, *, four_bit: bool, bias: bool = False):
        super().__init__()
        linear = torch.nn.Linear(COLUMNS, ROWS, bias=bias, dtype=torch.bfloat16)
        if four_bit:
            weight = bnb.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
            linear = bnb.nn.Linear4bit(
                COLUMNS, ROWS, bias=bias, compute_dtype=torch.bfloat16, quant_type="nf4"
            )
            linear.weight = weight.to("cpu")
        self.proj = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.proj(x)
        return out


def made(size: float, *, four_bit: bool = True, bias: bool = False, **more: Any) -> Any:
    """A model whose adapter's B has numbers of this size."""
    torch.manual_seed(0)
    wish = LoraConfig(r=8, lora_alpha=16, target_modules=["proj"], **more)
    model = get_peft_model(Net(four_bit=four_bit, bias=bias), wish)
    layer = model.base_model.model.proj
    torch.nn.init.normal_(layer.lora_B["default"].weight, std=size)
    return model


def inputs() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 64, COLUMNS, dtype=torch.bfloat16)


def outcome(model: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output and gradients."""
    x = x.clone().requires_grad_()
    layer = model.base_model.model.proj
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x)
    torch.manual_seed(2)
    out.backward(torch.randn_like(out))
    weights = {ab: getattr(layer, f"lora_{ab}")["default"].weight for ab in "AB"}
    assert x.grad is not None
    return {"output": out.detach(), "x": x.grad} | {n: w.grad.clone() for n, w in weights.items()}


def in_fp32(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The base's output and the adapter's part, unrounded."""
    layer = model.base_model.model.proj
    weight = sums._weight(layer.get_base_layer(), torch.float32)
    a, b = (getattr(layer, f"lora_{ab}")["default"].weight for ab in "AB")
    return x.float() @ weight.t(), (x.float() @ a.t() @ b.t()).detach() * layer.scaling["default"]


@pytest.mark.parametrize("four_bit", [False, True])
@pytest.mark.parametrize("more", [{}, {"lora_dropout": 0.3}])
def test_it_computes_what_peft_does(four_bit: bool, more: dict[str, Any]) -> None:
    model, x = made(0.05, four_bit=four_bit, **more), inputs()
    torch.manual_seed(3)
    wanted = outcome(model, x)
    assert sums.put_on(model, "cuda:0") == "adapters added before outputs are rounded"
    torch.manual_seed(3)
    found = outcome(model, x)
    for name, one in wanted.items():
        assert found[name].dtype == one.dtype
        assert (found[name] - one).norm() < 0.01 * one.norm(), name
    assert not torch.equal(found["output"], wanted["output"])


@pytest.mark.parametrize("four_bit", [False, True])
def test_a_small_adapter_is_not_rounded_away(four_bit: bool) -> None:
    """As after a first step: its part is a thousandth of what the base gives."""
    model, x = made(1e-4, four_bit=four_bit), inputs()
    base, part = in_fp32(model, x)
    assert 3e-4 < float(part.norm() / base.norm()) < 3e-3

    def arrives() -> float:
        """How much of the adapter's part the output has."""
        gained = outcome(model, x)["output"].float() - base
        return float((gained * part).sum() / (part * part).sum())

    lost = arrives()
    sums.put_on(model, "cuda:0")
    assert lost < 0.5 < 0.8 < arrives() < 1.2


@pytest.mark.parametrize("case", ["bias", "DoRA", "two adapters", "disabled", "fp32", "a CPU"])
def test_other_cases_are_left_to_peft(case: str) -> None:
    more = {"use_dora": True} if case == "DoRA" else {}
    model, x = made(0.05, four_bit=case != "DoRA", bias=case == "bias", **more), inputs()
    if case == "two adapters":
        model.add_adapter("second", LoraConfig(r=4, target_modules=["proj"]))
        model.base_model.set_adapter(["default", "second"])

    def output() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=case != "fp32"):
            return model(x).detach()

    if case == "disabled":
        with model.disable_adapter():
            wanted = output()
            sums.put_on(model, "cuda:0")
            assert torch.equal(output(), wanted)
        return
    wanted = output()
    told = sums.put_on(model, "cpu" if case == "a CPU" else "cuda:0")
    assert (told is None) == (case in ("bias", "a CPU"))
    assert torch.equal(output(), wanted)
