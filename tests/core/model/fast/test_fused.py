"""The Triton kernels against their twins: on a GPU, or with TRITON_INTERPRET=1 on a CPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fast_models import adapted, flat_batch, gradients, quantized, whole

from core.model.fast import footprint, model, plain, route
from core.model.fast.attention import (
    Attention,
    Attentions,
    Cudnn,
    Documents,
    Flash,
    Plain,
    groups_of,
)
from core.model.fast.dropout import Mask
from core.model.fast.nf4 import nf4_of
from core.model.fast.plan import Plan

pytest.importorskip("triton", reason="comes with torch for GPUs")
GPU = torch.cuda.is_available()
if not GPU and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("kernels need a GPU", allow_module_level=True)

from core.model.fast import fused  # noqa: E402

DEVICE = "cuda" if GPU else "cpu"
TOKENS = 70


def tensor(*shape: int, pad: int = 0) -> torch.Tensor:
    """Random numbers; with ``pad`` a part of a wider tensor, as buffers are here."""
    whole = torch.randn(*shape[:-1], shape[-1] + pad, device=DEVICE)
    return whole[..., : shape[-1]]


def near(found: torch.Tensor, wanted: torch.Tensor, limit: float = 1e-5) -> None:
    assert float((found - wanted).norm()) <= limit * float(wanted.norm())


def both(call: Callable[..., None], *buffers: torch.Tensor, limit: float = 1e-5) -> None:
    """Call the twin and the kernel on copies of the buffers that they write, and compare."""
    copies = [buffer.clone() for buffer in buffers]
    call(plain, *copies)
    call(fused, *buffers)
    for found, wanted in zip(buffers, copies, strict=True):
        near(found, wanted, limit)


@pytest.mark.parametrize("columns", [64, 192, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dequantized_weights_are_those_of_bitsandbytes(columns: int, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and not GPU:
        pytest.skip("the interpreter rounds to bf16 in a way of its own")
    sizes = (96, 32, 70)
    linears = [quantized(torch.nn.Linear(columns, n, bias=False)).to(DEVICE) for n in sizes]
    weights = [nf4_of(linear) for linear in linears]
    rows, pad = sum(sizes), 32
    a, b = tensor(12, columns), tensor(rows, 4)
    found = torch.full((rows + pad, columns + pad), 7.0, dtype=dtype, device=DEVICE)
    wanted = found.clone()
    fused.expand(weights, a, b, 1.7, found)
    plain.expand(weights, a, b, 1.7, wanted)
    assert torch.equal(found[:rows], wanted[:rows])
    assert torch.equal(found[rows:, :columns], wanted[rows:, :columns])


def test_norms() -> None:
    x, dy, residual = (tensor(TOKENS, 96, pad=n) for n in (16, 0, 8))
    weight = torch.rand(96, device=DEVICE) + 0.5
    both(lambda p, out: p.rms_norm(x, weight, 1e-6, out), tensor(TOKENS, 96, pad=24))
    for beside in (None, residual):
        both(lambda p, out, r=beside: p.rms_norm_backward(dy, x, weight, 1e-6, r, out),
             tensor(TOKENS, 96))  # fmt: skip


def test_rows_are_copied() -> None:
    x = tensor(TOKENS, 90, pad=14)
    both(lambda p, out: p.copy_rows(x, out), tensor(TOKENS, 90, pad=6))


@pytest.mark.parametrize("width", [8, 40, 64, 80, 96, 120, 128, 256])
def test_heads_are_normalized_and_rotated(width: int) -> None:
    qk, weight = tensor(TOKENS, 3, width), torch.rand(width, device=DEVICE) + 0.5
    cos, sin = tensor(TOKENS, width // 2), tensor(TOKENS, width // 2)
    for back in (False, True):
        both(lambda p, out, b=back: p.rotate(qk, cos, sin, out, back=b), tensor(TOKENS, 3, width))
    both(lambda p, out: p.head_norm(qk, weight, 1e-6, out), tensor(TOKENS, 3, width))
    both(lambda p, dy: p.head_norm_backward(dy, qk, weight, 1e-6), tensor(TOKENS, 3, width))


@pytest.mark.parametrize("rank", [4, 16, 40, 160])
@pytest.mark.parametrize("part", [0.0, 0.1])
def test_the_middle_of_the_mlp(rank: int, part: float) -> None:
    mask = Mask(part, torch.tensor(3_456_789_012, device=DEVICE)).at(3, 1) if part else None
    gate_up, a = tensor(TOKENS, 360, pad=16), tensor(rank, 180, pad=32)
    both(
        lambda p, out, tail, kept: p.swiglu(gate_up, a, out, tail, mask, kept),
        tensor(TOKENS, 180, pad=64), tensor(TOKENS, 160), tensor(TOKENS, 160), limit=1e-3,
    )  # fmt: skip
    tail, grad = tensor(TOKENS, 160, pad=8), tensor(TOKENS, 180)
    both(
        lambda p, gu, grad_a: p.swiglu_backward(gu, grad.clone(), tail, grad_a, mask),
        gate_up.clone(), tensor(rank, 180), limit=1e-3,
    )  # fmt: skip


@pytest.mark.parametrize("rank", [4, 40, 160])
@pytest.mark.parametrize("part", [0.0, 0.1])
def test_rows_that_lack_a_factor(rank: int, part: float) -> None:
    """As products in FP8 leave them; with dropout the gradient's come whole."""
    mask = Mask(part, torch.tensor(3_456_789_012, device=DEVICE)).at(3, 1) if part else None
    scales, others = (10 ** (torch.rand(TOKENS, device=DEVICE) * 4 - 2) for _ in range(2))
    gate_up, a = tensor(TOKENS, 360, pad=16) / scales[:, None], tensor(rank, 180, pad=32)
    both(
        lambda p, out, tail, kept: p.swiglu(gate_up, a, out, tail, mask, kept, scales),
        tensor(TOKENS, 180, pad=64), tensor(TOKENS, 160), tensor(TOKENS, 160), limit=1e-3,
    )  # fmt: skip
    tail, grad = tensor(TOKENS, 160, pad=8), tensor(TOKENS, 180)
    of_grad = others if mask is None else None
    both(
        lambda p, gu, grad_a: p.swiglu_backward(
            gu, grad.clone(), tail, grad_a, mask, scales, of_grad
        ),
        gate_up.clone(), tensor(rank, 180), limit=1e-3,
    )  # fmt: skip


def test_a_norm_of_rows_that_lack_a_factor() -> None:
    x, dy, weight = tensor(TOKENS, 96, pad=16), tensor(TOKENS, 96), torch.rand(96, device=DEVICE)
    scales = 10 ** (torch.rand(TOKENS, device=DEVICE) * 4 - 2)
    # Layers give the residual's own memory; its rows lie in a wider tensor.
    both(lambda p, out: p.rms_norm_backward(dy, x, weight, 1e-6, out, out, scales),
         tensor(TOKENS, 96, pad=24))  # fmt: skip
    both(lambda p, out: p.rms_norm_backward(dy, x, weight, 1e-6, None, out, scales),
         tensor(TOKENS, 96))  # fmt: skip


@pytest.mark.parametrize("rank", [4, 16, 70, 140])
@pytest.mark.parametrize("part", [0.0, 0.1])
def test_adapters(rank: int, part: float) -> None:
    seed = torch.tensor(3_456_789_012, device=DEVICE)
    mask = Mask(part, seed).at(3, 1) if part else None
    x, a, tail = tensor(TOKENS, 96, pad=16), tensor(3 * rank, 96, pad=32), tensor(TOKENS, 448)
    both(lambda p, out: p.project(x, a, out, 3, mask), tensor(TOKENS, 448), limit=1e-3)
    both(lambda p, grad: p.project_backward(x, tail, grad, 3, mask), tensor(3 * rank, 96),
         limit=1e-3)  # fmt: skip
    if mask is not None:
        both(lambda p, dx: p.spread(dx, tail, a, 3, mask), tensor(TOKENS, 96), limit=1e-3)


@pytest.mark.parametrize("rank", [4, 16, 40])
@pytest.mark.parametrize("rows", [[96], [70, 30], [128, 64, 200]])
def test_both_products_with_a_gradient(rank: int, rows: list[int]) -> None:
    dy, b = tensor(TOKENS, sum(rows), pad=8), tensor(sum(rows), rank * len(rows), pad=8)
    x_tail, pad = tensor(TOKENS, 160), -(-rank * len(rows) // 32) * 32
    both(
        lambda p, out, grad: p.outward(dy, b, x_tail, out, grad, rows, 0.5),
        tensor(TOKENS, pad, pad=8), tensor(sum(rows), rank), limit=1e-3,
    )  # fmt: skip


def test_loss_and_embedding() -> None:
    logits, losses = tensor(20, 9000) * 3, torch.zeros(20, device=DEVICE)
    targets = torch.randint(0, 9000, (20,), device=DEVICE)
    both(lambda p, scores, sums: p.cross_entropy(scores, targets, sums), logits, losses)
    table, ids = tensor(50, 96), torch.randint(0, 50, (TOKENS,), device=DEVICE)
    both(lambda p, out: p.embed(table, ids, out), tensor(TOKENS, 96))


def test_a_loss_in_tiles_of_the_vocabulary() -> None:
    logits, targets = tensor(20, 9000) * 3, torch.randint(0, 9000, (20,), device=DEVICE)
    state = [torch.full((20,), start, device=DEVICE) for start in (-torch.inf, 0.0, 7.0)]
    copies = [part.clone() for part in state]
    for begin in range(0, 9000, 4999):  # the tiles of a table are as wide, but for the last one
        tile, places = logits[:, begin : begin + 4999], targets - begin
        fused.score_tile(tile, places, *state)
        plain.score_tile(tile, places, *copies)
    for found, wanted in zip(state, copies, strict=True):
        near(found, wanted)
    wanted = logits.gather(1, targets[:, None])[:, 0]
    assert torch.equal(state[2], wanted)
    near(state[0] + state[1].log(), logits.logsumexp(1))
    logsum = logits.logsumexp(1)
    for begin in (0, 4999):
        tile, places = logits[:, begin : begin + 4999], targets - begin
        both(lambda p, scores, at=places: p.tile_gradient(scores, at, logsum), tile)


@pytest.mark.parametrize("pieces", [plain, fused])
def test_a_tile_of_extreme_logits(pieces: Any) -> None:
    rows = torch.zeros(4, 600, device=DEVICE)
    rows[0, :300], rows[1, 300:], rows[2, 7], rows[3] = -torch.inf, -torch.inf, 90.0, -1e4
    targets = torch.tensor([400, 100, 7, 599], device=DEVICE)
    highest, total, wanted = (torch.full((4,), n, device=DEVICE) for n in (-torch.inf, 0.0, 0.0))
    for begin in (0, 300):
        tile = rows[:, begin : begin + 300]
        pieces.score_tile(tile, targets - begin, highest, total, wanted)
    logsum = highest + total.log()
    torch.testing.assert_close(logsum, rows.logsumexp(1))
    torch.testing.assert_close(wanted, rows.gather(1, targets[:, None])[:, 0])
    grad = rows.softmax(1)
    grad[torch.arange(4, device=DEVICE), targets] -= 1
    for begin in (0, 300):
        pieces.tile_gradient(rows[:, begin : begin + 300], targets - begin, logsum)
    torch.testing.assert_close(rows, grad, rtol=1e-3, atol=1e-6)


def test_losses_of_extreme_logits() -> None:
    rows = torch.zeros(7, 20_000, device=DEVICE)
    rows[0, 3], rows[1, 19_999], rows[2], rows[3, :9_000] = 90.0, -90.0, -1e4, -torch.inf
    rows[4, 12_345], rows[5, 12_345], rows[6] = torch.nan, torch.inf, 3e4
    targets = torch.tensor([3, 19_999, 5, 10_000, 1, 2, 0], device=DEVICE)
    found, wanted = ((rows.clone(), torch.zeros(7, device=DEVICE)) for _ in range(2))
    fused.cross_entropy(found[0], targets, found[1])
    plain.cross_entropy(wanted[0], targets, wanted[1])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one[:4], other[:4], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(one[6], other[6], rtol=1e-3, atol=1e-6)
    assert not found[1][4:6].isfinite().any()


@pytest.mark.skipif(GPU, reason="attention and copies of a GPU are not those of the twins")
@pytest.mark.parametrize(
    ("family", "width", "part", "rank", "plan"),
    [
        ("llama", 80, 0.2, 8, Plan(2, mlp_tokens=16)),
        ("qwen3", 32, 0.0, 40, Plan(2, mlp_tokens=16)),
        ("qwen3", 32, 0.2, 8, Plan(2, mlp_tokens=16, light=True)),
        ("qwen2", 32, 0.0, 8, Plan(2, loss_rows=5, host_embedding=True, host_head=True)),
    ],
)
def test_a_whole_model_through_the_kernels(
    family: str, width: int, part: float, rank: int, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With memory in which there is nothing but NaN: no kernel reads what none has written."""
    found = {}
    for pieces in (plain, fused):
        for place in (route, model):
            monkeypatch.setattr(place, "pieces_for", lambda _, pieces=pieces: pieces)
        if pieces is fused:
            monkeypatch.setattr(torch, "empty", spoiled)
        learner = adapted(family, changes={"head_dim": width}, lora_dropout=part, r=rank)
        torch.manual_seed(3)
        fast = model.FastModel(learner, plan)
        fast(whole(flat_batch([7, 20]), flat_batch([13]))).backward()
        found[pieces] = gradients(learner)
    for name, wanted in found[plain].items():
        near(found[fused][name], wanted)


def spoiled(*shape: Any, **kind: Any) -> torch.Tensor:
    made = torch.zeros(*shape, **kind)
    return made.fill_(torch.nan) if made.is_floating_point() else made


@pytest.mark.skipif(not GPU, reason="attention's kernels are torch's own, for GPUs")
@pytest.mark.parametrize(
    ("attention", "lengths", "width"),
    [(Flash(), [512, 512], 64), (Flash(), [300, 1, 723], 64), (Cudnn(), [512] * 2, 64),
     (Flash(), [300, 724], 80), (Flash(), [300, 724], 96), (Flash(), [300, 724], 120),
     (Cudnn(), [512] * 2, 80), (Cudnn(), [512] * 2, 96), (Cudnn(), [512] * 2, 120)],
)  # fmt: skip
def test_attention(attention: Attention, lengths: list[int], width: int) -> None:
    ends = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    documents = Documents(ends.to(DEVICE), sum(lengths), max(lengths), len(set(lengths)) == 1)
    q, k, v, grad = (
        torch.randn(sum(lengths), heads, width, device=DEVICE, dtype=torch.bfloat16)
        for heads in (8, 2, 2, 8)
    )
    out, state = attention.forward(q, k, v, documents)
    found = attention.backward(grad, q, k, v, out, state, documents)
    exact = [part.float() for part in (q, k, v, grad)]
    wanted, nothing = Plain().forward(*exact[:3], documents)
    near(out.float(), wanted, 1e-2)
    grads = Plain().backward(exact[3], *exact[:3], wanted, nothing, documents)
    for one, other in zip(found, grads, strict=True):
        near(one.float(), other, 2e-2)


@pytest.mark.skipif(not GPU, reason="attention's kernels are torch's own, for GPUs")
@pytest.mark.parametrize("attention", [Flash(), Cudnn()])
def test_attention_in_groups_of_heads(
    attention: Attention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "_PAIRS", 1 << 11)
    ends = torch.tensor([0, 512, 1024], dtype=torch.int32, device=DEVICE)
    documents = Documents(ends, 1024, 512, True)
    whole = torch.randn(1024, 20, 64, device=DEVICE, dtype=torch.bfloat16)
    q, k, v, grad = whole[:, :8], whole[:, 8:10], whole[:, 10:12], whole[:, 12:]
    assert Attentions("cuda").best(q, k, documents)  # with groups it is tried in their layout
    out, state = attention.forward(q, k, v, documents)
    wanted = attention.backward(grad, q, k, v, out, state, documents)
    groups = groups_of(q, k)
    assert len(groups) == 2
    for heads, keys in groups:
        found = attention.backward(
            grad[:, heads], q[:, heads], k[:, keys], v[:, keys], out[:, heads],
            attention.state_of(state, heads), documents,
        )  # fmt: skip
        for one, other, own in zip(found, wanted, (heads, keys, keys), strict=True):
            near(one.float(), other[:, own].float(), 1e-2)


@pytest.mark.skipif(not GPU, reason="attention's kernels are torch's own, for GPUs")
def test_attention_reads_each_layout_as_it_is() -> None:
    # torch keeps cuDNN's plan by q, k and v alone; the second output has wider rows than the first.
    ends = torch.tensor([0, 512], dtype=torch.int32, device=DEVICE)
    documents = Documents(ends, 512, 512, True)
    heads = torch.randn(512, 4 * 8 * 64, device=DEVICE, dtype=torch.bfloat16).view(512, 32, 64)
    q, k, v, grad = heads[:, :8], heads[:, 8:16], heads[:, 16:24], heads[:, 24:]
    attention = Cudnn()
    out, state = attention.forward(q, k, v, documents)
    wide = torch.full((512, 9, 64), torch.nan, device=DEVICE, dtype=torch.bfloat16)[:, :8]
    found = [
        attention.backward(grad.contiguous(), q, k, v, one, state, documents)
        for one in (out, wide.copy_(out))
    ]
    for first, second in zip(*found, strict=True):
        near(first.float(), second.float(), 1e-3)
