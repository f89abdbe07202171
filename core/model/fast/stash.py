"""Where a layer's tensors wait between its forward and its backward pass.

A cell is one layer's work on one piece of a pass: layer by layer, in each the pieces in order.
``held`` of them keep their tensors on the device. The others share two slots there, and go to
pinned memory of the host and back on a stream of their own. At 36 KiB a token and layer (8B) the
copy takes about as long as the forward pass of a layer, so it begins while the layer still
computes: each part of a slot leaves as soon as nothing writes it any more. Where copies take longer
than that, those that are held lie between the others, so that the copies can catch up.

Light slots, 16.5 KiB a token and layer, keep what cannot be computed again from the rest. The
residual and queries, keys and values have one place for all cells then: no two are needed at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from core.model.fast.footprint import RING
from core.model.fast.linear import Wide
from core.model.fast.pinned import pinned
from core.model.fast.slot import Part, Slot, Tails, Widths

Tensor = torch.Tensor


class Stash:
    """Slots for all cells of one pass; forward in order, backward in the opposite one.

    ``kept`` of the last cells keep gate and up too, ``held`` of all stay on the device.
    ``tokens`` is the length of a full piece; longer ones take new memory.
    """

    def __init__(
        self,
        layers: int,
        widths: Widths,
        *,
        kept: int,
        held: int,
        tokens: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        self._widths, self._dtype, self._device = widths, dtype, device
        self._layers, self._kept_wish, self._held_wish = layers, kept, held
        self._pieces, self._capacity = 0, tokens
        self._host_slots: list[Tensor] = []
        self._lengths: Sequence[int] = ()
        self.moves = 0
        """How often memory was taken: what was recorded before points elsewhere."""
        self._keep = False
        self._states_of: dict[Hashable | None, dict[int, tuple[int, ...]]] = {}
        """Shapes of attention's log-sum-exp of each cell, for passes of each kind."""
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self._copied = [torch.cuda.Event() for _ in range(RING)]
            self._freed = [torch.cuda.Event() for _ in range(RING)]

    def begin(self, lengths: Sequence[int], *, keep: bool, key: Hashable | None = None) -> None:
        """A new pass of pieces of so many tokens; ``keep`` when a backward pass will follow.

        Passes with one ``key`` are alike. What is replayed fills slots without a word, so the
        shapes of what is in them are those of the first such pass.
        """
        if max(lengths) > self._capacity or len(lengths) > self._pieces:
            self._take(max(self._pieces, len(lengths)), max(self._capacity, *lengths))
        self._lengths, self._keep = lengths, keep
        self._states = self._states_of.setdefault(key, {})
        self._cells = self._layers * len(lengths)
        self._sent = self._sent_of(self._cells)
        self._ranks = ranks_of(self._cells, self._sent)
        self._cell_sent = [cell for cell, (sent, _) in enumerate(self._ranks) if sent]

    def slot(self, cell: int) -> Slot:
        """The cell's slot, to be filled. The device waits until it is free."""
        number, (sent, rank) = self._place(cell), self._ranks[cell]
        if sent and rank >= RING and self._keep:
            torch.cuda.current_stream().wait_event(self._copied[number])
        return self._view(number, cell)

    def filled(self, cell: int, slot: Slot) -> None:
        """The cell's forward pass is done."""
        self._states[cell] = slot.state_shape

    def _send(self, cell: int, part: Part) -> None:
        """Send a finished part of a slot away where others need the room."""
        if not self._keep or not self._leaves(cell):
            return
        number = self._place(cell)
        self._freed[number].record()
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._freed[number])
            device, host = self._pair(number, cell, part)
            host.copy_(device, non_blocking=True)
            if part is Part.TAILS:
                self._copied[number].record()

    def join(self) -> None:
        """Let the device's main stream wait for the copies that are under way."""
        if self._keep and self._sent > RING:
            torch.cuda.current_stream().wait_stream(self._stream)

    def load(self, cell: int) -> Slot:
        """The cell's slot as it was filled. The device waits until it is back."""
        number = self._place(cell)
        if self._leaves(cell):
            torch.cuda.current_stream().wait_event(self._copied[number])
        slot = self._view(number, cell)
        slot.state_shape = self._states[cell]
        return slot

    def release(self, cell: int) -> None:
        """The cell's backward pass is done: fetch the one that comes next into its place."""
        sent, rank = self._ranks[cell]
        if not sent or rank < RING:
            return
        number, wanted = self._place(cell), self._cell_sent[rank - RING]
        self._freed[number].record()
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._freed[number])
            device, host = self._pair(number, wanted, None)
            device.copy_(host, non_blocking=True)
            self._copied[number].record()

    def _sent_of(self, cells: int) -> int:
        """How many cells share the ring; none where it would hold them all."""
        sent = max(0, cells - self._held_wish) if self._device.type == "cuda" else 0
        return sent if sent > RING else 0

    def _leaves(self, cell: int) -> bool:
        """Whether the cell's tensors go to the host; those of the last in the ring need not."""
        sent, rank = self._ranks[cell]
        return sent and rank < self._sent - RING

    def _place(self, cell: int) -> int:
        """Number of the device slot. In an evaluation two are enough."""
        if not self._keep:
            return cell % RING
        sent, rank = self._ranks[cell]
        return rank % RING if sent else (RING if self._sent else 0) + rank

    def _take(self, pieces: int, tokens: int) -> None:
        """Take memory for so many pieces of so many tokens."""
        # All of the old goes before any of the new comes: together they may not fit.
        self._device_slots: list[Tensor] = []
        self._gate_up: list[Tensor] = []
        self._shared: Tensor | None = None
        cells = self._layers * pieces
        # Fewer pieces than these have fewer cells, of which as many are held.
        sent = self._sent_of(cells)
        slots = cells - sent + (RING if sent else 0)
        size = tokens * sum(self._widths.parts)
        new: dict[str, Any] = {"dtype": self._dtype, "device": self._device}
        wide = self._widths.gate_up + self._widths.gate_up_pad
        self._gate_up = [torch.empty(tokens, wide, **new) for _ in range(self._kept(cells))]
        self._shared = torch.empty(tokens * self._widths.shared, **new)
        for _ in range(max(slots, RING)):
            self._device_slots.append(torch.empty(size, **new))
        # Pinning takes a second for some gigabytes: what there is already stays.
        self._host_slots = [slot for slot in self._host_slots if slot.numel() >= size]
        for _ in range(sent - RING - len(self._host_slots)):
            self._host_slots.append(pinned(size, dtype=self._dtype))
        self._pieces, self._capacity = pieces, tokens
        self.moves += 1

    def _kept(self, cells: int) -> int:
        return min(cells, self._kept_wish)

    def _view(self, number: int, cell: int) -> Slot:
        widths, tokens = self._widths, self._tokens(cell)
        assert self._shared is not None
        split = self._split(self._device_slots[number], tokens)
        (x, qkv_tail, *rest), (o, state, *behind), (gate_up_tail, down_tail) = split
        qkv, h = (
            self._shared[: tokens * width].view(tokens, width) if widths.light else own[0]
            for width, own in ((widths.qkv, rest), (widths.hidden, behind))
        )  # fmt: skip
        place = cell - (self._cells - self._kept(self._cells))
        if not self._keep:
            place = len(self._gate_up) - 1  # an evaluation needs no other room for them
        gate_up = None
        if place >= 0:
            gate_up = Wide(self._gate_up[place][:tokens], widths.gate_up)
        return Slot(
            x, h, qkv, Wide(o, widths.attention), state.view(-1).view(torch.float32),
            Tails(qkv_tail, gate_up_tail, down_tail), gate_up, widths.light,
            lambda part: self._send(cell, part),
        )  # fmt: skip

    def _split(self, buffer: Tensor, tokens: int) -> list[list[Tensor]]:
        """The tensors of each part, one behind the other."""
        parts: list[list[Tensor]] = []
        at = 0
        for part in self._widths.columns:
            parts.append([])
            for width in part:
                parts[-1].append(buffer[at : at + tokens * width].view(tokens, width))
                at += tokens * width
        return parts

    def _tokens(self, cell: int) -> int:
        return self._lengths[cell % len(self._lengths)]

    def _pair(self, number: int, cell: int, part: Part | None) -> tuple[Tensor, Tensor]:
        """Device and host memory of a part of a cell that is sent, or of all of it."""
        tokens, widths = self._tokens(cell), self._widths.parts
        begin = 0 if part is None else tokens * sum(widths[:part])
        end = tokens * (sum(widths) if part is None else sum(widths[: part + 1]))
        _, rank = self._ranks[cell]
        return self._device_slots[number][begin:end], self._host_slots[rank][begin:end]


def ranks_of(cells: int, sent: int) -> list[tuple[bool, int]]:
    """For each cell whether it is one of those ``sent``, and its number among its kind.

    The others are spread evenly, the last cell among them.
    """
    held, found, count = cells - sent, [], 0
    for cell in range(cells):
        stays = (cell + 1) * held // cells > count
        found.append((not stays, count if stays else cell - count))
        count += stays
    return found
