"""Other launch settings than those of ``fused``, for ``kernel_times.py --variants``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import accumulate, product

import torch
import triton
from kernel_data import Shape, mlp, moved, wide
from kernel_times import Case

from core.model.fast import fused, gate, thin
from core.model.fast.dims import fp8_tail
from core.model.fast.fp8 import kernels
from core.model.fast.fp8.plain import FP8
from core.model.fast.linear import PAD

Tensor = torch.Tensor


def cases(shape: Shape, device: torch.device, *, fp8: bool) -> Iterator[Case]:
    """Every kernel in every variant; some need more than a card has."""
    gate_up, hidden, a, tail, kept, grad_a = mlp(shape, device)
    factors = torch.rand(shape.tokens, device=device)
    for scales in (None, factors)[: 1 + fp8]:
        beside = "" if scales is None else " with factors"
        ahead = partial(swiglu, gate_up, a, hidden, tail, kept, scales)
        size = moved(gate_up, a, hidden, tail, kept)
        for tokens, block, warps, stages in product((32, 64, 128), (64, 128), (4, 8), (2, 3)):
            yield _case(f"swiglu{beside}", size, ahead,
                        tokens=tokens, block=block, warps=warps, stages=stages)  # fmt: skip
        back = partial(swiglu_backward, gate_up, hidden, tail[:, : shape.rank], grad_a, scales)
        size = moved(gate_up, gate_up, hidden, tail[:, : shape.rank], grad_a, grad_a)
        for tokens, block, warps, stages in product((16, 32), (64, 128, 256), (4, 8), (2, 3)):
            yield _case(f"swiglu_backward{beside}", size, back,
                        tokens=tokens, block=block, warps=warps, stages=stages)  # fmt: skip
    yield from _outward(shape, device)
    if fp8:
        yield from _roundings(shape, device)


def _outward(shape: Shape, device: torch.device) -> Iterator[Case]:
    for name in ("gate_up", "o"):
        (rows, _), rank = shape.groups[name], shape.rank
        ranks = len(rows) * rank
        dy = wide(device, shape.tokens, sum(rows), 64)
        b = torch.randn(sum(rows), ranks, device=device, dtype=torch.bfloat16)
        tail = wide(device, shape.tokens, ranks, 16).main
        grad = torch.zeros(sum(rows), rank, device=device)
        call = partial(outward, dy.main, b, tail, dy.tail, grad, list(rows))
        for tokens, block, warps, stages in product((32, 64, 128), (64, 128, 256), (4, 8), (2, 3)):
            yield _case(f"outward {name}", moved(dy.main, dy.tail, grad, grad), call,
                        tokens=tokens, block=block, warps=warps, stages=stages)  # fmt: skip


def _roundings(shape: Shape, device: torch.device) -> Iterator[Case]:
    linears = {shape.hidden: 3, shape.intermediate: 1, 2 * shape.intermediate: 2}
    for width, count in linears.items():
        ranks = count * shape.rank
        x = wide(device, shape.tokens, width, -(-ranks // PAD) * PAD)
        tail = x.tail[:, :ranks]
        out = torch.zeros(shape.tokens, width + fp8_tail(ranks), device=device).to(FP8)
        scales = torch.zeros(shape.tokens, device=device)
        call = partial(quantize, x.main, tail, out, scales)
        for warps in (1, 2, 4, 8, 16, 32):
            size = moved(x.main, tail, out, scales)
            yield _case(f"quantize {width}", size, call, warps=warps)


def _case(kernel: str, size: int, call: partial[None], **settings: int) -> Case:
    what = ", ".join(f"{name} {value}" for name, value in settings.items())
    return Case(kernel, what, partial(call, **settings), size)


def swiglu(
    gate_up: Tensor, a: Tensor, out: Tensor, tail: Tensor, kept: Tensor, scales: Tensor | None,
    *, tokens: int = 32, block: int = 128, warps: int = 4, stages: int = 3, programs: int = 528,
) -> None:  # fmt: skip
    """``fused.swiglu`` without dropout, in tiles of ``tokens`` and ``block`` columns."""
    (count, width), rank = out.shape, len(a)
    tiles = triton.cdiv(count, tokens)
    splits = fused._splits(tiles, width // 1024, programs)
    parts = fused._sums(out, splits, count, rank)
    gate.swiglu_kernel[(tiles, splits)](
        gate_up, a, out, parts, parts if scales is None else scales, count, width,
        gate_up.stride(0), a.stride(0), out.stride(0), rank, *fused._drawn(None, out),
        DROPOUT=False, SCALED=scales is not None, TOKENS=tokens, BLOCK=block, SPLITS=splits,
        RANK=fused._lanes(rank), num_warps=warps, num_stages=stages,
    )  # fmt: skip
    fused._write_tail(parts, tail, kept)


def swiglu_backward(
    gate_up: Tensor, grad: Tensor, tail: Tensor, grad_a: Tensor, scales: Tensor | None,
    *, tokens: int = 16, block: int = 128, warps: int = 4, stages: int = 3, programs: int = 792,
) -> None:  # fmt: skip
    """``fused.swiglu_backward`` without dropout; ``scales`` are both those of rows and gradient."""
    (count, width), rank = grad.shape, len(grad_a)
    tiles = triton.cdiv(width, block)
    splits = fused._splits(tiles, count // 256, programs)
    parts = fused._sums(grad, splits, rank, width)
    factors = parts if scales is None else scales
    gate.swiglu_backward_kernel[(tiles, splits)](
        gate_up, grad, tail, parts, factors, factors, count, width, gate_up.stride(0),
        grad.stride(0), tail.stride(0), rank, *fused._drawn(None, grad), DROPOUT=False,
        SCALED=scales is not None, GRAD_SCALED=scales is not None, BLOCK=block, TOKENS=tokens,
        SPLITS=splits, RANK=fused._lanes(rank), WRITTEN=False, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    fused._gather(parts, grad_a)


def outward(
    dy: Tensor, b: Tensor, x_tail: Tensor, out: Tensor, grad: Tensor, rows: list[int],
    *, tokens: int = 64, block: int = 256, warps: int = 4, stages: int = 3,
) -> None:  # fmt: skip
    """``fused.outward`` in tiles of ``tokens`` and ``block`` columns."""
    rank, count = b.shape[1] // len(rows), dy.shape[0]
    ends = list(accumulate(triton.cdiv(part, block) for part in rows))
    splits = fused._splits(ends[-1], count // 256)
    sums, parts = fused._sums(dy, ends[-1], count, rank), fused._sums(dy, splits, *grad.shape)
    thin.outward_kernel[(ends[-1], splits)](
        dy, b, x_tail, sums, parts, count, len(b), dy.stride(0), b.stride(0), x_tail.stride(0),
        rank, *[*rows, 0, 0][:3], *[*ends, ends[-1], ends[-1]][:2], BLOCK=block, TOKENS=tokens,
        SPLITS=splits, RANK=fused._lanes(rank), num_warps=warps, num_stages=stages,
    )  # fmt: skip
    fused._settle(sums, out, ends, parts, grad, 1.0)


def quantize(x: Tensor, tail: Tensor, out: Tensor, scales: Tensor, *, warps: int = 4) -> None:
    """``fp8.fused.quantize`` with so many warps a row."""
    fours, target, ranks = x.view(torch.int64), out.view(torch.int32), tail.shape[1]
    width = fours.shape[1]
    words = target.shape[1] - width
    kernels.quantize_kernel[(len(x),)](
        fours, tail, target, scales, width, ranks, words, 1.0, fours.stride(0) // 2,
        tail.stride(0), target.stride(0) // 4, STEP=2, BLOCK=triton.next_power_of_2(width),
        WORDS=triton.next_power_of_2(words), TAIL=True, num_warps=warps,
    )  # fmt: skip
