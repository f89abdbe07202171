"""Linears whose frozen weights are multiplied in FP8 (e4m3), with their adapters beside them.

Weights get one scale a group, activations and gradients one a token, since some tokens are a
thousand times larger than others. e4m3 has 4 bits of exponent, so that scales decide about its
range only; what it rounds, 3.7 % of a product, is nothing that finer scales would change. NF4
rounds the same weights by 10 %.

An adapter learns in steps that e4m3 would swallow. What belongs to it is therefore the sum of two
such numbers: with ``x A' = u + v`` and ``s B = C + D``, the columns ``[u, v, u]`` beside x meet
``[C, C, D]`` beside W. That has the precision of bf16 down to a 450th of the group's largest
weight, and steps of a 100,000th of it below. Gradients of A and B are computed in bf16 as
elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from core.model.fast.dims import fp8_tail
from core.model.fast.dropout import Mask
from core.model.fast.fp8.plain import FP8, LARGEST
from core.model.fast.linear import Group, Wide
from core.model.fast.nf4 import Nf4

Tensor = torch.Tensor
_ALIGNED = 256
_ROOM, _LEAST = 2, 0.1
"""e4m3's largest number stands for twice the largest weight of a group, or twice 0.1: the sum of
two such numbers for four times that. Larger numbers of an adapter, times its scaling, are cut: none
in use comes near, but one with a scaling of 64 may (docs/performance.md)."""


def scale_for(weights: Sequence[Nf4]) -> float:
    """A group's scale. Waits for the device."""
    return _ROOM * max(_LEAST, *(weight.largest() for weight in weights)) / LARGEST


@dataclass(frozen=True)
class Fp8Weight:
    """A group's weights divided by its scale, for both directions, and its adapter."""

    forward: Tensor
    """(N, K + tail): W, C, C, D."""
    backward: Tensor
    """(K, N + tail): the same of W' and A'."""
    a: Tensor
    """(R, K) in the precision of activations."""
    b: Tensor
    """(N, R), times the scaling; each linear's has columns of its own."""


@dataclass(frozen=True)
class Fp8Group(Group):
    """``Group`` with products in FP8."""

    eight: Any
    """``fp8.plain`` or ``fp8.fused``."""
    scale: float
    """What stands for 1 in the weights' e4m3 numbers."""

    @property
    def tail(self) -> int:
        return fp8_tail(self.place.ranks)

    @property
    def room(self) -> int:
        size = torch.bfloat16.itemsize
        return -(-sum(_aligned(prod(shape) * kind.itemsize) for shape, kind in self._parts())
                 // size)  # fmt: skip

    def expanded(self, scratch: Tensor, *, ahead: bool = True, back: bool = True) -> Fp8Weight:
        at, found, flat = 0, [], scratch.view(torch.uint8)
        for shape, kind in self._parts(scratch.dtype):
            size = prod(shape) * kind.itemsize
            found.append(flat[at : at + size].view(kind).view(shape))
            at += _aligned(size)
        weight = Fp8Weight(*found)
        a, b = self.adapters.a(self.place), self.adapters.b(self.place)
        self.eight.expand(
            list(self.weights), a, b, self.adapters.scaling, self.scale, weight, ahead=ahead,
            back=back,
        )  # fmt: skip
        return weight

    def _parts(
        self, dtype: torch.dtype = torch.bfloat16
    ) -> list[tuple[tuple[int, int], torch.dtype]]:
        ranks = self.place.ranks
        return [
            ((self.rows, self.columns + self.tail), FP8),
            ((self.columns, self.rows + self.tail), FP8),
            ((ranks, self.columns), dtype),
            ((self.rows, ranks), dtype),
        ]

    def a(self, weight: Fp8Weight) -> Tensor:
        return weight.a

    def b(self, weight: Fp8Weight) -> Tensor:
        return weight.b

    def forward(self, x: Wide, weight: Fp8Weight, out: Tensor, *, onto: bool = False) -> None:
        raw = torch.empty(len(out), self.rows, dtype=out.dtype, device=out.device) if onto else out
        scales = self._multiply(x.main, x.tail, weight.forward, raw)
        self.eight.scale_rows(raw, scales, out, out if onto else self.bias)

    def forward_raw(self, x: Wide, weight: Fp8Weight, out: Tensor) -> Tensor:
        assert self.bias is None
        return self._multiply(x.main, x.tail, weight.forward, out)

    def scales(self, x: Tensor, tail: Tensor) -> Tensor:
        return self._rounded(x, tail)[1]

    def backward_input(self, dy: Wide, weight: Fp8Weight, out: Tensor, mask: Mask | None) -> None:
        ranks = self.place.ranks if mask is None else 0
        scales = self._multiply(dy.main, dy.tail[:, :ranks], weight.backward, out)
        self.eight.scale_rows(out, scales, out)
        if mask is not None:
            self.pieces.spread(out, dy.tail, weight.a, len(self.weights), mask)

    def backward_input_raw(
        self, dy: Wide, weight: Fp8Weight, out: Tensor, mask: Mask | None
    ) -> Tensor | None:
        if mask is not None:
            return super().backward_input_raw(dy, weight, out, mask)
        return self._multiply(dy.main, dy.tail, weight.backward, out)

    def _multiply(self, x: Tensor, tail: Tensor, matrix: Tensor, out: Tensor) -> Tensor:
        """The product of x with its tail into ``out``, but for the factors of its rows (T,)."""
        rounded, scales = self._rounded(x, tail)
        self.eight.multiply(rounded, matrix, out)
        return scales

    def _rounded(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """x with its tail in FP8 (T, width + tail), and the factor of each row."""
        ranks = min(tail.shape[1], self.place.ranks)
        rounded = torch.empty(len(x), x.shape[1] + self.tail, dtype=FP8, device=x.device)
        scales = torch.empty(len(x), dtype=torch.float32, device=x.device)
        self.eight.quantize(x, tail[:, :ranks], rounded, scales, self.scale)
        return rounded, scales


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
