"""NF4 weights as bitsandbytes stores them: two weights a byte, one scale a block of 64.

With double quantization the scales are 8-bit themselves, with one fp32 scale for 256 of them and
one offset (QLoRA, Dettmers et al. 2023, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

BLOCK = 64
NESTED_BLOCK = 256


@dataclass(frozen=True)
class Nf4:
    """One frozen matrix (rows, columns). The tensors are bitsandbytes' own, not copies."""

    packed: torch.Tensor
    """uint8, rows x columns / 2, the first weight of a pair in the high half."""
    scales: torch.Tensor
    """uint8 where ``nested``, else fp32; one a block of 64 weights."""
    nested: bool
    codes: torch.Tensor
    """fp32 (256): what an 8-bit scale stands for. Unused where not nested."""
    nested_scales: torch.Tensor
    """fp32, one for 256 scales. Unused where not nested."""
    offset: torch.Tensor
    """fp32, added to every scale. Unused where not nested."""
    table: torch.Tensor
    """fp32 (16): the NF4 numbers."""
    rows: int
    columns: int
    state: Any
    """bitsandbytes' QuantState."""

    def dequantized(self, dtype: torch.dtype) -> torch.Tensor:
        """The weights in ``dtype``, by bitsandbytes itself: the measure of our kernels."""
        from bitsandbytes.functional import dequantize_4bit

        weights: torch.Tensor = dequantize_4bit(self.packed, self.state)
        return weights.to(dtype)

    def largest(self) -> float:
        """The largest absolute weight. Waits for the device."""
        if not self.nested:
            return float(self.scales.abs().max())
        outer = self.nested_scales.repeat_interleave(NESTED_BLOCK)[: self.scales.numel()]
        scales = self.codes[self.scales.view(-1).long()] * outer + self.offset
        return float(scales.abs().max())


def unsupported(linear: Any) -> str | None:
    """Why a linear's weight is not NF4 as it is known here; None when it is."""
    state = getattr(getattr(linear, "weight", None), "quant_state", None)
    if state is None:
        return "weights are not in 4 bit"
    if state.quant_type != "nf4":
        return f"weights are {state.quant_type}, not nf4"
    if state.blocksize != BLOCK:
        return f"quantization blocks of {state.blocksize}, not {BLOCK}"
    if state.nested and state.state2.blocksize != NESTED_BLOCK:
        return f"nested quantization blocks of {state.state2.blocksize}, not {NESTED_BLOCK}"
    if state.shape[1] % BLOCK:
        return f"a width of {state.shape[1]}, which is no multiple of {BLOCK}"
    return None


def nf4_of(linear: Any) -> Nf4:
    """The weight of a bitsandbytes ``Linear4bit`` that ``unsupported`` has nothing against."""
    weight, state = linear.weight, linear.weight.quant_state
    inner = state.state2 if state.nested else None
    return Nf4(
        packed=weight.data.view(-1),
        scales=state.absmax,
        nested=state.nested,
        codes=inner.code if inner else state.absmax,
        nested_scales=inner.absmax if inner else state.absmax,
        offset=state.offset if inner else state.absmax,
        table=state.code,
        rows=state.shape[0],
        columns=state.shape[1],
        state=state,
    )
