"""The pieces of products in FP8 in plain torch: what each kernel of ``fused`` must compute.

On a CPU they are the path itself, for tests: nothing is faster there.
"""

from __future__ import annotations

from typing import Any

import torch

from core.model.fast.nf4 import Nf4

Tensor = torch.Tensor
FP8 = torch.float8_e4m3fn
LARGEST = 448.0
"""Of e4m3's numbers."""


def expand(
    weights: list[Nf4], a: Tensor, b: Tensor, scaling: float, scale: float, out: Any,
    *, ahead: bool = True, back: bool = True,
) -> None:  # fmt: skip
    """Frozen weights and adapter in FP8 for both directions, into an ``Fp8Weight``.

    Rows of each weight are a multiple of 16, as products in FP8 want them, and columns of 64.

    ``a`` (R, K) and ``b`` (N, r) are given in fp32; what is beyond 896 times ``scale`` becomes
    that. Frozen weights are left out of a direction that is not wanted (``ahead``, ``back``).
    """
    rows, rank = b.shape
    out.a.copy_(a)
    beside, first = torch.zeros(rows, len(a), device=b.device), 0
    for number, weight in enumerate(weights):
        part = slice(first, first + weight.rows)
        dense = weight.dequantized(torch.float32) / scale
        if ahead:
            out.forward[part, : len(out.backward)] = _to_fp8(dense)
        if back:
            out.backward[:, part] = _to_fp8(dense).t()
        beside[part, number * rank : (number + 1) * rank] = b[part] * scaling
        first += weight.rows
    out.b.copy_(beside)
    for matrix, adapter, width in (
        (out.forward, beside, len(out.backward)), (out.backward, a.t(), rows),
    ):  # fmt: skip
        high, low = _two(adapter / scale)
        tail = matrix[:, width:]
        tail.copy_(_padded(torch.cat([high, high, low], 1), tail.shape[1]))


def quantize(x: Tensor, tail: Tensor, out: Tensor, scales: Tensor, scale: float) -> None:
    """x (T, K) in bf16 with its tail (T, R) in FP8, into ``out`` (T, K + columns of the tail).

    Each row is divided by what makes its largest number 448; ``scales`` (T,) gets that, times
    ``scale``, which is the other factor's.
    """
    wide = torch.cat([x, tail], 1).float()
    divisor = wide.abs().amax(1).clamp(min=1e-27) / LARGEST
    scales.copy_(divisor * scale)
    wide = wide / divisor[:, None]
    high, low = _two(wide[:, x.shape[1] :])
    whole = torch.cat([_to_fp8(wide[:, : x.shape[1]]).float(), high, low, high], 1)
    out.copy_(_padded(whole, out.shape[1]))


def multiply(x: Tensor, weight: Tensor, out: Tensor) -> None:
    """x (T, K) times ``weight`` (N, K), both in FP8, into ``out`` (T, N)."""
    out.copy_(x.float() @ weight.float().t())


def scale_rows(x: Tensor, scales: Tensor, out: Tensor, base: Tensor | None = None) -> None:
    """x (T, N), its rows times ``scales`` (T,), onto ``base`` (T, N) or (N,), into ``out``.

    ``out`` may be ``x`` or ``base`` itself.
    """
    result = x.float() * scales[:, None]
    out.copy_(result if base is None else result + base)


def _two(values: Tensor) -> tuple[Tensor, Tensor]:
    """Two e4m3 numbers, in fp32, whose sum is nearly the value."""
    high = _to_fp8(values).float()
    return high, _to_fp8(values - high).float()


def _to_fp8(values: Tensor) -> Tensor:
    return values.clamp(-LARGEST, LARGEST).to(FP8)


def _padded(values: Tensor, width: int) -> Tensor:
    padded: Tensor = torch.nn.functional.pad(values, (0, width - values.shape[1]))
    return padded.to(FP8)
