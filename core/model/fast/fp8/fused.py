"""The pieces of products in FP8 on a GPU. ``plain`` beside it says what each must compute."""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton

from core.model.fast.fp8 import kernels
from core.model.fast.nf4 import Nf4

Tensor = torch.Tensor

_GROUPS = 32
"""Rows of a weight that one program of ``expand`` turns, in fours."""
_FOUR = torch.int32
"""What four numbers in FP8 are stored as."""


def expand(
    weights: list[Nf4], a: Tensor, b: Tensor, scaling: float, scale: float, out: Any,
    *, ahead: bool = True, back: bool = True,
) -> None:  # fmt: skip
    columns, (rows, rank) = a.shape[1], b.shape
    parts = [weights[min(i, len(weights) - 1)] for i in range(3)]
    tiles = [triton.cdiv(w.rows, 4 * _GROUPS) * (columns // 64) for w in weights]
    ends = [sum(tiles[: i + 1]) for i in range(2)]
    starts = [sum(w.rows for w in weights[:i]) for i in range(3)]
    targets = out.forward.view(_FOUR), out.backward.view(_FOUR)
    pitches = [target.stride(0) for target in targets]
    sixteens = [pitch // 4 for pitch in pitches]  # bytes
    kernels.expand_kernel[(sum(tiles),)](
        *(part for w in parts for part in (
            w.packed.view(torch.int16), w.scales, w.codes, w.nested_scales, w.offset)),
        parts[0].table, 1 / scale, *targets, *[w.rows for w in parts], *starts[1:], *ends,
        columns, *sixteens, NESTED=parts[0].nested, GROUPS=_GROUPS, AHEAD=ahead, BACK=back,
        num_warps=4,
    )  # fmt: skip
    words = targets[0].shape[1] - columns // 4
    lanes = min(32, triton.next_power_of_2(words))
    programs = triton.cdiv(rows, 32)
    starts = [start if number < len(weights) else rows for number, start in enumerate(starts)]
    kernels.adapters_kernel[(programs + triton.cdiv(columns, 32), triton.cdiv(words, lanes))](
        a, b, out.a, out.b, *targets, scaling, 1 / scale, rows, columns, rank, len(a),
        *starts[1:], *pitches, words, programs, ROWS=32, WORDS=lanes, num_warps=4,
    )  # fmt: skip


def quantize(x: Tensor, tail: Tensor, out: Tensor, scales: Tensor, scale: float) -> None:
    fours, target, ranks = x.view(torch.int64), out.view(_FOUR), tail.shape[1]
    width = fours.shape[1]
    words, block = target.shape[1] - width, triton.next_power_of_2(width)
    step = 1 + (fours.stride(0) % 2 == 0)
    kernels.quantize_kernel[(len(x),)](
        fours, tail if ranks else x, target, scales, width, ranks, words, scale,
        fours.stride(0) // step, tail.stride(0), target.stride(0) // 4, STEP=step, BLOCK=block,
        WORDS=triton.next_power_of_2(words), TAIL=ranks > 0,
        num_warps=min(16, max(2, block // 256)),
    )  # fmt: skip


def multiply(x: Tensor, weight: Tensor, out: Tensor) -> None:
    one = _one(x.device)
    # Scales of rows would slow the product by 15 %, and not every card has them. Adding up fast
    # loses 0.2 to 0.5 %, where e4m3 itself loses 3.7.
    torch._scaled_mm(x, weight.t(), one, one, out_dtype=out.dtype, use_fast_accum=True, out=out)


def scale_rows(x: Tensor, scales: Tensor, out: Tensor, base: Tensor | None = None) -> None:
    block = triton.next_power_of_2(x.shape[1])
    beside, pitch = (x, 0) if base is None else (base, base.stride(0) if base.dim() > 1 else 0)
    kernels.scale_rows_kernel[(len(x),)](
        x, scales, beside, out, x.shape[1], x.stride(0), pitch, out.stride(0),
        BASE=base is not None, BLOCK=block, num_warps=min(16, max(1, block // 512)),
    )  # fmt: skip


@functools.cache
def _one(device: torch.device) -> Tensor:
    """A scale that changes nothing; made before launches are recorded, or by a first recording."""
    return torch.ones((), dtype=torch.float32, device=device)
