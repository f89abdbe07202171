"""Final norm, output head and loss: over rows with a label alone, a tile of logits at a time.

The tile's logits turn into their gradient in place and at once into that of the hidden states, so
that the head runs forward and backward without ever being computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from core.model.fast.work import Work

Tensor = torch.Tensor


class Scored(NamedTuple):
    """A piece of a pass at the end of the layers."""

    hidden: Tensor
    """(T, h); becomes the gradient of itself where one is wanted."""
    rows: Tensor
    """Which rows of it predict something."""
    targets: Tensor
    """What they should predict."""


@dataclass(frozen=True)
class Head:
    """``weight`` is (vocabulary, h), frozen; ``tile`` rows are scored together."""

    norm: Tensor
    eps: float
    weight: Tensor
    tile: int
    pieces: Any

    def loss(self, pieces: Sequence[Scored], work: Work, *, keep: bool) -> Tensor:
        """Summed cross-entropy over a pass, fp32; ``keep``: with its gradient."""
        total = torch.zeros((), dtype=torch.float32, device=self.weight.device)
        for piece in pieces:
            total += self._piece(*piece, work, keep=keep)
        return total

    def _piece(
        self, hidden: Tensor, rows: Tensor, targets: Tensor, work: Work, *, keep: bool
    ) -> Tensor:
        losses = torch.zeros(len(targets), dtype=torch.float32, device=hidden.device)
        if keep:
            silence(hidden, rows)
        size = min(self.tile, max(1, len(targets)))
        for start in range(0, len(targets), size):
            part = slice(start, start + size)
            grad = self._tile(hidden, rows[part], targets[part], losses[part], work, keep)
            if grad is not None:
                hidden.index_copy_(0, rows[part], grad)
        return losses.sum()

    def _tile(
        self, hidden: Tensor, rows: Tensor, targets: Tensor, losses: Tensor, work: Work, keep: bool
    ) -> Tensor | None:
        """The losses of some rows, and the gradient of their hidden states where it is wanted."""
        last = hidden.index_select(0, rows)
        normed = torch.empty_like(last)
        self.pieces.rms_norm(last, self.norm, self.eps, normed)
        room = work.logits(len(rows), self.weight.shape[0])
        logits = torch.mm(normed, self.weight.t(), out=room)
        self.pieces.cross_entropy(logits, targets, losses)
        if not keep:
            return None
        grad = torch.mm(logits, self.weight, out=normed)
        self.pieces.rms_norm_backward(grad, last, self.norm, self.eps, None, grad)
        return grad


def silence(hidden: Tensor, rows: Tensor) -> None:
    """Zero for all rows but these: no loss, no gradient."""
    silent = torch.ones(len(hidden), 1, dtype=torch.bool, device=hidden.device)
    silent.index_fill_(0, rows, False)  # an assignment would wait for the GPU
    hidden.masked_fill_(silent, 0)
