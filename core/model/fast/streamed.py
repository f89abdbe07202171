"""An output head that waits in the host's memory: its rows pass by in tiles, twice a pass.

The first time the tiles give each labelled row its log-sum-exp, the second time the gradient of its
hidden state. Nothing is approximated: the loss is the one of ``head.Head``, its sums in another
order. Tiles, logits and sums lie where weights are dequantized at other times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.model.fast import plain
from core.model.fast.footprint import HEAD_TILE
from core.model.fast.head import Scored, silence
from core.model.fast.work import Work

Tensor = torch.Tensor
_ALIGN = 64
_SLOTS = 2
"""Tiles on the device at the least: one is used while the next one comes."""


class Belt:
    """Tiles of a table (V, h) through slots on the device, copied on a stream of their own.

    ``tile``, rows of one; the last may have fewer.
    """

    def __init__(self, table: Tensor, device: torch.device, tile: int = HEAD_TILE):
        self.table = table
        self.tile = min(tile, len(table))
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._slots: list[Tensor] = []

    @property
    def count(self) -> int:
        return -(-len(self.table) // self.tile)

    def begin(self, slots: list[Tensor]) -> None:
        """Use these slots (tile, h), in which nothing is yet. At least two, or one for all."""
        self._slots = slots
        self._held: list[int | None] = [None] * len(slots)
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
            self._copied = [torch.cuda.Event() for _ in slots]
            self._freed = [torch.cuda.Event() for _ in slots]
            for event in self._freed:
                event.record()

    def tiles(self, *, back: bool = False) -> Iterator[tuple[int, Tensor]]:
        """Each tile with its first row, up or down. What is still in a slot does not come again."""
        order = list(range(self.count))
        if back:
            order.reverse()
        size = len(self._slots)
        for number in order[:size]:
            self._fetch(number)
        for place, number in enumerate(order):
            begin = number * self.tile
            slot = number % size
            if self._stream is not None:
                torch.cuda.current_stream().wait_event(self._copied[slot])
            yield begin, self._slots[slot][: len(self.table) - begin]
            if self._stream is not None:
                self._freed[slot].record()
            # Tiles that are as many apart as there are slots share one.
            if place + size < len(order):
                self._fetch(order[place + size])

    def _fetch(self, number: int) -> None:
        slot = number % len(self._slots)
        if self._held[slot] == number:
            return
        self._held[slot] = number
        rows = self.table[number * self.tile : (number + 1) * self.tile]
        target = self._slots[slot][: len(rows)]
        if self._stream is None:
            target.copy_(rows)
            return
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._freed[slot])
            target.copy_(rows, non_blocking=True)
            self._copied[slot].record()


@dataclass(frozen=True)
class StreamedHead:
    """Final norm, output head and loss; ``chunk`` rows are scored together."""

    norm: Tensor
    eps: float
    belt: Belt
    chunk: int
    pieces: Any

    def loss(self, pieces: Sequence[Scored], work: Work, *, keep: bool) -> Tensor:
        """Summed cross-entropy over a pass, fp32; ``keep``: with its gradient."""
        count = sum(len(piece.targets) for piece in pieces)
        device = self.norm.device
        if not count:
            for piece in pieces if keep else ():
                piece.hidden.zero_()
            return torch.zeros((), dtype=torch.float32, device=device)
        targets = torch.cat([piece.targets for piece in pieces])
        state = self._taken(pieces, count, work)
        highest, total, wanted = (torch.zeros(count, device=device) for _ in range(3))
        highest.fill_(-math.inf)
        for begin, tile in self.belt.tiles():
            places = targets - begin
            for rows in state.chunks:
                self.pieces.score_tile(
                    state.logits(rows, tile), places[rows], highest[rows], total[rows], wanted[rows]
                )
        logsum = highest + total.log()
        if keep:
            self._differentiate(pieces, state, targets, logsum)
        return (logsum - wanted).sum()

    def _taken(self, pieces: Sequence[Scored], count: int, work: Work) -> _State:
        """Room for all of it, with the normed rows in it."""
        dtype, hidden = self.belt.table.dtype, self.norm.shape[0]
        tile, chunk = self.belt.tile, min(self.chunk, count)
        wide = torch.promote_types(dtype, torch.float32)
        fixed = [((count, hidden), dtype), ((count, hidden), wide), ((chunk, tile), dtype)]
        size = sum(_elements(shape, kind, dtype) for shape, kind in fixed)
        one = _elements((tile, hidden), dtype, dtype)
        least = min(_SLOTS, self.belt.count)
        room = _Room(work.room(size + least * one))
        normed, gradient, logits = (room.take(shape, kind) for shape, kind in fixed)
        slots = min(self.belt.count, room.left // one)
        self.belt.begin([room.take((tile, hidden), dtype) for _ in range(slots)])
        at = 0
        for piece in pieces:
            for part in _slices(len(piece.rows), chunk):
                last = piece.hidden.index_select(0, piece.rows[part])
                self.pieces.rms_norm(last, self.norm, self.eps, normed[at : at + len(last)])
                at += len(last)
        return _State(normed, gradient.zero_(), logits, _slices(count, chunk))

    def _differentiate(
        self, pieces: Sequence[Scored], state: _State, targets: Tensor, logsum: Tensor
    ) -> None:
        """Make each piece's hidden states the gradient of themselves."""
        for begin, tile in self.belt.tiles(back=True):
            places = targets - begin
            for rows in state.chunks:
                logits = state.logits(rows, tile)
                self.pieces.tile_gradient(logits, places[rows], logsum[rows])
                state.gradient[rows].add_(plain.product(logits, tile))
        at = 0
        for piece in pieces:
            silence(piece.hidden, piece.rows)
            for part in _slices(len(piece.rows), self.chunk):
                places = piece.rows[part]
                last = piece.hidden.index_select(0, places)
                grad = state.gradient[at : at + len(places)].to(last.dtype)
                self.pieces.rms_norm_backward(grad, last, self.norm, self.eps, None, grad)
                piece.hidden.index_copy_(0, places, grad)
                at += len(places)


@dataclass(frozen=True)
class _State:
    """What one loss works with: R labelled rows of all pieces, in ``chunks``."""

    normed: Tensor
    gradient: Tensor
    """Of the normed rows, fp32: it is added up over the tiles."""
    room: Tensor
    """For the logits of a chunk and a tile."""
    chunks: list[slice]

    def logits(self, rows: slice, tile: Tensor) -> Tensor:
        """Logits of some rows for a tile of the vocabulary, as the products round them."""
        count, width = rows.stop - rows.start, len(tile)
        room = self.room.view(-1)[: count * width].view(count, width)
        return torch.mm(self.normed[rows], tile.t(), out=room)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(at, min(at + size, count)) for at in range(0, count, size)]


class _Room:
    """Hands out tensors from one flat piece of memory, one behind the other."""

    def __init__(self, flat: Tensor):
        self._flat, self._at = flat, 0

    @property
    def left(self) -> int:
        return self._flat.numel() - self._at

    def take(self, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        size = _elements(shape, dtype, self._flat.dtype)
        part = self._flat[self._at : self._at + size].view(dtype)
        self._at += size
        return part[: math.prod(shape)].view(shape)


def _elements(shape: tuple[int, int], dtype: torch.dtype, of: torch.dtype) -> int:
    """Room for a tensor, in elements of another type, aligned."""
    size = math.prod(shape) * dtype.itemsize // of.itemsize
    return -(-size // _ALIGN) * _ALIGN
