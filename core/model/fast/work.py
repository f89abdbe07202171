"""The memory that layers share: dequantized weights and activations that no layer keeps.

Taken once and grown when a batch is longer, so that the allocator has nothing to do in a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from core.model.fast.linear import Group, Wide

if TYPE_CHECKING:
    from core.model.fast.layer import Layer

Tensor = torch.Tensor


class Work:
    """Buffers for one layer at a time. ``tile`` tokens go through the MLP together."""

    def __init__(self, layer: Layer, *, tile: int, dtype: torch.dtype, device: torch.device):
        self._layer, self._sizes = layer, layer.sizes
        self._dtype, self._device = dtype, device
        self.tile = tile
        self.moves = 0
        """How often memory was taken: what was recorded before points elsewhere."""
        self._buffers: dict[str, Tensor] = {}
        self._scratch: dict[str, Tensor] = {}

    def logits(self, rows: int, vocabulary: int) -> Tensor:
        """Room for a tile of logits, where gate and up are dequantized at other times."""
        size = rows * vocabulary
        scratch = self._scratch.get("gate_up")
        if scratch is None or scratch.numel() < size:
            size = max(size, self._layer.gate_up.room)
            scratch = torch.empty(size, dtype=self._dtype, device=self._device)
            self._scratch["gate_up"] = scratch
            self.moves += 1
        return scratch[: rows * vocabulary].view(rows, vocabulary)

    def expanded(self, group: Group) -> Tensor:
        """The group's dequantized weights. Gate and up stay valid while others come and go."""
        layer = self._layer
        if group.rows == layer.gate_up.rows and group.columns == layer.gate_up.columns:
            name, room = "gate_up", layer.gate_up.room
        else:
            name = "one"
            room = max(g.room for g in (layer.qkv, layer.output, layer.down))
        if name not in self._scratch:
            self._scratch[name] = torch.empty(room, dtype=self._dtype, device=self._device)
            self.moves += 1
        return group.expanded(self._scratch[name])

    def tiles(self, tokens: int) -> Iterator[slice]:
        """Pieces of at most ``tile`` tokens, of even size."""
        count = -(-tokens // self.tile)
        size = -(-tokens // count)
        for start in range(0, tokens, size):
            yield slice(start, min(start + size, tokens))

    def normed(self, tokens: int, pad: int) -> Wide:
        return self._wide("normed", tokens, self._sizes.hidden, pad)

    def gate_up(self, tokens: int) -> Wide:
        group = self._layer.gate_up
        return self._wide("gate_up", tokens, group.rows, group.pad)

    def intermediate(self, tokens: int) -> Wide:
        group = self._layer.down
        return self._wide("intermediate", tokens, group.columns, group.pad)

    def heads(self, tokens: int) -> Tensor:
        """Queries and keys after their norm (T, queries + keys)."""
        return self._wide("heads", tokens, self._sizes.queries + self._sizes.keys, 0).main

    def gradient(self, tokens: int) -> Wide:
        """The gradient that goes down through the layers (T, h)."""
        return self._wide("gradient", tokens, self._sizes.hidden, self._layer.down.pad)

    def attention_gradient(self, tokens: int) -> Tensor:
        return self._wide("attention", tokens, self._sizes.queries, 0).main

    def qkv_gradient(self, tokens: int) -> Wide:
        group = self._layer.qkv
        return self._wide("qkv", tokens, group.rows, group.pad)

    def last(self, tokens: int) -> Tensor:
        """The last layer's output (T, h), kept until the backward pass."""
        return self._wide("last", tokens, self._sizes.hidden, 0).main

    def _wide(self, name: str, tokens: int, width: int, pad: int) -> Wide:
        # Zero where nothing writes: columns of the tail beyond the rank take part in products.
        size, buffer = tokens * (width + pad), self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            self._buffers.pop(name, None)
            buffer = torch.zeros(size, dtype=self._dtype, device=self._device)
            self._buffers[name] = buffer
            self.moves += 1
        return Wide(buffer[:size].view(tokens, width + pad), width)
