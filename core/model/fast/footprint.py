"""How much memory a plan of the fused path takes, part by part: pure numbers, no torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from core.model.fast.dims import Dims, fp8_tail

if TYPE_CHECKING:
    from core.model.fast.plan import Plan

GIB = 1 << 30
CONTEXT_BYTES = 940 << 20
"""Device memory outside of torch's allocator by the end of a training, on any path: CUDA, its
libraries and kernels (H100, CUDA 13: 0.71 to 0.86 GiB by NVML)."""
_LOOSE, _LOOSE_RECORDED = 120 << 20, 350 << 20
"""What the allocator holds beyond the parts, which is more where launches are recorded: they have
memory of their own, which loss and optimizer cannot use meanwhile (0.11 and up to 0.28 GiB)."""
_PINNED_PER_BYTE = 512
"""Bytes of pinned RAM to a byte of page tables on the device, for pages of 4 KiB. Measured outside
of the allocator: 0.15 GiB more with 62 GiB pinned than with 10, 0.35 more with 167."""
HEAD_TILE = 8192
"""Rows of an output head in RAM that are on the device together: a copy of a millisecond."""
RING = 2
"""Slots on the device for cells whose tensors wait on the host: one computes, one is copied."""
_WORKSPACE = 256 << 20
"""What cuBLAS takes where it has memory to work in: 64 MiB of torch's, the rest its own (H100)."""
_PAIRS = 1 << 19
"""Tokens times heads of a group: attention's kernels give a multiprocessor some 30 blocks then."""


def state_bytes(optimizer: str) -> int:
    """What an optimizer holds for each adapter number: two 8-bit or two fp32 moments."""
    return 2 if "8bit" in optimizer else 8


def parts(dims: Dims, plan: Plan, state_bytes: float = 2) -> dict[str, int]:
    """Device memory by what it is for, at the peak of a step."""
    tokens, h = plan.piece_tokens, dims.hidden
    weights = dims.layers * dims.linear_weights * dims.weight_bytes
    table = dims.vocabulary * h * 2
    tables = 0 if plan.host_head else 1 if dims.tied or plan.host_embedding else 2
    running = plan.micro_batch * plan.longest * (h + dims.pad(1))
    return {
        "weights": int(weights),
        "embedding and head": tables * table,
        "adapter": dims.adapter_weights * 4,
        "gradients": dims.adapter_weights * 4,
        "optimizer": int(dims.adapter_weights * state_bytes),
        "dequantized weights, logits": 2 * max(dims.scratch, _loss_room(dims, plan)),
        "workspace of products": _WORKSPACE if dims.workspace else 0,
        "activations": 2 * (running + tokens * (h + dims.pad(3)) + _in_turn(dims, plan)),
        "kept layers": 2 * tokens * (plan.kept * dims.gate_up + _slots(dims, plan)),
    }


def _slots(dims: Dims, plan: Plan) -> int:
    """Elements a token of the slots on the device, and of what light ones share."""
    count = min(plan.held + RING, dims.layers * plan.pieces)
    shared = max(dims.hidden, dims.qkv) if plan.light else 0
    return count * dims.slot(light=plan.light) + shared


def _in_turn(dims: Dims, plan: Plan) -> int:
    """Elements of the memory that MLP and attention have one after the other."""
    tile = min(plan.piece_tokens, plan.mlp_tokens)
    mlp = dims.intermediate + dims.pad(1)
    mlp += dims.gate_up if plan.kept < dims.layers * plan.pieces else 0
    mlp += 2 * dims.rank * -(-2 * dims.intermediate // 256)  # sums of thin products, fp32
    if dims.fp8:  # gate's and up's gradient rounded, or what goes into down_proj and its product
        half = fp8_tail(2 * dims.rank) // 2
        mlp += half + max(dims.intermediate, dims.intermediate // 2 + dims.hidden)
    return max(tile * mlp, _attention_room(dims, plan.piece_tokens))


def _attention_room(dims: Dims, tokens: int) -> int:
    """Elements that attention's backward pass takes, of so many tokens or of fewer.

    Fewer tokens may take more: they are cut into fewer groups.
    """
    key_heads = dims.heads * dims.keys // dims.queries
    lasts = (n * _PAIRS // dims.heads for n in divisors(key_heads, key_heads))
    lengths = [tokens, *(last for last in lasts if last < tokens)]
    return max(length * _attention(dims, length) for length in lengths)


def _attention(dims: Dims, tokens: int) -> int:
    """Elements a token that attention's backward pass takes where it has so many tokens.

    It is flash attention's, which may take any batch: it copies output and gradient where they do
    not lie in one piece. cuDNN takes as much but for that, and reads them where they lie.
    """
    q, k = dims.queries, dims.keys
    groups = head_groups(tokens, dims.heads, dims.heads * k // q)
    around = q + (q + k if dims.head_norms else 0)  # gradient of its output, normed heads
    # The gradients, and those of keys and values for each query head before they are added up.
    once = dims.qkv + (2 * q if k < q else 0)
    sums = 2 * q * dims.sums  # attention sums the queries' gradient in fp32
    if groups == 1:
        return around + once + sums + q  # the output lies beside its adapter's columns
    # What groups return is gathered; output and gradient of some heads are copied. Where sums are
    # spread over multiprocessors, fewer heads at a time have more of them.
    spread = groups if dims.sums > 1 else 1
    return around + (dims.qkv + dims.pad(3)) + -(-(once + spread * sums + 2 * q) // groups)


def _loss_room(dims: Dims, plan: Plan) -> int:
    """Elements that the loss works in, where weights are dequantized at other times."""
    if not plan.host_head:
        return plan.loss_rows * dims.vocabulary
    # Rows and their gradient in fp32, logits, and two tiles of the head.
    tile = min(HEAD_TILE, dims.vocabulary)
    rows = plan.micro_batch * plan.longest
    return 3 * rows * dims.hidden + plan.loss_rows * tile + 2 * tile * dims.hidden


def peak_bytes(dims: Dims, plan: Plan, state_bytes: float = 2) -> int:
    """Device memory of the process at the peak of a step, CUDA's own included."""
    return around_bytes(dims, plan) + sum(parts(dims, plan, state_bytes).values())


def around_bytes(dims: Dims, plan: Plan) -> int:
    """Device memory of the process beyond the ``parts``."""
    loose = _LOOSE if plan.host_head else _LOOSE_RECORDED
    return CONTEXT_BYTES + loose + host_bytes(dims, plan) // _PINNED_PER_BYTE


def host_bytes(dims: Dims, plan: Plan) -> int:
    """Memory of the host that is pinned for the GPU."""
    sent = max(0, dims.layers * plan.pieces - plan.held - RING)
    tables = table_bytes(dims, embedding=plan.host_embedding, head=plan.host_head)
    return sent * plan.piece_tokens * dims.slot(light=plan.light) * 2 + tables


def table_bytes(dims: Dims, *, embedding: bool, head: bool) -> int:
    """Memory of the host that the tables take which wait there; a tied one is both."""
    tables = 1 if dims.tied and head else embedding + head
    return tables * dims.vocabulary * dims.hidden * 2


def head_groups(tokens: int, heads: int, key_heads: int) -> int:
    """In how many groups of heads attention goes backward over so many tokens.

    It works in several times the memory of its inputs, and has no use for all heads at once where
    a few of them keep the device busy.
    """
    fitting = (n for n in divisors(key_heads, key_heads) if tokens * heads > n * _PAIRS)
    return max(fitting, default=1)


def divisors(number: int, most: int) -> list[int]:
    """The divisors of a number that are not above ``most``, in order."""
    small = [n for n in range(1, min(most, math.isqrt(number)) + 1) if number % n == 0]
    large = [number // n for n in reversed(small) if n * n != number]
    return [*small, *(n for n in large if n <= most)]
