"""The Triton kernels behind ``fp8.fused``. ``fp8.plain`` says what comes out."""

from __future__ import annotations

import triton
import triton.language as tl

_E4M3 = tl.constexpr(tl.float8e4nv)


@triton.jit
def _to_fp8(value):
    return tl.minimum(tl.maximum(value, -448.0), 448.0).to(_E4M3)


@triton.jit
def _two(value, second):
    # The larger of two numbers whose sum is nearly the value, or, where ``second``, the smaller.
    high = _to_fp8(value)
    return tl.where(
        second, _to_fp8(value - high.to(tl.float32)).to(tl.float32), high.to(tl.float32)
    )


@triton.jit
def _expand_tile(
    tile, packed, scales, codes, nested, offset, table, inverse, out, turned, weight_rows,
    first_row, columns, pitch, turned_pitch,
    NESTED: tl.constexpr, HEIGHT: tl.constexpr, CHUNK: tl.constexpr,
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
        scale = tl.load(codes + code) * outer + tl.load(offset)
    else:
        scale = tl.load(scales + block, mask=inside[:, None], other=0.0)
    scale *= inverse
    # (rows, blocks, bytes): two weights a byte.
    byte = block[:, :, None] * 32 + tl.arange(0, 32)[None, None, :]
    pair = tl.load(packed + byte, mask=inside[:, None, None], other=0).to(tl.int32)
    high = tl.load(table + (pair >> 4)) * scale[:, :, None]
    low = tl.load(table + (pair & 15)) * scale[:, :, None]
    values = tl.reshape(_to_fp8(tl.interleave(high, low)), (HEIGHT, CHUNK))
    place = (first_row + row).to(tl.int64)
    column = begin + tl.arange(0, CHUNK)
    tl.store(out + place[:, None] * pitch + column[None, :], values, mask=inside[:, None])
    target = turned + column[:, None].to(tl.int64) * turned_pitch + place[None, :]
    tl.store(target, tl.trans(values), mask=inside[None, :])


@triton.jit
def expand_kernel(
    packed0, scales0, codes0, nested0, offset0, packed1, scales1, codes1, nested1, offset1,
    packed2, scales2, codes2, nested2, offset2, table, inverse, out, turned,
    rows0, rows1, rows2, start1, start2, end0, end1, columns, pitch, turned_pitch,
    NESTED: tl.constexpr, HEIGHT: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    if pid < end0:
        _expand_tile(pid, packed0, scales0, codes0, nested0, offset0, table, inverse, out, turned,
                     rows0, 0, columns, pitch, turned_pitch, NESTED, HEIGHT, CHUNK)  # fmt: skip
    elif pid < end1:
        _expand_tile(pid - end0, packed1, scales1, codes1, nested1, offset1, table, inverse, out,
                     turned, rows1, start1, columns, pitch, turned_pitch, NESTED, HEIGHT,
                     CHUNK)  # fmt: skip
    else:
        _expand_tile(pid - end1, packed2, scales2, codes2, nested2, offset2, table, inverse, out,
                     turned, rows2, start2, columns, pitch, turned_pitch, NESTED, HEIGHT,
                     CHUNK)  # fmt: skip


@triton.jit
def adapters_kernel(
    a, b, a_out, b_out, out, turned, scaling, inverse, rows, columns, rank, ranks, start1, start2,
    pitch, turned_pitch, tail, row_programs, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    # Beside the weights, high, high and low parts of B; beside the turned ones, of A.
    pid = tl.program_id(0)
    lane = tl.program_id(1) * LANES + tl.arange(0, LANES)
    part = lane // ranks
    own = lane - part * ranks
    if pid < row_programs:
        row = pid * ROWS + tl.arange(0, ROWS)
        number = (row >= start1).to(tl.int32) + (row >= start2).to(tl.int32)
        column = own[None, :] - number[:, None] * rank
        there = (row < rows)[:, None] & (part < 3)[None, :]
        mine = there & (column >= 0) & (column < rank)
        value = tl.load(b + row[:, None] * rank + column, mask=mine, other=0.0) * scaling
        kept = b_out + row[:, None] * ranks + own[None, :]
        tl.store(kept, value.to(b_out.dtype.element_ty), mask=there & (part == 0)[None, :])
        target = out + row[:, None].to(tl.int64) * pitch + columns + lane[None, :]
        inside = (row < rows)[:, None] & (lane < tail)[None, :]
    else:
        row = (pid - row_programs) * ROWS + tl.arange(0, ROWS)
        there = (row < columns)[:, None] & (part < 3)[None, :]
        place = own[None, :] * columns + row[:, None]
        value = tl.load(a + place, mask=there, other=0.0)
        tl.store(a_out + place, value.to(a_out.dtype.element_ty), mask=there & (part == 0)[None, :])
        target = turned + row[:, None].to(tl.int64) * turned_pitch + rows + lane[None, :]
        inside = (row < columns)[:, None] & (lane < tail)[None, :]
    tl.store(target, _two(value * inverse, (part == 2)[None, :]).to(_E4M3), mask=inside)


@triton.jit
def quantize_kernel(
    x, tail, out, scales, width, ranks, columns, scale, x_pitch, tail_pitch, out_pitch,
    BLOCK: tl.constexpr, LANES: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    value = tl.load(x + row * x_pitch + column, mask=column < width, other=0.0).to(tl.float32)
    lane = tl.arange(0, LANES)
    most = tl.max(tl.abs(value))
    beside = tl.zeros((LANES,), dtype=tl.float32)
    part = lane
    if TAIL:
        part = lane // ranks
        own = lane - part * ranks
        seen = tail + row * tail_pitch + own
        beside = tl.load(seen, mask=part < 3, other=0.0).to(tl.float32)
        most = tl.maximum(most, tl.max(tl.abs(beside)))
    most = tl.maximum(most, 4.48e-28)
    tl.store(scales + row, most / 448.0 * scale)
    inverse = 448.0 / most
    target = out + row * out_pitch
    tl.store(target + column, _to_fp8(value * inverse), mask=column < width)
    result = _two(beside * inverse, part == 1)
    tl.store(target + width + lane, result.to(_E4M3), mask=lane < columns)


@triton.jit
def add_rows_kernel(x, scales, out, width, x_pitch, out_pitch, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    value = tl.load(x + row * x_pitch + column, mask=inside, other=0.0).to(tl.float32)
    value *= tl.load(scales + row)
    target = out + row * out_pitch + column
    value += tl.load(target, mask=inside, other=0.0).to(tl.float32)
    tl.store(target, value.to(out.dtype.element_ty), mask=inside)
