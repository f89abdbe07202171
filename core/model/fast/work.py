"""The memory that layers share: dequantized weights and activations that no layer keeps.

What lasts is taken once, and grows when a batch is longer. What attention or MLP alone need is
taken anew each time, so that either has what the other let go of; replayed graphs pay nothing
for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch

from core.model.fast.linear import Wide

if TYPE_CHECKING:
    from core.model.fast.layer import Layer

Tensor = torch.Tensor


@dataclass(frozen=True)
class Expanded:
    """The dequantized weights of a layer's groups, with their adapters, each as it wants them."""

    qkv: Any
    output: Any
    gate_up: Any
    down: Any


@dataclass(frozen=True)
class Middle:
    """What an MLP works in, tile by tile."""

    hidden: Wide
    """What goes into down_proj (T, f), and its gradient."""
    gate_up: Wide | None
    """Gate and up (T, 2 f), where they are not kept."""


class Work:
    """Buffers for one layer at a time. ``tile`` tokens go through the MLP together."""

    def __init__(self, layer: Layer, *, tile: int, dtype: torch.dtype, device: torch.device):
        self._layer, self._sizes = layer, layer.sizes
        self._dtype, self._device = dtype, device
        self.tile = tile
        self.moves = 0
        """How often memory was taken: what was recorded before points elsewhere."""
        self._buffers: dict[str, Tensor] = {}
        self._scratch: Tensor | None = None

    def logits(self, rows: int, vocabulary: int) -> Tensor:
        """Room for a tile of logits, where weights are dequantized at other times."""
        return self.room(rows * vocabulary)[: rows * vocabulary].view(rows, vocabulary)

    def expanded(self, layer: Layer, *, back: bool = False, light: bool = False) -> Expanded:
        """A layer's dequantized weights, valid until the next layer's or logits are asked for.

        For the forward pass, or ``back``, where gate and up may be computed again; ``light``: and
        all else but down_proj.
        """
        scratch, at, found = self.room(sum(group.room for group in layer.groups)), 0, []
        for group in layer.groups:
            again = group is not layer.down if light else group is layer.gate_up
            ahead = not back or again
            found.append(group.expanded(scratch[at : at + group.room], ahead=ahead, back=back))
            at += group.room
        return Expanded(*found)

    def room(self, size: int) -> Tensor:
        """All of the memory in which weights are dequantized, flat; at least so many elements."""
        if self._scratch is None or self._scratch.numel() < size:
            self._scratch = None
            self._scratch = torch.empty(size, dtype=self._dtype, device=self._device)
            self.moves += 1
        return self._scratch

    def tiles(self, tokens: int) -> Iterator[slice]:
        """Pieces of at most ``tile`` tokens, of even size."""
        size = -(-tokens // self._tiles(tokens))
        for start in range(0, tokens, size):
            yield slice(start, min(start + size, tokens))

    def _tiles(self, tokens: int) -> int:
        return -(-tokens // self.tile)

    def normed(self, tokens: int, pad: int) -> Wide:
        return self._wide("normed", tokens, self._sizes.hidden, pad)

    def middle(self, tokens: int, *, kept: bool) -> Middle:
        """For the largest tile of so many tokens; ``kept``: gate and up have a place elsewhere."""
        size = -(-tokens // self._tiles(tokens))
        down, gate_up = self._layer.down, self._layer.gate_up
        hidden = self._taken(size, down.columns, down.pad)
        return Middle(hidden, None if kept else self._taken(size, gate_up.rows, gate_up.pad))

    def qkv_gradient(self, tokens: int) -> Wide:
        group = self._layer.qkv
        return self._taken(tokens, group.rows, group.pad)

    def heads(self, tokens: int) -> Tensor:
        """Queries and keys after their norm (T, queries + keys)."""
        return self._taken(tokens, self._sizes.queries + self._sizes.keys, 0).main

    def attention_gradient(self, tokens: int) -> Tensor:
        return self._taken(tokens, self._sizes.queries, 0).main

    def running(self, lengths: Sequence[int]) -> list[Wide]:
        """For each piece what runs through the layers (T, h): hidden states up, gradients down."""
        pad = self._layer.down.pad
        whole = self._wide("running", sum(lengths), self._sizes.hidden, pad)
        ends = list(accumulate(lengths, initial=0))
        return [whole[slice(begin, end)] for begin, end in pairwise(ends)]

    def _taken(self, tokens: int, width: int, pad: int) -> Wide:
        """Memory until the caller lets go of it; nothing is in it yet."""
        whole = torch.empty(tokens, width + pad, dtype=self._dtype, device=self._device)
        return Wide(whole, width)

    def _wide(self, name: str, tokens: int, width: int, pad: int) -> Wide:
        size, buffer = tokens * (width + pad), self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            self._buffers.pop(name, None)
            buffer = torch.empty(size, dtype=self._dtype, device=self._device)
            self._buffers[name] = buffer
            self.moves += 1
        return Wide(buffer[:size].view(tokens, width + pad), width)
