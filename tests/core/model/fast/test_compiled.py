"""The kernels compiled ahead of time for cards that need not be there: do they fit into them?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.model.fast.dims import fp8_tail
from core.model.fast.dropout import Mask
from core.model.fast.fp8.group import Fp8Weight
from core.model.fast.nf4 import Nf4

triton = pytest.importorskip("triton", reason="comes with torch for GPUs")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.runtime import driver  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

from core.model.fast import fused  # noqa: E402
from core.model.fast.fp8 import fused as eight  # noqa: E402

TOKENS, HIDDEN, WIDE = 4096, 3584, 18944
SHARED = {89: 99 << 10, 90: 227 << 10}
"""Shared memory that a program can have, by compute capability: RTX 4090, H100."""


@pytest.fixture(params=SHARED)
def compiled(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[Any]]]:
    """The shared memory there is, and each kernel that ``fused`` would have launched."""
    target = GPUTarget("cuda", request.param, 32)
    fake = SimpleNamespace(
        # What is compiled is kept by device: none that there really is.
        get_current_device=lambda: -request.param, get_current_stream=lambda _=0: 0,
        get_current_target=lambda: target,
    )  # fmt: skip
    found: list[Any] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        found.append(run(self, *args, grid=grid, warmup=True, **kwargs))

    monkeypatch.setattr(JITFunction, "run", compile_only)
    before = driver._active
    driver.set_active(fake)
    yield SHARED[request.param], found
    driver._active = before


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """A tensor without memory: its shape is all that compiling takes."""
    return torch.empty(shape, dtype=dtype, device="meta")


@pytest.mark.parametrize("part", [0.0, 0.1])
@pytest.mark.parametrize("rank", [32, 64, 256])
def test_every_rank_fits_into_the_memory_of_a_program(
    rank: int, part: float, compiled: tuple[int, list[Any]]
) -> None:
    room, kernels = compiled
    mask = Mask(part, empty(dtype=torch.int64)).at(3, 1) if part else None
    rows, ranks = [HIDDEN, 512, 512], 3 * rank
    count, tail = sum(rows), empty(TOKENS, 3 * rank)
    weight = empty(count + ranks, HIDDEN + ranks)
    a, b = weight[count:, :HIDDEN], weight[:count, HIDDEN:]
    x, dy = empty(TOKENS, HIDDEN + ranks)[:, :HIDDEN], empty(TOKENS, count)
    fused.project(x, a, tail, 3, mask, tail)
    fused.project_backward(x, tail, empty(ranks, HIDDEN, dtype=torch.float32), 3, mask)
    if rank <= 32:  # above it, torch's own products take over
        fused.outward(dy, b, tail, tail, empty(count, rank, dtype=torch.float32), rows, 1.0)
    if mask:
        fused.spread(x, tail, a, 3, mask)
    gate_up, hidden = empty(TOKENS, 2 * WIDE), empty(TOKENS, WIDE)
    fused.swiglu(gate_up, empty(rank, WIDE), hidden, tail, mask, tail)
    grad_a = empty(rank, WIDE, dtype=torch.float32)
    fused.swiglu_backward(gate_up, hidden, tail[:, :rank], grad_a, mask)
    names = {kernel.metadata.name for kernel in kernels}
    assert {"project_kernel", "project_backward_kernel", "swiglu_backward_kernel"} <= names
    for kernel in kernels:
        assert kernel.metadata.shared <= room, kernel.metadata.name


def test_a_loss_fits_too(compiled: tuple[int, list[Any]]) -> None:
    room, kernels = compiled
    targets, sums = empty(512, dtype=torch.int64), empty(512, dtype=torch.float32)
    logits, tile = empty(512, 152_064), empty(512, 8192)
    fused.cross_entropy(logits, targets, sums)
    fused.score_tile(tile, targets, sums, sums, sums)
    fused.tile_gradient(tile, targets, sums)
    names = [kernel.metadata.name for kernel in kernels]
    assert names == ["cross_entropy_kernel", "score_tile_kernel", "tile_gradient_kernel"]
    assert all(kernel.metadata.shared <= room for kernel in kernels)


@pytest.mark.parametrize("rank", [16, 128, 256])
def test_products_in_fp8_fit_too(rank: int, compiled: tuple[int, list[Any]]) -> None:
    room, kernels = compiled
    fp8, fp32, byte = torch.float8_e4m3fn, torch.float32, torch.uint8
    rows, ranks = (HIDDEN, 512, 512), 3 * rank
    count, tail = sum(rows), fp8_tail(ranks)
    weights = [
        Nf4(empty(n, HIDDEN // 2, dtype=byte), empty(n, HIDDEN // 64, dtype=byte), True,
            empty(256, dtype=fp32), empty(n, dtype=fp32), empty(dtype=fp32), empty(16, dtype=fp32),
            n, HIDDEN, None)
        for n in rows
    ]  # fmt: skip
    weight = Fp8Weight(
        empty(count, HIDDEN + tail, dtype=fp8), empty(HIDDEN, count + tail, dtype=fp8),
        empty(ranks, HIDDEN), empty(count, ranks),
    )  # fmt: skip
    a, b = empty(ranks, HIDDEN, dtype=fp32), empty(count, rank, dtype=fp32)
    eight.expand(weights, a, b, 2.0, 1e-3, weight)
    scales = empty(TOKENS, dtype=fp32)
    for width, beside in ((HIDDEN, ranks), (2 * WIDE, 2 * rank), (WIDE, rank), (count, 0)):
        rounded = empty(TOKENS, width + fp8_tail(max(beside, rank)), dtype=fp8)
        eight.quantize(empty(TOKENS, width), empty(TOKENS, beside), rounded, scales, 1.0)
    x, bias = empty(TOKENS, HIDDEN), empty(HIDDEN)
    for base in (None, x, bias):
        eight.scale_rows(x, scales, x, base)
    gate_up, hidden, seen = empty(TOKENS, 2 * WIDE), empty(TOKENS, WIDE), empty(TOKENS, rank)
    fused.swiglu(gate_up, empty(rank, WIDE), hidden, seen, None, seen, scales)
    grad_a = empty(rank, WIDE, dtype=fp32)
    fused.swiglu_backward(gate_up, hidden, seen, grad_a, None, scales, scales)
    fused.rms_norm_backward(x, x, empty(HIDDEN), 1e-6, x, x, scales)
    names = {kernel.metadata.name for kernel in kernels}
    assert {"expand_kernel", "adapters_kernel", "quantize_kernel", "scale_rows_kernel"} <= names
    for kernel in kernels:
        assert kernel.metadata.shared <= room, kernel.metadata.name
