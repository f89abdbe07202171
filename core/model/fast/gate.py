"""Triton kernels of SwiGLU, and the thin products of down_proj that read what it makes."""

from __future__ import annotations

import triton
import triton.language as tl

from core.model.fast.kernels import COMPILED
from core.model.fast.thin import dropped


@triton.jit
def _sigmoid(x):
    # Two operations of the special unit; Triton's own has a division that is exact to the last bit
    # and takes as long as memory. Not called pure: it would be made twice, once in the layout that
    # is stored and once in that of the product.
    if COMPILED:
        result = tl.inline_asm_elementwise(
            """{
            .reg .f32 power;
            mul.f32 power, $1, 0fBFB8AA3B;
            ex2.approx.ftz.f32 power, power;
            add.f32 power, power, 0f3F800000;
            rcp.approx.ftz.f32 $0, power;
            }""",
            "=f,f", [x], dtype=tl.float32, is_pure=False, pack=1,
        )  # fmt: skip
    else:
        result = tl.sigmoid(x)
    return result


@triton.jit(do_not_specialize=["salt", "limit"])
def swiglu_kernel(
    gate_up, a, out, parts, scales, tokens, width, pitch, a_pitch, out_pitch, rank, seed, salt,
    limit, scale, DROPOUT: tl.constexpr, SCALED: tl.constexpr, TOKENS: tl.constexpr,
    BLOCK: tl.constexpr, SPLITS: tl.constexpr, RANK: tl.constexpr,
):  # fmt: skip
    # What is written is projected at once: reading it again would take as long as writing it.
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    split = tl.program_id(1)
    row = tl.arange(0, RANK)
    there = (token < tokens)[:, None]
    total = tl.zeros((TOKENS, RANK), dtype=tl.float32)
    source = gate_up + token[:, None].to(tl.int64) * pitch
    target = out + token[:, None].to(tl.int64) * out_pitch
    factors = tl.load(scales + token, mask=token < tokens, other=0.0)[:, None] if SCALED else 1.0
    share = tl.cdiv(tl.cdiv(width, SPLITS), BLOCK) * BLOCK
    for begin in range(split * share, min(width, (split + 1) * share), BLOCK):
        column = begin + tl.arange(0, BLOCK)
        inside = there & (column < width)[None, :]
        gate = tl.load(source + column[None, :], mask=inside, other=0.0).to(tl.float32)
        up = tl.load(source + width + column[None, :], mask=inside, other=0.0).to(tl.float32)
        if SCALED:
            gate, up = gate * factors, up * factors
        value = (gate * _sigmoid(gate) * up).to(out.dtype.element_ty)
        tl.store(target + column[None, :], value, mask=inside)
        if DROPOUT:
            value = dropped(
                value, token[:, None], column[None, :], width, tl.full((), 0, tl.int32), seed,
                salt, limit, scale,
            )  # fmt: skip
        factor = tl.load(
            a + row[:, None] * a_pitch + column[None, :],
            mask=(row < rank)[:, None] & (column < width)[None, :], other=0.0,
        )  # fmt: skip
        total = tl.dot(value, tl.trans(factor), total, input_precision="ieee")
    place = parts + (split * tokens + token)[:, None].to(tl.int64) * rank + row[None, :]
    tl.store(place, total, mask=there & (row < rank)[None, :])


@triton.jit(do_not_specialize=["salt", "limit"])
def swiglu_backward_kernel(
    gate_up, grad, tail, parts, scales, grad_scales, tokens, width, pitch, grad_pitch, tail_pitch,
    rank, seed, salt, limit, scale, DROPOUT: tl.constexpr, SCALED: tl.constexpr,
    GRAD_SCALED: tl.constexpr, BLOCK: tl.constexpr, TOKENS: tl.constexpr, SPLITS: tl.constexpr,
    RANK: tl.constexpr, WRITTEN: tl.constexpr,
):  # fmt: skip
    # What went into down_proj is only needed for the gradient of its A. It never leaves, but where
    # A has too many rows for one program: then it takes the gradient's place.
    block, split = tl.program_id(0), tl.program_id(1)
    inner = block * BLOCK + tl.arange(0, BLOCK)
    inside = inner < width
    lane = tl.arange(0, RANK)
    kept = (lane < rank)[None, :]
    total = tl.zeros((BLOCK, RANK), dtype=tl.float32)
    kind = grad.dtype.element_ty
    share = tl.cdiv(tl.cdiv(tokens, SPLITS), TOKENS) * TOKENS
    row = tl.arange(0, TOKENS)[:, None]
    # 64 bits for where a tile begins, 32 within it: addresses would take most registers.
    offset, down_offset = row * pitch + inner[None, :], row * grad_pitch + inner[None, :]
    for start in range(split * share, min(tokens, (split + 1) * share), TOKENS):
        first = start + tl.zeros((), tl.int64)
        there = start + row < tokens
        here = there & inside[None, :]
        gates = gate_up + first * pitch
        gate = tl.load(gates + offset, mask=here, other=0.0).to(tl.float32)
        up = tl.load(gates + width + offset, mask=here, other=0.0).to(tl.float32)
        down = tl.load(grad + first * grad_pitch + down_offset, mask=here, other=0.0)
        down = down.to(tl.float32)
        if SCALED:
            factors = tl.load(scales + start + row, mask=there, other=0.0)
            gate, up = gate * factors, up * factors
        if GRAD_SCALED:
            down *= tl.load(grad_scales + start + row, mask=there, other=0.0)
        sigmoid = _sigmoid(gate)
        silu = gate * sigmoid
        hidden = (silu * up).to(kind)
        tl.store(gates + width + offset, (down * silu).to(kind), mask=here)
        d_gate = down * up * (sigmoid + silu * (1 - sigmoid))
        tl.store(gates + offset, d_gate.to(kind), mask=here)
        if WRITTEN:
            tl.store(grad + first * grad_pitch + down_offset, hidden, mask=here)
        if DROPOUT:
            hidden = dropped(
                hidden, start + row, inner[None, :], width, tl.full((), 0, tl.int32), seed, salt,
                limit, scale,
            )  # fmt: skip
        seen = tail + first * tail_pitch + row * tail_pitch + lane[None, :]
        factor = tl.load(seen, mask=there & kept, other=0.0)
        total = tl.dot(tl.trans(hidden), factor, total, input_precision="ieee")
    place = parts + (split * rank + lane)[None, :].to(tl.int64) * width + inner[:, None]
    tl.store(place, total, mask=inside[:, None] & kept)
