"""Linears that read one input, with their adapters, as one matrix product each way.

With W frozen and s the scaling, forward is ``[x, x A'] [W, s B]'``, the gradient of the input
``[dY, s dY B] [W; A]``: the adapter costs a few columns instead of passes over the output. Sums
are only ordered otherwise than in PEFT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from core.model.fast.adapters import Adapters, Place
from core.model.fast.dims import PAD
from core.model.fast.dropout import Mask
from core.model.fast.nf4 import Nf4

Tensor = torch.Tensor


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

    def expanded(self, scratch: Tensor, *, ahead: bool = True, back: bool = True) -> Any:
        """The dequantized weights with the adapter around them, written into ``scratch``.

        The ``weight`` of all that follows: A and B are there in the products' precision, and read
        from there alone. ``ahead`` and ``back``: the directions that are multiplied in.
        """
        out = scratch[: self.room].view(self.rows + self.pad, self.columns + self.pad)
        a, b = self.adapters.a(self.place), self.adapters.b(self.place)
        self.pieces.expand(list(self.weights), a, b, self.adapters.scaling, out)
        return out

    def a(self, weight: Any) -> Tensor:
        """(R, K), below the weights."""
        part: Tensor = weight[self.rows : self.rows + self.place.ranks, : self.columns]
        return part

    def b(self, weight: Any) -> Tensor:
        """(N, R) beside the weights, times the scaling; each linear's has columns of its own."""
        part: Tensor = weight[: self.rows, self.columns : self.columns + self.place.ranks]
        return part

    @property
    def grad_a(self) -> Tensor:
        """(R, K), fp32."""
        return self.adapters.grad_a(self.place)

    def project(self, x: Wide, weight: Any, mask: Mask | None, kept: Tensor | None = None) -> None:
        """Write ``x A'`` beside x, and into ``kept``."""
        self.pieces.project(x.main, self.a(weight), x.tail, len(self.weights), mask, kept)

    def forward(self, x: Wide, weight: Any, out: Tensor, *, onto: bool = False) -> None:
        """``out`` (T, N) from x with its tail, plus bias; ``onto``: added to what is there."""
        matrix = weight[: self.rows].t()
        if onto:
            out.addmm_(x.whole, matrix)
        elif self.bias is None:
            torch.mm(x.whole, matrix, out=out)
        else:
            torch.addmm(self.bias, x.whole, matrix, out=out)

    def forward_raw(self, x: Wide, weight: Any, out: Tensor) -> Tensor | None:
        """``forward``, but for a factor of each row (T,) that is returned; None without."""
        self.forward(x, weight, out)
        return None

    def scales(self, x: Tensor, tail: Tensor) -> Tensor | None:
        """What ``forward_raw`` returned for x with this tail."""
        return None

    def backward_adapters(self, dy: Wide, weight: Any, tail: Tensor) -> None:
        """Write ``s dY B`` beside dY, and add the gradient of B. ``tail`` is ``x A'``."""
        self.pieces.outward(
            dy.main, self.b(weight), tail, dy.tail, self.adapters.grad_b(self.place),
            [one.rows for one in self.weights], self.adapters.scaling,
        )  # fmt: skip

    def backward_project(self, dy: Wide, x: Tensor, mask: Mask | None) -> None:
        """Add the gradient of A, once dY has its tail."""
        self.pieces.project_backward(x, dy.tail, self.grad_a, len(self.weights), mask)

    def backward_input(self, dy: Wide, weight: Any, out: Tensor, mask: Mask | None) -> None:
        """The gradient of the input into ``out`` (T, K), from dy with its tail."""
        if mask is None:
            torch.mm(dy.whole, weight[:, : self.columns], out=out)
            return
        torch.mm(dy.main, weight[: self.rows, : self.columns], out=out)
        self.pieces.spread(out, dy.tail, self.a(weight), len(self.weights), mask)

    def backward_input_raw(
        self, dy: Wide, weight: Any, out: Tensor, mask: Mask | None
    ) -> Tensor | None:
        """``backward_input``, but for a factor of each row (T,) that is returned; None without."""
        self.backward_input(dy, weight, out, mask)
        return None
