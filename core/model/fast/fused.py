"""The pieces of the fused path as Triton kernels. ``plain`` has the same functions, and says what
each must compute; only what differs is said here.

Imported on a GPU alone: torch's CPU build comes without Triton.
"""

from __future__ import annotations

from itertools import accumulate

import torch
import triton

from core.model.fast import gate, kernels, plain, thin
from core.model.fast.dims import WIDEST_RANK
from core.model.fast.dropout import Mask
from core.model.fast.nf4 import Nf4

Tensor = torch.Tensor

_TILE = 4096
"""Weights that one program of ``expand`` writes."""
_PROGRAMS = 264
"""Programs that fill a large GPU: two for each of an H100's 132 multiprocessors."""
_ROWS = 128
"""Rows of A that one program can take: registers, and 99 KB of shared memory on smaller cards."""


def expand(weights: list[Nf4], a: Tensor, b: Tensor, scaling: float, out: Tensor) -> None:
    """One launch for all weights of a group. Bit-equal to bitsandbytes' dequantization."""
    columns, (rows, rank) = a.shape[1], b.shape
    chunk = min(1024, columns & -columns)
    height = _TILE // chunk
    tiles = [triton.cdiv(w.rows, height) * (columns // chunk) for w in weights]
    pad = out.shape[0] - rows
    parts = [weights[min(i, len(weights) - 1)] for i in range(3)]
    ends = [sum(tiles[: i + 1]) for i in range(3)]
    starts = [sum(w.rows for w in weights[:i]) for i in range(3)]
    bottom = triton.cdiv(pad, height) * (columns // chunk)
    kernels.expand_kernel[(ends[-1] + bottom,)](
        *(part for w in parts for part in (w.packed, w.scales, w.codes, w.nested_scales, w.offset)),
        parts[0].table, a, b, scaling, out,
        parts[0].rows, parts[1].rows, parts[2].rows, starts[1], starts[2], *ends,
        rows, columns, out.stride(0), a.shape[0], out.shape[1] - columns,
        NESTED=parts[0].nested, RANK=rank, HEIGHT=height, CHUNK=chunk,
        PAD=triton.next_power_of_2(pad), num_warps=4,
    )  # fmt: skip


def rms_norm(
    x: Tensor, weight: Tensor, eps: float, out: Tensor, kept: Tensor | None = None
) -> None:
    block = triton.next_power_of_2(x.shape[1])
    copy = out if kept is None else kept
    kernels.rms_kernel[(x.shape[0],)](
        x, weight, out, copy, x.stride(0), out.stride(0), copy.stride(0), x.shape[1], eps,
        KEPT=kept is not None, BLOCK=block, num_warps=_warps(block),
    )  # fmt: skip


def rms_norm_backward(
    dy: Tensor, x: Tensor, weight: Tensor, eps: float, residual: Tensor | None, out: Tensor,
    scales: Tensor | None = None,
) -> None:  # fmt: skip
    block = triton.next_power_of_2(x.shape[1])
    beside = dy if residual is None else residual
    kernels.rms_backward_kernel[(x.shape[0],)](
        dy, x, weight, beside, out, dy if scales is None else scales, dy.stride(0), x.stride(0),
        beside.stride(0), out.stride(0), x.shape[1], eps, RESIDUAL=residual is not None,
        SCALED=scales is not None, BLOCK=block, num_warps=_warps(block),
    )  # fmt: skip


def head_norm(qk: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
    tokens, heads, width = qk.shape
    kernels.head_norm_kernel[(tokens,)](
        qk, weight, out, qk.stride(0), out.stride(0), heads, width, eps,
        HEADS=triton.next_power_of_2(heads), WIDTH=triton.next_power_of_2(width), num_warps=4,
    )  # fmt: skip


def head_norm_backward(dy: Tensor, qk: Tensor, weight: Tensor, eps: float) -> None:
    tokens, heads, width = qk.shape
    kernels.head_norm_backward_kernel[(tokens,)](
        dy, qk, weight, dy.stride(0), qk.stride(0), heads, width, eps,
        HEADS=triton.next_power_of_2(heads), WIDTH=triton.next_power_of_2(width), num_warps=4,
    )  # fmt: skip


def rotate(qk: Tensor, cos: Tensor, sin: Tensor, out: Tensor, *, back: bool = False) -> None:
    tokens, heads, width = qk.shape
    kernels.rotate_kernel[(tokens,)](
        qk, cos, sin, out, qk.stride(0), cos.stride(0), out.stride(0), heads, width // 2,
        -1.0 if back else 1.0,
        HEADS=triton.next_power_of_2(heads), HALF=triton.next_power_of_2(width // 2), num_warps=4,
    )  # fmt: skip


def copy_rows(x: Tensor, out: Tensor) -> None:
    block = triton.next_power_of_2(x.shape[1])
    kernels.copy_kernel[(len(x),)](
        x, out, x.shape[1], x.stride(0), out.stride(0), BLOCK=block, num_warps=_warps(block)
    )


def _warps(block: int) -> int:
    return min(16, max(1, block // 512))


def swiglu(
    gate_up: Tensor, a: Tensor, out: Tensor, tail: Tensor, mask: Mask | None, kept: Tensor,
    scales: Tensor | None = None,
) -> None:  # fmt: skip
    (tokens, width), rank = out.shape, len(a)
    if rank > _ROWS:
        rank = 0  # projected apart
    splits = _splits(triton.cdiv(tokens, 32), width // 1024, 2 * _PROGRAMS)
    parts = _sums(out, splits, tokens, rank)
    gate.swiglu_kernel[(triton.cdiv(tokens, 32), splits)](
        gate_up, a, out, parts, parts if scales is None else scales, tokens, width,
        gate_up.stride(0), a.stride(0), out.stride(0), rank, *_drawn(mask, out),
        DROPOUT=mask is not None, SCALED=scales is not None, TOKENS=32, BLOCK=_columns(rank),
        SPLITS=splits, RANK=_lanes(rank), num_warps=4, num_stages=3,
    )  # fmt: skip
    if rank:
        _write_tail(parts, tail, kept)
    else:
        project(out, a, tail, 1, mask, kept)


def swiglu_backward(
    gate_up: Tensor, grad: Tensor, tail: Tensor, grad_a: Tensor, mask: Mask | None,
    scales: Tensor | None = None, grad_scales: Tensor | None = None,
) -> None:  # fmt: skip
    (tokens, width), rank = grad.shape, len(grad_a) if len(grad_a) <= _ROWS else 0
    # More numbers to hold at a time, where rows come with factors: fewer tokens, then.
    size, warps = (32, 8) if scales is None else (16, 4)
    blocks = triton.cdiv(width, 128)
    splits = _splits(blocks, tokens // 256, 3 * _PROGRAMS)
    parts = _sums(grad, splits, rank, width)
    gate.swiglu_backward_kernel[(blocks, splits)](
        gate_up, grad, tail, parts, parts if scales is None else scales,
        parts if grad_scales is None else grad_scales, tokens, width, gate_up.stride(0),
        grad.stride(0), tail.stride(0), rank, *_drawn(mask, grad), DROPOUT=mask is not None,
        SCALED=scales is not None, GRAD_SCALED=grad_scales is not None, BLOCK=128,
        TOKENS=size, SPLITS=splits, RANK=_lanes(rank), WRITTEN=not rank, num_warps=warps,
        num_stages=3,
    )  # fmt: skip
    if rank:
        _gather(parts, grad_a)
    else:
        project_backward(grad, tail, grad_a, 1, mask)


def project(
    x: Tensor, a: Tensor, out: Tensor, linears: int, mask: Mask | None, kept: Tensor | None = None
) -> None:
    (tokens, width), ranks = x.shape, a.shape[0]
    blocks, chunks = _blocks(ranks, linears, mask)
    rows = ranks // blocks
    splits = _splits(triton.cdiv(tokens, 32) * blocks, width // 1024)
    parts = _sums(x, splits, tokens, ranks)
    thin.project_kernel[(triton.cdiv(tokens, 32), blocks, splits)](
        x, a, parts, tokens, width, x.stride(0), a.stride(0), rows, ranks, chunks,
        *_drawn(mask, x), DROPOUT=mask is not None, TOKENS=32, BLOCK=_columns(rows), SPLITS=splits,
        RANK=_lanes(rows), num_warps=4, num_stages=4,
    )  # fmt: skip
    _write_tail(parts, out, kept)


def project_backward(
    x: Tensor, tail: Tensor, grad: Tensor, linears: int, mask: Mask | None
) -> None:
    (tokens, width), ranks = x.shape, grad.shape[0]
    blocks, chunks = _blocks(ranks, linears, mask)
    rows = ranks // blocks
    splits = _splits(triton.cdiv(width, 64) * blocks, tokens // 256)
    parts = _sums(x, splits, *grad.shape)
    thin.project_backward_kernel[(triton.cdiv(width, 64), blocks, splits)](
        x, tail, parts, tokens, width, x.stride(0), tail.stride(0), rows, ranks, chunks,
        *_drawn(mask, x), DROPOUT=mask is not None, TOKENS=64, BLOCK=64, SPLITS=splits,
        RANK=_lanes(rows), num_warps=4, num_stages=3,
    )  # fmt: skip
    _gather(parts, grad)


def outward(
    dy: Tensor, b: Tensor, x_tail: Tensor, out: Tensor, grad: Tensor, rows: list[int],
    scaling: float,
) -> None:  # fmt: skip
    rank, tokens = b.shape[1] // len(rows), dy.shape[0]
    if rank > WIDEST_RANK:
        plain.outward(dy, b, x_tail, out, grad, rows, scaling)
        return
    block = 256 if len(rows) != 3 else 128  # keys and values are narrow
    ends = list(accumulate(triton.cdiv(count, block) for count in rows))
    between = [*ends, ends[-1], ends[-1]][:2]
    splits = _splits(ends[-1], tokens // 256)
    sums, parts = _sums(dy, ends[-1], tokens, rank), _sums(dy, splits, *grad.shape)
    thin.outward_kernel[(ends[-1], splits)](
        dy, b, x_tail, sums, parts, tokens, len(b), dy.stride(0), b.stride(0), x_tail.stride(0),
        rank, *[*rows, 0, 0][:3], *between, BLOCK=block, TOKENS=64, SPLITS=splits,
        RANK=_lanes(rank), num_warps=4, num_stages=3 if len(b) < 16384 else 2,
    )  # fmt: skip
    _settle(sums, out, ends, parts, grad, scaling)


def _settle(
    sums: Tensor, out: Tensor, ends: list[int], parts: Tensor, grad: Tensor, scaling: float
) -> None:
    """Add up ``sums`` (blocks, T, r) of each linear into ``out``, ``parts`` onto ``grad``."""
    (_, tokens, rank), linears, size = sums.shape, len(ends), grad.numel()
    programs = triton.cdiv(tokens, 32) * linears
    thin.settle_kernel[(programs + triton.cdiv(size, 1024),)](
        sums, out, parts, grad, tokens, rank, out.stride(0), *[*ends, ends[-1], ends[-1]][:3],
        size, scaling, programs, out.shape[1], LINEARS=linears, COUNT=len(parts), TOKENS=32,
        RANK=_lanes(rank), BLOCK=1024, num_warps=4,
    )  # fmt: skip


def _gather(parts: Tensor, grad: Tensor) -> None:
    """Add the sum of ``parts`` to ``grad``."""
    size = grad.numel()
    thin.gather_kernel[(triton.cdiv(size, 1024),)](
        parts, grad, size, 1.0, COUNT=len(parts), BLOCK=1024, num_warps=4
    )


def _write_tail(parts: Tensor, out: Tensor, kept: Tensor | None) -> None:
    """The sum of ``parts`` (count, T, R) into ``out`` (T, pad), and into ``kept``."""
    count, tokens, ranks = parts.shape
    copy, pad = out if kept is None else kept, out.shape[1]
    lanes = triton.next_power_of_2(pad)
    size = max(1, min(32, 4096 // lanes))
    thin.tail_kernel[(triton.cdiv(tokens, size),)](
        parts, out, copy, tokens, ranks, out.stride(0), copy.stride(0), pad, COUNT=count,
        KEPT=kept is not None, TOKENS=size, PAD=lanes, num_warps=4,
    )  # fmt: skip


def _sums(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=like.device)


def _lanes(rank: int) -> int:
    """Width of a product that has ``rank`` columns."""
    return max(16, int(triton.next_power_of_2(rank)))


def _columns(rank: int) -> int:
    """Columns that a program reads at a time, of so many rows of A."""
    return 128 if rank <= 64 else 64


def _blocks(ranks: int, linears: int, mask: Mask | None) -> tuple[int, int]:
    """Into how many blocks of equally many rows A is cut, and how many belong to one linear.

    Without dropout all linears see the same, so that their rows need not be told apart.
    """
    parts = 1 if mask is None else linears
    rows = ranks // parts
    chunks = next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= _ROWS)
    return parts * chunks, chunks


def _splits(programs: int, most: int, wanted: int = _PROGRAMS) -> int:
    """Into how many parts a sum is cut so that the GPU is full; a power of two at most ``most``."""
    splits = 1
    while programs * splits < wanted and 2 * splits <= most:
        splits *= 2
    return splits


def spread(dx: Tensor, tail: Tensor, a: Tensor, linears: int, mask: Mask) -> None:
    rank = a.shape[0] // linears
    grid = (triton.cdiv(dx.shape[0], 64), triton.cdiv(dx.shape[1], 128))
    thin.spread_kernel[grid](
        dx, tail, a, dx.shape[0], dx.shape[1], dx.stride(0), tail.stride(0), a.stride(0), rank,
        *_drawn(mask, dx),
        LINEARS=linears, TOKENS=64, BLOCK=128, RANK=min(64, _lanes(rank)), num_warps=8,
    )  # fmt: skip


def _drawn(mask: Mask | None, like: Tensor) -> tuple[Tensor, int, int, float]:
    """Seed, salt, threshold and scale for a kernel, which without a mask reads none of them."""
    if mask is None:
        return like, 0, 0, 1.0
    return mask.seed, mask.salt, mask.threshold, mask.scale


def cross_entropy(logits: Tensor, targets: Tensor, losses: Tensor) -> None:
    kernels.cross_entropy_kernel[(logits.shape[0],)](
        logits, targets, losses, logits.stride(0), logits.shape[1], BLOCK=8192, num_warps=16
    )


def score_tile(
    logits: Tensor, places: Tensor, highest: Tensor, total: Tensor, wanted: Tensor
) -> None:
    kernels.score_tile_kernel[(logits.shape[0],)](
        logits, places, highest, total, wanted, logits.stride(0), logits.shape[1], BLOCK=4096,
        num_warps=8,
    )  # fmt: skip


def tile_gradient(logits: Tensor, places: Tensor, logsum: Tensor) -> None:
    grid = (logits.shape[0], triton.cdiv(logits.shape[1], 4096))
    kernels.tile_gradient_kernel[grid](
        logits, places, logsum, logits.stride(0), logits.shape[1], BLOCK=4096, num_warps=8
    )


def embed(weight: Tensor, ids: Tensor, out: Tensor) -> None:
    """``weight`` may lie in pinned memory of the host: its rows are read over the bus."""
    width = weight.shape[1]
    kernels.embed_kernel[(ids.shape[0],)](
        weight, ids, out, width, out.stride(0), BLOCK=triton.next_power_of_2(width), num_warps=4
    )
