"""The Triton kernels behind ``fp8.fused``. ``fp8.plain`` says what comes out.

Numbers in FP8 are made and stored four at a time, as one of 32 bits, by instructions that are
written out: what Triton 3.6 made of conversions and moves of single ones computed something else on
an H100, depending on how a tensor lay in memory.
"""

from __future__ import annotations

import triton
import triton.language as tl

from core.model.fast.kernels import COMPILED


@triton.jit
def _code(value):
    # The bits of the nearest e4m3 number.
    value = tl.minimum(tl.maximum(value, -448.0), 448.0)
    return value.to(tl.float8e4nv).to(tl.uint8, bitcast=True).to(tl.int32)


@triton.jit
def _four(first, second, third, fourth):
    # The nearest e4m3 numbers to four in fp32, the first in the lowest byte.
    if COMPILED:
        codes = tl.inline_asm_elementwise(
            """{
            .reg .b16 low, high;
            cvt.rn.satfinite.e4m3x2.f32 low, $2, $1;
            cvt.rn.satfinite.e4m3x2.f32 high, $4, $3;
            mov.b32 $0, {low, high};
            }""",
            "=r,f,f,f,f", [first, second, third, fourth], dtype=tl.int32, is_pure=True, pack=1,
        )  # fmt: skip
    else:
        first, second = _code(first), _code(second)
        codes = first | (second << 8) | (_code(third) << 16) | (_code(fourth) << 24)
    return codes


@triton.jit
def _part(value, second):
    # One of two e4m3 numbers, in fp32, whose sum is nearly the value: the large one, which has
    # its first three bits behind the point, or where ``second`` the rest.
    bits = value.to(tl.int32, bitcast=True)
    large = ((bits + 0x80000) & -0x100000).to(tl.float32, bitcast=True)
    large = tl.minimum(tl.maximum(large, -448.0), 448.0)
    return tl.where(second, value - large, large)


@triton.jit
def _weights(pairs, table, scale):
    # Four weights of each row: two bytes, in each the upper half first.
    first = tl.load(table + ((pairs >> 4) & 15)) * scale
    second = tl.load(table + (pairs & 15)) * scale
    third = tl.load(table + ((pairs >> 12) & 15)) * scale
    fourth = tl.load(table + ((pairs >> 8) & 15)) * scale
    return first, second, third, fourth


@triton.jit
def _scale(block, scales, codes, nested, offset, inside, NESTED: tl.constexpr):
    if NESTED:
        code = tl.load(scales + block, mask=inside, other=0).to(tl.int32)
        outer = tl.load(nested + block // 256, mask=inside, other=0.0)
        scale = tl.load(codes + code) * outer + tl.load(offset)
    else:
        scale = tl.load(scales + block, mask=inside, other=0.0)
    return scale


@triton.jit
def _expand_tile(
    tile, packed, scales, codes, nested, offset, table, inverse, out, turned, weight_rows,
    first_row, columns, pitch, turned_pitch, NESTED: tl.constexpr, GROUPS: tl.constexpr,
    AHEAD: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    # One block of 64 weights, which share a scale, of four rows in each of ``GROUPS``.
    blocks = columns // 64
    group = (tile // blocks) * GROUPS + tl.arange(0, GROUPS)
    number = tile % blocks
    word = tl.arange(0, 16)[None, :]
    inside = group * 4 < weight_rows
    block = group.to(tl.int64) * (4 * blocks) + number
    # All are under way before the first is waited for.
    there, place = inside[:, None], packed + block[:, None] * 16 + word
    pairs0 = tl.load(place, mask=there, other=0).to(tl.int32)
    pairs1 = tl.load(place + blocks * 16, mask=there, other=0).to(tl.int32)
    pairs2 = tl.load(place + blocks * 32, mask=there, other=0).to(tl.int32)
    pairs3 = tl.load(place + blocks * 48, mask=there, other=0).to(tl.int32)
    below = tl.arange(0, 2)[None, :, None] * 2 + tl.arange(0, 2)[None, None, :]
    four = block[:, None, None] + below * blocks
    scale = _scale(four, scales, codes, nested, offset, inside[:, None, None], NESTED) * inverse
    even, odd = tl.split(scale)
    scale0, scale2 = tl.split(even)
    scale1, scale3 = tl.split(odd)
    a0, b0, c0, d0 = _weights(pairs0, table, scale0[:, None])
    a1, b1, c1, d1 = _weights(pairs1, table, scale1[:, None])
    a2, b2, c2, d2 = _weights(pairs2, table, scale2[:, None])
    a3, b3, c3, d3 = _weights(pairs3, table, scale3[:, None])
    row = first_row + 4 * group
    if AHEAD:
        target = out + row[:, None].to(tl.int64) * pitch + number * 16 + word
        tl.store(target, _four(a0, b0, c0, d0), mask=there)
        tl.store(target + pitch, _four(a1, b1, c1, d1), mask=there)
        tl.store(target + 2 * pitch, _four(a2, b2, c2, d2), mask=there)
        tl.store(target + 3 * pitch, _four(a3, b3, c3, d3), mask=there)
    if BACK:
        column = number * 64 + 4 * word
        target = turned + column.to(tl.int64) * turned_pitch + (row // 4)[:, None]
        tl.store(target, _four(a0, a1, a2, a3), mask=there)
        tl.store(target + turned_pitch, _four(b0, b1, b2, b3), mask=there)
        tl.store(target + 2 * turned_pitch, _four(c0, c1, c2, c3), mask=there)
        tl.store(target + 3 * turned_pitch, _four(d0, d1, d2, d3), mask=there)


@triton.jit
def expand_kernel(
    packed0, scales0, codes0, nested0, offset0, packed1, scales1, codes1, nested1, offset1,
    packed2, scales2, codes2, nested2, offset2, table, inverse, out, turned,
    rows0, rows1, rows2, start1, start2, end0, end1, columns, pitch, turned_pitch,
    NESTED: tl.constexpr, GROUPS: tl.constexpr,
    AHEAD: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    # Pitches count in 16 bytes: so the compiler sees how rows are aligned.
    pitch, turned_pitch = pitch * 4, turned_pitch * 4
    pid = tl.program_id(0)
    if pid < end0:
        _expand_tile(pid, packed0, scales0, codes0, nested0, offset0, table, inverse, out, turned,
                     rows0, 0, columns, pitch, turned_pitch, NESTED, GROUPS, AHEAD,
                     BACK)  # fmt: skip
    elif pid < end1:
        _expand_tile(pid - end0, packed1, scales1, codes1, nested1, offset1, table, inverse, out,
                     turned, rows1, start1, columns, pitch, turned_pitch, NESTED,
                     GROUPS, AHEAD, BACK)  # fmt: skip
    else:
        _expand_tile(pid - end1, packed2, scales2, codes2, nested2, offset2, table, inverse, out,
                     turned, rows2, start2, columns, pitch, turned_pitch, NESTED,
                     GROUPS, AHEAD, BACK)  # fmt: skip


@triton.jit
def _b_part(b, b_out, row, lane, number, scaling, inverse, rows, rank, ranks):
    # Of one column beside the weights: high, high and low parts of B.
    part = lane // ranks
    own = lane - part * ranks
    column = own - number * rank
    there = (row < rows) & (part < 3)
    value = tl.load(
        b + row * rank + column, mask=there & (column >= 0) & (column < rank), other=0.0
    ) * scaling  # fmt: skip
    kept = there & (part == 0)
    tl.store(b_out + row * ranks + own, value.to(b_out.dtype.element_ty), mask=kept)
    return _part(value * inverse, part == 2)


@triton.jit
def _a_part(a, a_out, row, lane, inverse, columns, ranks):
    # The same of A, turned.
    part = lane // ranks
    own = lane - part * ranks
    there = (row < columns) & (part < 3)
    value = tl.load(a + own * columns + row, mask=there, other=0.0)
    kept = there & (part == 0)
    tl.store(a_out + own * columns + row, value.to(a_out.dtype.element_ty), mask=kept)
    return _part(value * inverse, part == 2)


@triton.jit
def adapters_kernel(
    a, b, a_out, b_out, out, turned, scaling, inverse, rows, columns, rank, ranks, start1, start2,
    pitch, turned_pitch, words, row_programs, ROWS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    word = tl.program_id(1) * WORDS + tl.arange(0, WORDS)[None, :]
    lane = 4 * word
    if pid < row_programs:
        row = (pid * ROWS + tl.arange(0, ROWS))[:, None]
        number = (row >= start1).to(tl.int32) + (row >= start2).to(tl.int32)
        part0 = _b_part(b, b_out, row, lane, number, scaling, inverse, rows, rank, ranks)
        part1 = _b_part(b, b_out, row, lane + 1, number, scaling, inverse, rows, rank, ranks)
        part2 = _b_part(b, b_out, row, lane + 2, number, scaling, inverse, rows, rank, ranks)
        part3 = _b_part(b, b_out, row, lane + 3, number, scaling, inverse, rows, rank, ranks)
        target = out + row.to(tl.int64) * pitch + columns // 4 + word
        tl.store(target, _four(part0, part1, part2, part3), mask=(row < rows) & (word < words))
    else:
        row = ((pid - row_programs) * ROWS + tl.arange(0, ROWS))[:, None]
        part0 = _a_part(a, a_out, row, lane, inverse, columns, ranks)
        part1 = _a_part(a, a_out, row, lane + 1, inverse, columns, ranks)
        part2 = _a_part(a, a_out, row, lane + 2, inverse, columns, ranks)
        part3 = _a_part(a, a_out, row, lane + 3, inverse, columns, ranks)
        target = turned + row.to(tl.int64) * turned_pitch + rows // 4 + word
        tl.store(target, _four(part0, part1, part2, part3), mask=(row < columns) & (word < words))


@triton.jit
def _beside(tail, lane, ranks):
    # A tail's number, three times over; zero behind it.
    part = lane // ranks
    value = tl.load(tail + lane - part * ranks, mask=part < 3, other=0.0)
    return value.to(tl.float32)


@triton.jit
def quantize_kernel(
    x, tail, out, scales, width, ranks, words, scale, x_pitch, tail_pitch, out_pitch,
    STEP: tl.constexpr, BLOCK: tl.constexpr, WORDS: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    # x as 64-bit numbers of four in bf16; widths of x and ``out`` count in fours, the pitch of x in
    # ``STEP`` of them, that of ``out`` in 16 bytes: so the compiler sees how rows are aligned.
    row = tl.program_id(0).to(tl.int64)
    x_pitch, out_pitch = x_pitch * STEP, out_pitch * 4
    place = tl.arange(0, BLOCK)
    inside = place < width
    four = tl.load(x + row * x_pitch + place, mask=inside, other=0)
    low, high = four.to(tl.int32), (four >> 32).to(tl.int32)
    first = (low << 16).to(tl.float32, bitcast=True)
    second = (low & -65536).to(tl.float32, bitcast=True)
    third = (high << 16).to(tl.float32, bitcast=True)
    fourth = (high & -65536).to(tl.float32, bitcast=True)
    most = tl.max(
        tl.maximum(
            tl.maximum(tl.abs(first), tl.abs(second)), tl.maximum(tl.abs(third), tl.abs(fourth))
        )
    )
    word = tl.arange(0, WORDS)
    lane = 4 * word
    seen = tail + row * tail_pitch
    if TAIL:
        beside0, beside1 = _beside(seen, lane, ranks), _beside(seen, lane + 1, ranks)
        beside2, beside3 = _beside(seen, lane + 2, ranks), _beside(seen, lane + 3, ranks)
        larger = tl.maximum(
            tl.maximum(tl.abs(beside0), tl.abs(beside1)),
            tl.maximum(tl.abs(beside2), tl.abs(beside3)),
        )
        most = tl.maximum(most, tl.max(larger))
    most = tl.maximum(most, 1e-27)
    tl.store(scales + row, most / 448.0 * scale)
    inverse = 448.0 / most
    target = out + row * out_pitch
    codes = _four(first * inverse, second * inverse, third * inverse, fourth * inverse)
    tl.store(target + place, codes, mask=inside)
    codes = tl.zeros((WORDS,), dtype=tl.int32)
    if TAIL:
        codes = _four(
            _part(beside0 * inverse, lane // ranks == 1),
            _part(beside1 * inverse, (lane + 1) // ranks == 1),
            _part(beside2 * inverse, (lane + 2) // ranks == 1),
            _part(beside3 * inverse, (lane + 3) // ranks == 1),
        )  # fmt: skip
    tl.store(target + width + word, codes, mask=word < words)


@triton.jit
def scale_rows_kernel(
    x, scales, base, out, width, x_pitch, base_pitch, out_pitch, BASE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    value = tl.load(x + row * x_pitch + column, mask=inside, other=0.0).to(tl.float32)
    value *= tl.load(scales + row)
    if BASE:
        value += tl.load(base + row * base_pitch + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * out_pitch + column, value.to(out.dtype.element_ty), mask=inside)
