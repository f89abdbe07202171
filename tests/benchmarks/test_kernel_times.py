"""The table of kernels; its calls, where Triton's interpreter or a GPU can run them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
runs = pytest.mark.skipif(
    not (torch.cuda.is_available() or INTERPRETED), reason="kernels need a GPU"
)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import kernel_times

    return kernel_times


def test_bytes_and_products_stand_beside_the_time(times: Any) -> None:
    rows = [
        times.Timed("swiglu", "rows", 200.0, 300_000_000),
        times.Timed("product", "o forward", 500.0, 30_000_000, 3.5e11),
        times.Timed("embed", "", 0.0, 1_000),
    ]
    head, _, *lines = times.table(rows, 3000).splitlines()
    assert "us at 3,000 GB/s" in head
    assert lines[0] == "| swiglu | rows | 200.0 | 300.0 | 100.0 | 50% |  |"
    assert lines[1] == "| product | o forward | 500.0 | 30.0 | 10.0 | 2% | 700 |"
    assert lines[2] == "| embed |  | 0.0 | 0.0 | 0.0 |  |  |"


def test_the_best_variants_of_each_kernel_are_kept(
    times: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(call: Any) -> float:
        return float(call())

    def too_large() -> float:
        raise RuntimeError("out of resource: shared memory")

    def wrong() -> float:
        raise RuntimeError("illegal memory access")

    monkeypatch.setattr(times, "microseconds", measure)
    cases = [times.Case("one", str(n), lambda n=n: 10 - n, 8) for n in range(8)]
    cases += [times.Case("two", "", lambda: 3, 8), times.Case("two", "large", too_large, 8)]
    found = times.best(cases)
    assert [row.what for row in found] == ["7", "6", "5", "4", "3", ""]
    assert found[-1] == times.Timed("two", "", 3.0, 8)
    with pytest.raises(RuntimeError, match="illegal"):
        times.best([times.Case("one", "", wrong, 8)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(
    times: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kernel_times", "--variants"])
    with pytest.raises(SystemExit) as ended:
        times.main()
    assert ended.value.code == 2
    assert "torch sees none" in capsys.readouterr().err


@runs
def test_every_call_runs(times: Any) -> None:
    pytest.importorskip("triton", reason="comes with torch for GPUs")
    import kernel_cases
    import kernel_data

    small = times.MODELS["tiny"] | {"model_type": "qwen3"}  # which has all of them
    shape, device = kernel_data.Shape(small, 32, 16, 8), _device()
    kernels = set()
    for case in kernel_cases.cases(shape, device, fp8=INTERPRETED or _multiplies_in_fp8()):
        case.call()
        assert case.moved > 0, case
        kernels.add(case.kernel)
    wanted = {"expand", "project", "outward", "product", "rotate", "head_norm_backward", "swiglu"}
    assert wanted <= kernels


@runs
def test_every_variant_computes_the_same(times: Any) -> None:
    pytest.importorskip("triton", reason="comes with torch for GPUs")
    import kernel_data
    import kernel_variants

    from core.model.fast import plain

    torch.manual_seed(0)
    shape = kernel_data.Shape(times.MODELS["tiny"], 32, 16, 8)
    # In fp32: the interpreter multiplies in bf16 what the bits are as integers.
    tensors = [tensor.float() for tensor in kernel_data.mlp(shape, _device())]
    gate_up, hidden, a, tail, kept, grad_a = tensors
    scales = torch.rand(32, device=_device())
    kernel_variants.swiglu(gate_up, a, hidden, tail, kept, scales, tokens=32, block=128, warps=8)
    wanted, beside = torch.empty_like(hidden), torch.empty_like(tail)
    plain.swiglu(gate_up, a, wanted, beside, None, beside.clone(), scales)
    assert _off(hidden, wanted) < 0.01
    assert _off(tail, beside) < 0.01
    other, grad, same = gate_up.clone(), hidden.clone(), grad_a.clone()
    seen = tail[:, :8]
    kernel_variants.swiglu_backward(gate_up, hidden, seen, grad_a, scales, tokens=32, block=128)
    plain.swiglu_backward(other, grad, seen, same, None, scales, scales)
    assert _off(gate_up, other) < 0.01
    assert _off(grad_a, same) < 0.01
    dy, b, grads = torch.randn(32, 96), torch.randn(96, 16), torch.zeros(2, 96, 8)
    tails = torch.zeros(2, 32, 16)
    x_tail = torch.randn(32, 16)
    given = [part.to(_device()) for part in (dy, b, x_tail)]
    out, grads = tails.to(_device()), grads.to(_device())
    kernel_variants.outward(*given, out[0], grads[0], [32, 64], tokens=32, block=64, warps=8)
    plain.outward(*given, out[1], grads[1], [32, 64], 1.0)
    assert _off(out[0], out[1]) < 0.01
    assert _off(grads[0], grads[1]) < 0.01


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _multiplies_in_fp8() -> bool:
    return torch.cuda.get_device_capability() >= (8, 9)


def _off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())
