"""Linears that read one input, with their adapters, as one matrix product each way.

With W frozen and s the scaling, forward is ``[x, x A'] [W, s B]'``, the gradient of the input
``[dY, s dY B] [W; A]``: the adapter costs a few columns instead of passes over the output. Sums
are only ordered otherwise than in PEFT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from core.model.fast.adapters import Adapters, Place
from core.model.fast.dropout import Mask
from core.model.fast.nf4 import Nf4

Tensor = torch.Tensor

PAD = 32
"""Columns for the adapter come in multiples of this, to keep the products' memory aligned."""


class Wide:
    """A (T, width + pad) buffer: an activation, and beside it what its adapters make of it."""

    def __init__(self, whole: Tensor, width: int):
        self.whole = whole
        self.main = whole[:, :width]
        self.tail = whole[:, width:]

    def __getitem__(self, tokens: slice) -> Wide:
        return Wide(self.whole[tokens], self.main.shape[1])


@dataclass(frozen=True)
class Group:
    """Frozen linears with one input, one above the other: N rows, K columns."""

    weights: tuple[Nf4, ...]
    place: Place
    bias: Tensor | None
    adapters: Adapters
    pieces: Any
    """``plain`` or ``fused``."""

    @property
    def rows(self) -> int:
        return self.place.rows

    @property
    def columns(self) -> int:
        return self.place.columns

    @property
    def pad(self) -> int:
        return -(-self.place.ranks // PAD) * PAD

    @property
    def room(self) -> int:
        """Elements that ``expanded`` takes."""
        return (self.rows + self.pad) * (self.columns + self.pad)

    def expanded(self, scratch: Tensor) -> Tensor:
        """The dequantized weights with the adapter around them, written into ``scratch``."""
        out = scratch[: self.room].view(self.rows + self.pad, self.columns + self.pad)
        self.pieces.expand(
            list(self.weights), self.adapters.a(self.place), self.adapters.b(self.place), out
        )
        return out

    def project(self, x: Wide, mask: Mask | None) -> None:
        """Write ``x A'`` beside x."""
        a = self.adapters.a(self.place)
        self.pieces.project(x.main, a, x.tail, len(self.weights), mask)

    def forward(self, x: Wide, weight: Tensor, out: Tensor, *, onto: bool = False) -> None:
        """``out`` (T, N) from x with its tail, plus bias; ``onto``: added to what is there."""
        matrix = weight[: self.rows].t()
        if onto:
            out.addmm_(x.whole, matrix)
        elif self.bias is None:
            torch.mm(x.whole, matrix, out=out)
        else:
            torch.addmm(self.bias, x.whole, matrix, out=out)

    def backward_tail(self, dy: Wide) -> None:
        """Write ``s dY B`` beside dY."""
        b = self.adapters.b(self.place)
        for rows, ranks in self._blocks():
            torch.mm(dy.main[:, rows], b[rows], out=dy.tail[:, ranks])

    def backward_adapters(self, dy: Wide, x: Tensor, tail: Tensor, mask: Mask | None) -> None:
        """Add the gradients of A and B. ``tail`` is ``x A'``; dY has its own."""
        place, adapters = self.place, self.adapters
        grad_a, grad_b = adapters.grad_a(place), adapters.grad_b(place)
        for rows, ranks in self._blocks():
            part = product(dy.main[:, rows].t(), tail[:, ranks])
            grad_b[rows].add_(part, alpha=adapters.scaling)
        if mask is not None:
            self.pieces.project_backward(x, dy.tail, grad_a, len(self.weights), mask)
        else:
            grad_a.add_(product(dy.tail[:, : place.ranks].t(), x))

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Each linear's rows, and its columns among the adapters'."""
        first, rank = 0, self.place.rank
        for number, weight in enumerate(self.weights):
            yield (
                slice(first, first + weight.rows),
                slice(number * rank, (number + 1) * rank),
            )
            first += weight.rows

    def backward_input(self, dy: Wide, weight: Tensor, out: Tensor, mask: Mask | None) -> None:
        """The gradient of the input into ``out`` (T, K), from dy with its tail."""
        if mask is None:
            torch.mm(dy.whole, weight[:, : self.columns], out=out)
            return
        torch.mm(dy.main, weight[: self.rows, : self.columns], out=out)
        a = self.adapters.a(self.place)
        self.pieces.spread(out, dy.tail, a, len(self.weights), mask)


def product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product that leaves the sums in fp32, for gradients that are added up."""
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left @ right
