"""The Triton kernels behind ``fused``. A program handles a tile; ``plain`` says what comes out.

Offsets of rows are 64-bit: T tokens times a width of 2 f soon pass 2^31 elements.
"""

from __future__ import annotations

import os

import triton
import triton.language as tl

COMPILED = tl.constexpr(os.environ.get("TRITON_INTERPRET") != "1")
"""Triton's interpreter, for trying kernels without a GPU, knows no inline assembly."""


@triton.jit
def _times(x, y):
    # An explicit rounding: fused with the addition that follows, the last bit would differ.
    if COMPILED:
        return tl.inline_asm_elementwise(
            "mul.rn.f32 $0, $1, $2;", "=f,f,f", [x, y], dtype=tl.float32, is_pure=True, pack=1
        )
    return x * y


@triton.jit
def _expand_tile(
    tile, packed, scales, codes, nested, offset, table, b, scaling, out, weight_rows, first_row,
    columns, pitch, number, pad,
    NESTED: tl.constexpr, RANK: tl.constexpr, HEIGHT: tl.constexpr, CHUNK: tl.constexpr,
    PAD: tl.constexpr,
):  # fmt: skip
    chunks = columns // CHUNK
    row = (tile // chunks) * HEIGHT + tl.arange(0, HEIGHT)
    begin = (tile % chunks) * CHUNK
    inside = row < weight_rows
    # (rows, blocks): a scale is read once for its 64 weights.
    block = row[:, None].to(tl.int64) * (columns // 64) + (
        begin // 64 + tl.arange(0, CHUNK // 64)[None, :]
    )
    if NESTED:
        code = tl.load(scales + block, mask=inside[:, None], other=0).to(tl.int32)
        outer = tl.load(nested + block // 256, mask=inside[:, None], other=0.0)
        scale = _times(tl.load(codes + code), outer) + tl.load(offset)
    else:
        scale = tl.load(scales + block, mask=inside[:, None], other=0.0)
    # (rows, blocks, bytes): two weights a byte.
    byte = block[:, :, None] * 32 + tl.arange(0, 32)[None, None, :]
    pair = tl.load(packed + byte, mask=inside[:, None, None], other=0).to(tl.int32)
    high = tl.load(table + (pair >> 4)) * scale[:, :, None]
    low = tl.load(table + (pair & 15)) * scale[:, :, None]
    values = tl.interleave(high, low).to(out.dtype.element_ty)
    target = out + (first_row + row)[:, None].to(tl.int64) * pitch
    column = begin + tl.arange(0, CHUNK)[None, :]
    tl.store(target + column, tl.reshape(values, (HEIGHT, CHUNK)), mask=inside[:, None])
    if begin == 0:
        place = tl.arange(0, PAD)[None, :]
        own = place - number * RANK
        inner = inside[:, None] & (own >= 0) & (own < RANK)
        tail = tl.load(b + (first_row + row)[:, None] * RANK + own, mask=inner, other=0.0)
        tail = (tail * scaling).to(out.dtype.element_ty)
        tl.store(target + columns + place, tail, mask=inside[:, None] & (place < pad))


@triton.jit
def expand_kernel(
    packed0, scales0, codes0, nested0, offset0, packed1, scales1, codes1, nested1, offset1,
    packed2, scales2, codes2, nested2, offset2, table, a, b, scaling, out,
    rows0, rows1, rows2, start1, start2, end0, end1, end2, rows, columns, pitch, ranks, pad,
    NESTED: tl.constexpr, RANK: tl.constexpr, HEIGHT: tl.constexpr, CHUNK: tl.constexpr,
    PAD: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    if pid < end0:
        _expand_tile(pid, packed0, scales0, codes0, nested0, offset0, table, b, scaling, out, rows0,
                     0, columns, pitch, 0, pad, NESTED, RANK,
                     HEIGHT, CHUNK, PAD)  # fmt: skip
    elif pid < end1:
        _expand_tile(pid - end0, packed1, scales1, codes1, nested1, offset1, table, b, scaling, out,
                     rows1, start1, columns, pitch, 1, pad, NESTED, RANK,
                     HEIGHT, CHUNK, PAD)  # fmt: skip
    elif pid < end2:
        _expand_tile(pid - end1, packed2, scales2, codes2, nested2, offset2, table, b, scaling, out,
                     rows2, start2, columns, pitch, 2, pad, NESTED, RANK,
                     HEIGHT, CHUNK, PAD)  # fmt: skip
    else:
        tile, chunks = pid - end2, columns // CHUNK
        row = (tile // chunks) * HEIGHT + tl.arange(0, HEIGHT)[:, None]
        column = (tile % chunks) * CHUNK + tl.arange(0, CHUNK)[None, :]
        values = tl.load(a + row * columns + column, mask=row < ranks, other=0.0)
        target = out + (rows + row).to(tl.int64) * pitch + column
        tl.store(target, values.to(out.dtype.element_ty), mask=row < pad)


@triton.jit
def rms_kernel(
    x, weight, out, kept, x_pitch, out_pitch, kept_pitch, width, eps, KEPT: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    given = tl.load(x + row * x_pitch + column, mask=inside, other=0.0)
    if KEPT:
        tl.store(kept + row * kept_pitch + column, given, mask=inside)
    value = given.to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value) / width + eps)
    factor = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    result = (value * scale * factor).to(out.dtype.element_ty)
    tl.store(out + row * out_pitch + column, result, mask=inside)


@triton.jit
def rms_backward_kernel(
    dy, x, weight, residual, out, scales, dy_pitch, x_pitch, residual_pitch, out_pitch, width, eps,
    RESIDUAL: tl.constexpr, SCALED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    value = tl.load(x + row * x_pitch + column, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(dy + row * dy_pitch + column, mask=inside, other=0.0).to(tl.float32)
    grad *= tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    if SCALED:
        grad *= tl.load(scales + row)
    scale = tl.rsqrt(tl.sum(value * value) / width + eps)
    value *= scale
    result = scale * (grad - value * (tl.sum(grad * value) / width))
    if RESIDUAL:
        result += tl.load(residual + row * residual_pitch + column, mask=inside, other=0.0)
    tl.store(out + row * out_pitch + column, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def head_norm_kernel(
    qk, weight, out, qk_pitch, out_pitch, heads, width, eps, HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head, column = tl.arange(0, HEADS)[:, None], tl.arange(0, WIDTH)[None, :]
    inside = (head < heads) & (column < width)
    place = head * width + column
    value = tl.load(qk + token * qk_pitch + place, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, 1) / width + eps)[:, None]
    factor = tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)
    result = (value * scale * factor).to(out.dtype.element_ty)
    tl.store(out + token * out_pitch + place, result, mask=inside)


@triton.jit
def head_norm_backward_kernel(
    dy, qk, weight, dy_pitch, qk_pitch, heads, width, eps, HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head, column = tl.arange(0, HEADS)[:, None], tl.arange(0, WIDTH)[None, :]
    inside = (head < heads) & (column < width)
    place = head * width + column
    value = tl.load(qk + token * qk_pitch + place, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(dy + token * dy_pitch + place, mask=inside, other=0.0).to(tl.float32)
    grad *= tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, 1) / width + eps)[:, None]
    value *= scale
    result = scale * (grad - value * (tl.sum(grad * value, 1)[:, None] / width))
    tl.store(dy + token * dy_pitch + place, result.to(dy.dtype.element_ty), mask=inside)


@triton.jit
def copy_kernel(x, out, width, pitch, out_pitch, BLOCK: tl.constexpr):
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    value = tl.load(x + row * pitch + column, mask=column < width)
    tl.store(out + row * out_pitch + column, value, mask=column < width)


@triton.jit
def rotate_kernel(
    qk, cos, sin, out, pitch, angle_pitch, out_pitch, heads, half, sign, HEADS: tl.constexpr,
    HALF: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head, column = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (column < half)
    c = tl.load(cos + token * angle_pitch + column, mask=column < half, other=0.0).to(tl.float32)
    s = tl.load(sin + token * angle_pitch + column, mask=column < half, other=0.0).to(tl.float32)
    s *= sign
    place = head * (2 * half) + column
    source, target = qk + token * pitch + place, out + token * out_pitch + place
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + half, mask=inside, other=0.0).to(tl.float32)
    kind = out.dtype.element_ty
    tl.store(target, (first * c - second * s).to(kind), mask=inside)
    tl.store(target + half, (second * c + first * s).to(kind), mask=inside)


@triton.jit
def _exp(x):
    # Two operations; Triton's own looks after results below 1e-38 as well, which takes four more.
    if COMPILED:
        result = tl.inline_asm_elementwise(
            """{
            .reg .f32 power;
            mul.f32 power, $1, 0f3FB8AA3B;
            ex2.approx.ftz.f32 $0, power;
            }""",
            "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1,
        )  # fmt: skip
    else:
        result = tl.exp(x)
    return result


@triton.jit
def _scored(line, width, BLOCK: tl.constexpr):
    # For each lane the highest of its logits, and the sum of exponents below that.
    top = tl.full((BLOCK,), -1e30, dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for begin in range(0, width, BLOCK):
        column = begin + tl.arange(0, BLOCK)
        value = tl.load(line + column, mask=column < width, other=float("-inf")).to(tl.float32)
        # The sum so far or what is added, whichever is less beside the higher of their tops.
        less = _exp(-tl.abs(top - value))
        total = tl.where(value > top, total * less + 1.0, total + less)
        top = tl.maximum(top, value)
    return top, total


@triton.jit
def cross_entropy_kernel(logits, targets, losses, pitch, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    line = logits + row * pitch
    top, total = _scored(line, width, BLOCK)
    highest = tl.max(top)
    logsum = highest + tl.log(tl.sum(total * _exp(top - highest)))
    target = line + tl.load(targets + row)
    wanted = tl.load(target).to(tl.float32)
    tl.store(losses + row, logsum - wanted)
    tl.debug_barrier()
    for begin in range(0, width, BLOCK):
        column = begin + tl.arange(0, BLOCK)
        inside = column < width
        value = tl.load(line + column, mask=inside, other=float("-inf")).to(tl.float32)
        part = _exp(value - logsum)
        tl.store(line + column, part.to(logits.dtype.element_ty), mask=inside)
    tl.debug_barrier()
    tl.store(target, (_exp(wanted - logsum) - 1.0).to(logits.dtype.element_ty))


@triton.jit
def score_tile_kernel(
    logits, places, highest, total, wanted, pitch, width, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    line = logits + row * pitch
    top, part = _scored(line, width, BLOCK)
    before = tl.load(highest + row)
    higher = tl.maximum(before, tl.max(top))
    result = tl.load(total + row) * _exp(before - higher) + tl.sum(part * _exp(top - higher))
    tl.store(total + row, result)
    tl.store(highest + row, higher)
    place = tl.load(places + row)
    inside = (place >= 0) & (place < width)
    found = tl.load(line + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(wanted + row, found, mask=inside)


@triton.jit
def tile_gradient_kernel(logits, places, logsum, pitch, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    line, inside = logits + row * pitch + column, column < width
    value = tl.load(line, mask=inside, other=float("-inf")).to(tl.float32)
    part = _exp(value - tl.load(logsum + row))
    part = tl.where(column == tl.load(places + row), part - 1.0, part)
    tl.store(line, part.to(logits.dtype.element_ty), mask=inside)


@triton.jit
def embed_kernel(weight, ids, out, width, out_pitch, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    source = tl.load(ids + token).to(tl.int64) * width
    value = tl.load(weight + source + column, mask=inside, other=0.0)
    tl.store(out + token * out_pitch + column, value, mask=inside)
