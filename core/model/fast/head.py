"""Final norm, output head and loss: over rows with a label alone, a tile of logits at a time.

The tile's logits turn into their gradient in place and at once into that of the hidden states, so
that the head runs forward and backward without ever being computed twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from core.model.fast.work import Work

Tensor = torch.Tensor


@dataclass(frozen=True)
class Head:
    """``weight`` is (vocabulary, h), frozen; ``tile`` rows are scored together."""

    norm: Tensor
    eps: float
    weight: Tensor
    tile: int
    pieces: Any

    def loss(
        self, last: Tensor, targets: Tensor, work: Work, *, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Summed cross-entropy of ``last`` (rows, h), and its gradient, which is None unless ``keep``."""
        hidden = torch.empty_like(last)
        self.pieces.rms_norm(last, self.norm, self.eps, hidden)
        losses = torch.zeros(len(targets), dtype=torch.float32, device=last.device)
        grad = hidden if keep else None  # a tile's rows are not needed once they are scored
        size = min(self.tile, max(1, len(targets)))
        room = work.logits(size, self.weight.shape[0])
        for start in range(0, len(targets), size):
            rows = slice(start, min(start + size, len(targets)))
            logits = torch.mm(hidden[rows], self.weight.t(), out=room[: rows.stop - start])
            self.pieces.cross_entropy(logits, targets[rows], losses[rows])
            if grad is not None:
                torch.mm(logits, self.weight, out=grad[rows])
        if grad is not None:
            self.pieces.rms_norm_backward(grad, last, self.norm, self.eps, None, grad)
        return losses.sum(), grad
