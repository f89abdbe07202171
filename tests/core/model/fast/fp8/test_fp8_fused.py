"""The kernels of products in FP8 against their twins: on a GPU, or in Triton's interpreter."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from fast_models import adapted, flat_batch, gradients, quantized, whole

from core.model.fast.dims import fp8_tail
from core.model.fast.fp8 import plain
from core.model.fast.fp8.group import Fp8Weight
from core.model.fast.fp8.plain import FP8
from core.model.fast.model import FastModel
from core.model.fast.nf4 import nf4_of
from core.model.fast.plan import Plan

pytest.importorskip("triton", reason="comes with torch for GPUs")
GPU = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 9)
if not GPU and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("kernels need a GPU of Ada or newer", allow_module_level=True)

from core.model.fast.fp8 import fused  # noqa: E402

DEVICE = "cuda" if GPU else "cpu"
TOKENS = 40


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter loses the carry when it rounds up to a power of two: torch converts."""
    if GPU:
        return
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def own(data: Any, kind: Any, wanted: Any, mode: Any) -> Any:
        if str(wanted) != "fp8e4nv" or str(kind) != "fp32":
            return convert(data, kind, wanted, mode)
        return torch.from_numpy(data.copy()).to(FP8).view(torch.uint8).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", own)


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Alike, but for numbers that lie in the middle of two of e4m3's."""
    found, wanted = found.float(), wanted.float()
    assert torch.isfinite(found).all()
    assert float((found != wanted).float().mean()) < 0.01
    assert float((found - wanted).norm()) <= 0.01 * float(wanted.norm())


@pytest.mark.parametrize("columns", [64, 192, 256])
@pytest.mark.parametrize("sizes", [(96, 32, 208), (112, 48), (64,)])
def test_weights_and_adapters(columns: int, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    linears = [quantized(torch.nn.Linear(columns, n, bias=False)).to(DEVICE) for n in sizes]
    weights, rank, rows = [nf4_of(linear) for linear in linears], 4, sum(sizes)
    ranks = rank * len(sizes)
    a, b = torch.randn(ranks, columns, device=DEVICE), torch.randn(rows, rank, device=DEVICE)
    tail, made = fp8_tail(ranks), []
    for pieces in (plain, fused):
        weight = Fp8Weight(
            torch.full((rows, columns + tail), 7.0, device=DEVICE).to(FP8),
            torch.full((columns, rows + tail), 7.0, device=DEVICE).to(FP8),
            torch.full((ranks, columns), 7.0, device=DEVICE),
            torch.full((rows, ranks), 7.0, device=DEVICE),
        )
        pieces.expand(weights, a, b, 0.05, weights[0].largest() / 448, weight)
        made.append(weight)
    for name in ("forward", "backward", "a", "b"):
        same(getattr(made[1], name), getattr(made[0], name))


@pytest.mark.parametrize("ranks", [0, 4, 12, 100])
@pytest.mark.parametrize("width", [64, 320])
def test_rows_are_rounded(ranks: int, width: int) -> None:
    torch.manual_seed(0)
    whole_x = (torch.randn(TOKENS, width + 128, device=DEVICE) * 30).to(torch.bfloat16)
    whole_x[3] = 0
    x, tail = whole_x[:, :width], whole_x[:, width : width + ranks]
    found = []
    for pieces in (plain, fused):
        out = torch.full((TOKENS, width + fp8_tail(max(ranks, 4))), 7.0, device=DEVICE).to(FP8)
        scales = torch.full((TOKENS,), 7.0, device=DEVICE)
        pieces.quantize(x, tail, out, scales, 0.01)
        found.append((out, scales))
    same(found[1][0], found[0][0])
    assert torch.allclose(found[1][1], found[0][1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("onto", ["nothing", "itself", "a bias"])
def test_rows_are_scaled(onto: str) -> None:
    whole_x, out = torch.randn(TOKENS, 96, device=DEVICE), torch.randn(TOKENS, 80, device=DEVICE)
    x, scales = whole_x[:, :64], torch.rand(TOKENS, device=DEVICE)
    bias = torch.randn(64, device=DEVICE)
    found = []
    for pieces in (plain, fused):
        target = out.clone()
        base = {"nothing": None, "itself": target[:, :64], "a bias": bias}[onto]
        pieces.scale_rows(x, scales, target[:, :64], base)
        found.append(target)
    assert torch.allclose(found[1], found[0], atol=1e-6)
    assert torch.equal(found[1][:, 64:], out[:, 64:])
    fused.scale_rows(x, scales, x)
    assert torch.allclose(x, found[1][:, :64], atol=1e-6) == (onto == "nothing")


@pytest.mark.skipif(not GPU, reason="torch multiplies in FP8 on a GPU alone")
def test_products() -> None:
    x = torch.randn(TOKENS, 160, device=DEVICE).to(FP8)
    weight = torch.randn(96, 160, device=DEVICE).to(FP8)
    found = torch.zeros(TOKENS, 128, device=DEVICE, dtype=torch.bfloat16)
    wanted = torch.zeros_like(found)
    plain.multiply(x, weight, wanted[:, :96])
    fused.multiply(x, weight, found[:, :96])
    difference = (found - wanted).float().norm()
    assert float(difference) < 0.005 * float(wanted.float().norm())


@pytest.mark.skipif(not GPU, reason="conversions of the interpreter know no NaN")
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("column", [5, 66])
def test_what_is_no_number_does_not_become_one(value: float, column: int) -> None:
    """In x or in its tail: the product is NaN, which the guard sees, and other rows are not."""
    x = torch.randn(TOKENS, 96, device=DEVICE).to(torch.bfloat16)
    x[3, column] = value
    out = torch.empty(TOKENS, 64 + fp8_tail(4), device=DEVICE).to(FP8)
    scales = torch.empty(TOKENS, device=DEVICE)
    fused.quantize(x[:, :64], x[:, 64:68], out, scales, 0.01)
    product = torch.empty(TOKENS, 32, device=DEVICE, dtype=torch.bfloat16)
    fused.multiply(out, torch.ones(32, out.shape[1], device=DEVICE).to(FP8), product)
    fused.scale_rows(product, scales, product)
    assert torch.isnan(product[3]).all()
    assert torch.isfinite(product[[0, 1, 2, *range(4, TOKENS)]]).all()


@pytest.mark.skipif(not GPU, reason="torch multiplies in FP8 on a GPU alone")
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("light", [False, True])
def test_a_whole_model_through_the_kernels(family: str, dropout: float, light: bool) -> None:
    """In bf16 with products in FP8, against the twins in the same precision on a CPU."""
    found = []
    for device in ("cuda", "cpu"):
        model = adapted(family, lora_dropout=dropout).to(torch.bfloat16).to(device)
        torch.manual_seed(5)
        batch = flat_batch([64, 30, 34], device=device)
        fast = FastModel(model, Plan(1, longest=128, mlp_tokens=64, light=light), fp8=True)
        for _ in range(3):  # as it is, recorded, replayed
            torch.manual_seed(6)
            model.zero_grad(set_to_none=True)
            fast(whole(batch)).backward()
        found.append({n: g.float().cpu() for n, g in gradients(model).items()})
    flat = [torch.cat([g.flatten() for g in one.values()]) for one in found]
    assert torch.isfinite(flat[0]).all()
    assert float(torch.nn.functional.cosine_similarity(*flat, dim=0)) > 0.99
