"""The memory that layers share: dequantized weights and activations that no layer keeps.

Taken once and grown when a batch is longer, so that the allocator has nothing to do in a step.
Attention and MLP use one piece of it in turn: what either leaves there is lost to the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import torch

from core.model.fast.linear import Wide

if TYPE_CHECKING:
    from core.model.fast.layer import Layer

Tensor = torch.Tensor


@dataclass(frozen=True)
class Expanded:
    """The dequantized weights of a layer's groups, with their adapters around them."""

    qkv: Tensor
    output: Tensor
    gate_up: Tensor
    down: Tensor


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

    def expanded(self, layer: Layer) -> Expanded:
        """A layer's dequantized weights, valid until the next layer's or logits are asked for."""
        groups = (layer.qkv, layer.output, layer.gate_up, layer.down)
        scratch, at, found = self.room(sum(group.room for group in groups)), 0, []
        for group in groups:
            found.append(group.expanded(scratch[at : at + group.room]))
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
        count = -(-tokens // self.tile)
        size = -(-tokens // count)
        for start in range(0, tokens, size):
            yield slice(start, min(start + size, tokens))

    def normed(self, tokens: int, pad: int) -> Wide:
        return self._wide("normed", tokens, self._sizes.hidden, pad)

    # Of the MLP. Gate and up come last: where all cells keep theirs they take no room.

    def intermediate(self, tokens: int) -> Wide:
        group = self._layer.down
        return self._shared(tokens, 0, group.columns, group.pad)

    def gate_up(self, tokens: int) -> Wide:
        group, before = self._layer.gate_up, self._layer.down
        return self._shared(tokens, before.columns + before.pad, group.rows, group.pad)

    # Of attention. Its gradient comes first and lies last, so that nothing grows under it.

    def qkv_gradient(self, tokens: int) -> Wide:
        group = self._layer.qkv
        return self._shared(tokens, 0, group.rows, group.pad)

    def heads(self, tokens: int) -> Tensor:
        """Queries and keys after their norm (T, queries + keys)."""
        sizes, before = self._sizes, self._layer.qkv
        width = sizes.queries + sizes.keys
        return self._shared(tokens, before.rows + before.pad, width, 0).main

    def attention_gradient(self, tokens: int) -> Tensor:
        sizes, before = self._sizes, self._layer.qkv
        heads = sizes.queries + sizes.keys if self._layer.head_norms is not None else 0
        return self._shared(tokens, before.rows + before.pad + heads, sizes.queries, 0).main

    # Of both.

    def running(self, lengths: Sequence[int]) -> list[Wide]:
        """For each piece what runs through the layers (T, h): hidden states up, gradients down."""
        pad = self._layer.down.pad
        whole = self._wide("running", sum(lengths), self._sizes.hidden, pad)
        ends = list(accumulate(lengths, initial=0))
        return [whole[slice(begin, end)] for begin, end in pairwise(ends)]

    def _shared(self, tokens: int, before: int, width: int, pad: int) -> Wide:
        """A part of what attention and MLP share, behind ``before`` columns of other parts."""
        begin, end = tokens * before, tokens * (before + width + pad)
        return Wide(self._buffer("layer", end)[begin:].view(tokens, width + pad), width)

    def _wide(self, name: str, tokens: int, width: int, pad: int) -> Wide:
        size = tokens * (width + pad)
        return Wide(self._buffer(name, size).view(tokens, width + pad), width)

    def _buffer(self, name: str, size: int) -> Tensor:
        """So many elements of one of the buffers, which grows where it is too small."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            self._buffers.pop(name, None)
            # Products read the tails whole, and zero times what happens to be there may be NaN.
            buffer = torch.zeros(size, dtype=self._dtype, device=self._device)
            self._buffers[name] = buffer
            self.moves += 1
        return buffer[:size]
