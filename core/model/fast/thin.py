"""Triton kernels for the adapters' thin products.

Sums over a long side are cut into parts that ``settle_kernel`` and its like add up in a fixed
order: no atomics, so the same inputs give the same bits.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _mixed(x):
    x = x ^ (x >> 16)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15)
    x = x * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def dropped(x, token, column, width, number, seed, salt, limit, scale):
    key = tl.load(seed).to(tl.uint32) + salt.to(tl.uint32)
    place = (token * width + column).to(tl.uint32)
    bits = _mixed(_mixed(place ^ key) + key * 0x9E3779B9)
    field = (bits >> (number * 10).to(tl.uint32)) & 1023
    kept = field.to(tl.int32) >= limit
    return tl.where(kept, x.to(tl.float32) * scale, 0.0).to(x.dtype)


@triton.jit(do_not_specialize=["salt", "limit"])
def project_kernel(
    x, a, parts, tokens, width, x_pitch, a_pitch, rank, ranks, chunks, seed, salt, limit, scale,
    DROPOUT: tl.constexpr, TOKENS: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
    RANK: tl.constexpr,
):  # fmt: skip
    # A program takes ``rank`` rows of A; ``chunks`` programs share those of one linear.
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    number, split = tl.program_id(1), tl.program_id(2)
    row = tl.arange(0, RANK)
    total = tl.zeros((TOKENS, RANK), dtype=tl.float32)
    x_place = x + token[:, None].to(tl.int64) * x_pitch
    share = tl.cdiv(tl.cdiv(width, SPLITS), BLOCK) * BLOCK
    for begin in range(split * share, min(width, (split + 1) * share), BLOCK):
        column = begin + tl.arange(0, BLOCK)
        inside = column < width
        value = tl.load(
            x_place + column[None, :], mask=(token < tokens)[:, None] & inside[None, :], other=0.0
        )
        if DROPOUT:
            value = dropped(
                value, token[:, None], column[None, :], width, number // chunks, seed, salt, limit,
                scale,
            )  # fmt: skip
        factor = tl.load(
            a + (number * rank + row)[:, None] * a_pitch + column[None, :],
            mask=(row < rank)[:, None] & inside[None, :], other=0.0,
        )  # fmt: skip
        total = tl.dot(value, tl.trans(factor), total, input_precision="ieee")
    place = parts + (split * tokens + token)[:, None].to(tl.int64) * ranks + number * rank
    tl.store(place + row[None, :], total, mask=(token < tokens)[:, None] & (row < rank)[None, :])


@triton.jit(do_not_specialize=["salt", "limit"])
def project_backward_kernel(
    x, tail, parts, tokens, width, x_pitch, tail_pitch, rank, ranks, chunks, seed, salt, limit,
    scale, DROPOUT: tl.constexpr, TOKENS: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
    RANK: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    number, split = tl.program_id(1), tl.program_id(2)
    row = tl.arange(0, RANK)
    total = tl.zeros((RANK, BLOCK), dtype=tl.float32)
    share = tl.cdiv(tl.cdiv(tokens, SPLITS), TOKENS) * TOKENS
    for begin in range(split * share, min(tokens, (split + 1) * share), TOKENS):
        token = begin + tl.arange(0, TOKENS)
        there = token < tokens
        value = tl.load(
            x + token[:, None].to(tl.int64) * x_pitch + column[None, :],
            mask=there[:, None] & (column < width)[None, :], other=0.0,
        )  # fmt: skip
        if DROPOUT:
            value = dropped(
                value, token[:, None], column[None, :], width, number // chunks, seed, salt, limit,
                scale,
            )  # fmt: skip
        factor = tl.load(
            tail + token[:, None].to(tl.int64) * tail_pitch + (number * rank + row)[None, :],
            mask=there[:, None] & (row < rank)[None, :], other=0.0,
        )  # fmt: skip
        total = tl.dot(tl.trans(factor), value, total, input_precision="ieee")
    place = parts + (split * ranks + number * rank + row)[:, None].to(tl.int64) * width
    tl.store(place + column[None, :], total, mask=(row < rank)[:, None] & (column < width)[None, :])


@triton.jit
def outward_kernel(
    dy, b, tail, sums, parts, tokens, rows, dy_pitch, b_pitch, tail_pitch, rank,
    rows0, rows1, rows2, end0, end1, BLOCK: tl.constexpr, TOKENS: tl.constexpr,
    SPLITS: tl.constexpr, RANK: tl.constexpr,
):  # fmt: skip
    # One reading of dY serves both products with it.
    block, split = tl.program_id(0), tl.program_id(1)
    number = (block >= end0).to(tl.int32) + (block >= end1).to(tl.int32)
    begin = tl.where(number == 0, 0, tl.where(number == 1, end0, end1))
    first = tl.where(number == 0, 0, tl.where(number == 1, rows0, rows0 + rows1))
    own = tl.where(number == 0, rows0, tl.where(number == 1, rows1, rows2))
    inner = (block - begin) * BLOCK + tl.arange(0, BLOCK)
    inside = inner < own
    row = (first + inner).to(tl.int64)
    column = tl.arange(0, RANK)
    kept = (column < rank)[None, :]
    factor = tl.load(
        b + row[:, None] * b_pitch + number * rank + column[None, :], mask=inside[:, None] & kept,
        other=0.0,
    )  # fmt: skip
    total = tl.zeros((BLOCK, RANK), dtype=tl.float32)
    share = tl.cdiv(tl.cdiv(tokens, SPLITS), TOKENS) * TOKENS
    for start in range(split * share, min(tokens, (split + 1) * share), TOKENS):
        token = start + tl.arange(0, TOKENS)
        there = (token < tokens)[:, None]
        grad = tl.load(
            dy + token[:, None].to(tl.int64) * dy_pitch + row[None, :],
            mask=there & inside[None, :], other=0.0,
        )  # fmt: skip
        seen = tl.load(
            tail + token[:, None].to(tl.int64) * tail_pitch + number * rank + column[None, :],
            mask=there & kept, other=0.0,
        )  # fmt: skip
        total = tl.dot(tl.trans(grad), seen, total, input_precision="ieee")
        out = tl.dot(grad, factor, input_precision="ieee")
        place = sums + (block * tokens + token)[:, None].to(tl.int64) * rank + column[None, :]
        tl.store(place, out, mask=there & kept)
    place = parts + (split * rows + row)[:, None] * rank + column[None, :]
    tl.store(place, total, mask=inside[:, None] & kept)


@triton.jit(do_not_specialize=["salt", "limit"])
def spread_kernel(
    dx, tail, a, tokens, width, dx_pitch, tail_pitch, a_pitch, rank, seed, salt, limit, scale,
    LINEARS: tl.constexpr, TOKENS: tl.constexpr, BLOCK: tl.constexpr, RANK: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (token < tokens)[:, None] & (column < width)[None, :]
    place = dx + token[:, None].to(tl.int64) * dx_pitch + column[None, :]
    total = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    for number in tl.static_range(LINEARS):
        part = tl.zeros((TOKENS, BLOCK), dtype=tl.float32)
        for begin in range(0, rank, RANK):
            row = begin + tl.arange(0, RANK)
            left = tl.load(
                tail + token[:, None].to(tl.int64) * tail_pitch + (number * rank + row)[None, :],
                mask=(token < tokens)[:, None] & (row < rank)[None, :], other=0.0,
            )  # fmt: skip
            right = tl.load(
                a + (number * rank + row)[:, None] * a_pitch + column[None, :],
                mask=(row < rank)[:, None] & (column < width)[None, :], other=0.0,
            )  # fmt: skip
            part = tl.dot(left, right, part, input_precision="ieee")
        total += dropped(
            part, token[:, None], column[None, :], width, tl.full((), number, tl.int32), seed,
            salt, limit, scale,
        )  # fmt: skip
    tl.store(place, total.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def tail_kernel(
    parts, out, kept, tokens, ranks, out_pitch, kept_pitch, pad, COUNT: tl.constexpr,
    KEPT: tl.constexpr, TOKENS: tl.constexpr, PAD: tl.constexpr,
):  # fmt: skip
    # The sum of the parts, and zero in the columns beyond the ranks: products read them.
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    column = tl.arange(0, PAD)
    there = (token < tokens)[:, None]
    total = tl.zeros((TOKENS, PAD), dtype=tl.float32)
    for number in range(COUNT):
        place = parts + (number * tokens + token)[:, None].to(tl.int64) * ranks + column[None, :]
        total += tl.load(place, mask=there & (column < ranks)[None, :], other=0.0)
    result, inside = total.to(out.dtype.element_ty), there & (column < pad)[None, :]
    row = token[:, None].to(tl.int64)
    tl.store(out + row * out_pitch + column[None, :], result, mask=inside)
    if KEPT:
        tl.store(kept + row * kept_pitch + column[None, :], result, mask=inside)


@triton.jit
def _add_parts(pid, parts, grad, size, scaling, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    place = pid * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for number in range(COUNT):
        total += tl.load(parts + number * size + place, mask=inside, other=0.0)
    total = tl.load(grad + place, mask=inside, other=0.0) + total * scaling
    tl.store(grad + place, total, mask=inside)


@triton.jit
def gather_kernel(parts, grad, size, scaling, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    _add_parts(tl.program_id(0), parts, grad, size, scaling, COUNT, BLOCK)


@triton.jit
def settle_kernel(
    sums, out, parts, grad, tokens, rank, out_pitch, end0, end1, end2, size, scaling, programs,
    pad, LINEARS: tl.constexpr, COUNT: tl.constexpr, TOKENS: tl.constexpr, RANK: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    # What the programs of ``outward_kernel`` left: tails, and gradients of B.
    pid = tl.program_id(0)
    if pid < programs:
        number = pid % LINEARS
        token = (pid // LINEARS) * TOKENS + tl.arange(0, TOKENS)
        column = tl.arange(0, RANK)
        there = (token < tokens)[:, None] & (column < rank)[None, :]
        begin = tl.where(number == 0, 0, tl.where(number == 1, end0, end1))
        end = tl.where(number == 0, end0, tl.where(number == 1, end1, end2))
        total = tl.zeros((TOKENS, RANK), dtype=tl.float32)
        for block in range(begin, end):
            place = sums + (block * tokens + token)[:, None].to(tl.int64) * rank + column[None, :]
            total += tl.load(place, mask=there, other=0.0)
        target = out + token[:, None].to(tl.int64) * out_pitch + number * rank + column[None, :]
        tl.store(target, total.to(out.dtype.element_ty), mask=there)
        # Products read the columns beyond the ranks, too, which are fewer than 32.
        beyond = LINEARS * rank + tl.arange(0, 32)[None, :]
        rest = (number == LINEARS - 1) & (token < tokens)[:, None] & (beyond < pad)
        target = out + token[:, None].to(tl.int64) * out_pitch + beyond
        tl.store(target, tl.zeros((TOKENS, 32), out.dtype.element_ty), mask=rest)
    else:
        _add_parts(pid - programs, parts, grad, size, scaling, COUNT, BLOCK)
