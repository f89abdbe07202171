"""Kernels on rows so far apart that 32 bits do not reach from the first to the last.

Pitches stay below 2^31, as they do in use: a product of a row's number and its pitch must not.
On a CPU the memory is virtual, of which only the pages of the rows are there.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable

import pytest
import torch

from core.model.fast.dropout import Mask, kept_at

triton = pytest.importorskip("triton", reason="comes with torch for GPUs")
GPU = torch.cuda.is_available()
if not GPU and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("kernels need a GPU", allow_module_level=True)
if GPU and torch.cuda.mem_get_info()[0] < 48 << 30:
    pytest.skip("rows that are this far apart take 38 GB of a GPU", allow_module_level=True)

import triton.language as tl  # noqa: E402

from core.model.fast import fused, thin  # noqa: E402
from core.model.fast.fp8 import fused as eight  # noqa: E402
from core.model.fast.fp8.plain import FP8  # noqa: E402

DEVICE = "cuda" if GPU else "cpu"
TOKENS = 70
PITCH = (1 << 25) + 64
_NO_RESERVE = 0x4000
Tensor = torch.Tensor


def far(near: Tensor) -> Tensor:
    """The same numbers (T, width), rows a pitch apart."""
    elements = (len(near) - 1) * PITCH + near.shape[1]
    assert (len(near) - 1) * PITCH >= 1 << 31
    if GPU:
        flat = torch.empty(elements, dtype=near.dtype, device=DEVICE)
    else:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
        memory = mmap.mmap(-1, elements * near.element_size(), flags=flags)
        flat = torch.frombuffer(memory, dtype=torch.uint8).view(near.dtype)
    return flat.as_strided(near.shape, (PITCH, 1)).copy_(near)


def tensor(*shape: int) -> Tensor:
    return torch.randn(*shape, device=DEVICE)


def heads(part: Tensor) -> Tensor:
    return part.view(len(part), 2, -1)


MASK = Mask(0.1, torch.tensor(3_456_789_012, device=DEVICE)).at(3, 1)
WEIGHT, A, B = torch.rand(64, device=DEVICE) + 0.5, tensor(16, 64), tensor(64, 16)
ANGLES = tensor(TOKENS, 16), tensor(TOKENS, 16)
IDS = torch.randint(0, 64, (TOKENS,), device=DEVICE)


def wide() -> Tensor:
    return tensor(TOKENS, 64)


CASES: dict[str, tuple[Callable[..., None], list[Tensor], list[Tensor]]] = {
    "norm": (
        lambda x, out, kept: fused.rms_norm(x, WEIGHT, 1e-6, out, kept), [wide(), wide(), wide()],
        [],
    ),
    "norm backward": (
        lambda dy, x, beside, out: fused.rms_norm_backward(dy, x, WEIGHT, 1e-6, beside, out),
        [wide(), wide(), wide(), wide()], [],
    ),
    "norm of heads": (
        lambda x, out: fused.head_norm(heads(x), WEIGHT[:32], 1e-6, heads(out)),
        [wide(), wide()], [],
    ),
    "norm of heads backward": (
        lambda dy, x: fused.head_norm_backward(heads(dy), heads(x), WEIGHT[:32], 1e-6),
        [wide(), wide()], [],
    ),
    "rotation": (
        lambda x, cos, sin, out: fused.rotate(heads(x), cos, sin, heads(out)),
        [wide(), *ANGLES, wide()], [],
    ),
    "rows": (fused.copy_rows, [wide(), wide()], []),
    "SwiGLU": (
        lambda gate_up, out, tail, kept: fused.swiglu(gate_up, A, out, tail, MASK, kept),
        [tensor(TOKENS, 128), wide(), tensor(TOKENS, 32), tensor(TOKENS, 32)], [],
    ),
    "SwiGLU backward": (
        lambda gate_up, grad, tail, grad_a: fused.swiglu_backward(
            gate_up, grad, tail, grad_a, MASK),
        [tensor(TOKENS, 128), wide(), tensor(TOKENS, 32)], [tensor(16, 64)],
    ),
    "adapters": (
        lambda x, out, kept: fused.project(x, A, out, 2, MASK, kept),
        [wide(), tensor(TOKENS, 32), tensor(TOKENS, 32)], [],
    ),
    "adapters backward": (
        lambda x, tail, grad: fused.project_backward(x, tail, grad, 2, MASK),
        [wide(), tensor(TOKENS, 32)], [tensor(16, 64)],
    ),
    "outward": (
        lambda dy, tail, out, grad: fused.outward(dy, B, tail, out, grad, [40, 24], 0.5),
        [wide(), tensor(TOKENS, 32), tensor(TOKENS, 32)], [tensor(64, 8)],
    ),
    "spread": (
        lambda dx, tail: fused.spread(dx, tail, A, 2, MASK), [wide(), tensor(TOKENS, 32)], [],
    ),
    "loss": (
        lambda logits, losses: fused.cross_entropy(logits, IDS, losses), [wide()],
        [torch.zeros(TOKENS, device=DEVICE)],
    ),
    "tile of logits": (
        lambda logits, *sums: fused.score_tile(logits, IDS, *sums), [wide()],
        [torch.zeros(TOKENS, device=DEVICE) for _ in range(3)],
    ),
    "gradient of a tile": (
        lambda logits, sums: fused.tile_gradient(logits, IDS, sums), [wide()],
        [torch.zeros(TOKENS, device=DEVICE)],
    ),
    "embedding": (lambda table, out: fused.embed(table, IDS, out), [wide()], []),
    "FP8": (
        lambda x, tail, out, scales: eight.quantize(x, tail, out, scales, 0.5),
        [wide().bfloat16(), tensor(TOKENS, 8).bfloat16(),
         torch.zeros(TOKENS, 96, device=DEVICE).to(FP8)],
        [torch.zeros(TOKENS, device=DEVICE)],
    ),
    "rows in FP8": (
        lambda x, base, out, scales: eight.scale_rows(x, scales, out, base),
        [wide(), wide(), wide()], [torch.rand(TOKENS, device=DEVICE)],
    ),
}  # fmt: skip
"""What is called, with tensors whose rows may lie far apart and others."""


@pytest.mark.parametrize("name", CASES)
def test_far_rows_are_found(name: str) -> None:
    call, rows, others = CASES[name]
    near, apart = [part.clone() for part in rows], [far(part) for part in rows]
    beside = [[part.clone() for part in others] for _ in range(2)]
    if name == "embedding":  # whose table is dense
        near, apart = [rows[0], near[0]], [rows[0], apart[0]]
    call(*near, *beside[0])
    call(*apart, *beside[1])
    for found, wanted in zip([*apart, *beside[1]], [*near, *beside[0]], strict=True):
        assert torch.equal(found.float(), wanted.float())


@triton.jit
def _kept_kernel(out, seed, salt, limit, width, first, drawn: tl.constexpr):
    row, column = tl.program_id(0), tl.arange(0, drawn)[None, :]
    token = tl.zeros((1, 1), tl.int32) + first + row
    number = tl.full((), 1, tl.int32)
    ones = tl.full((1, drawn), 1.0, tl.float32)
    kept = thin.dropped(ones, token, column, width, number, seed, salt, limit, 1.0)
    tl.store(out + row * drawn + column, kept)


@pytest.mark.parametrize("turns", [0.0, 0.5, 1.0])
def test_dropout_counts_on_beyond_32_bits(turns: float) -> None:
    """Where the count becomes negative as a number with a sign, and where it begins again."""
    width, tokens, drawn = 4096, 6, 128
    first = max(0, int(turns * (1 << 32) / width) - 3)
    found = torch.empty(tokens, drawn, device=DEVICE)
    _kept_kernel[(tokens,)](
        found, MASK.seed, MASK.salt, MASK.threshold, width, first, drawn=drawn
    )  # fmt: skip
    token, column = torch.arange(tokens, device=DEVICE), torch.arange(drawn, device=DEVICE)
    place = (first + token)[:, None] * width + column
    assert torch.equal(found, kept_at(place, 1, MASK).float())
    assert torch.equal(kept_at(place, 1, MASK), kept_at(place + (1 << 32), 1, MASK))
