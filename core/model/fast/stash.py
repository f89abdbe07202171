"""Where a layer's tensors wait between its forward and its backward pass.

The last ``kept`` layers keep theirs on the device. The others share two slots there, and go to
pinned memory of the host and back on a stream of their own, while the next layer computes. At 36
KiB a token and layer (8B) that takes 22 us a token; the forward pass of a layer takes longer.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from core.config.errors import FailedError
from core.model.fast.linear import Wide

Tensor = torch.Tensor
_RING = 2
"""Slots on the device for layers whose tensors wait on the host: one computes, one is copied."""


@dataclass
class Tails:
    """What the adapters made of the inputs, (T, pad) each: small enough to stay."""

    qkv: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass
class Slot:
    """One layer's tensors for T tokens."""

    x: Tensor
    """Input (T, h)."""
    h: Tensor
    """The residual behind attention (T, h)."""
    qkv: Tensor
    """Queries, keys and values; rotated, except where their heads have norms."""
    o: Wide
    """Attention's output with what o_proj's adapter made of it."""
    tails: Tails
    gate_up: Wide | None = None
    """Gate and up (T, 2 f) where the layer is kept whole."""
    state: Tensor | None = None
    """Attention's log-sum-exp, as its code left it."""


@dataclass(frozen=True)
class Widths:
    """Columns of a slot's parts."""

    hidden: int
    qkv: int
    attention: int
    attention_pad: int
    tails: tuple[int, int, int]
    gate_up: int
    gate_up_pad: int

    @property
    def sent(self) -> int:
        """Elements a token of what goes to the host."""
        return 2 * self.hidden + self.qkv + self.attention + self.attention_pad


class Stash:
    """Slots for all layers of one pass; forward in order, backward in the opposite one."""

    def __init__(
        self, layers: int, kept: int, widths: Widths, *, dtype: torch.dtype, device: torch.device
    ):
        self._widths, self._dtype, self._device = widths, dtype, device
        self._layers, self._whole = layers, kept
        self._sent = layers - kept if device.type == "cuda" else 0
        if self._sent <= _RING:
            self._sent = 0  # both slots would be kept anyway
        self._capacity = self._tokens = 0
        self.moves = 0
        """How often memory was taken: what was recorded before points elsewhere."""
        self._keep = False
        self._states: list[Tensor | None] = [None] * layers
        if self._sent:
            self._stream = torch.cuda.Stream(device)
            self._copied = [torch.cuda.Event() for _ in range(_RING)]
            self._freed = [torch.cuda.Event() for _ in range(_RING)]

    def begin(self, tokens: int, *, keep: bool) -> None:
        """A new pass; ``keep`` when a backward pass will follow."""
        if tokens > self._capacity:
            self._take(tokens)
        self._tokens, self._keep = tokens, keep

    def slot(self, layer: int) -> Slot:
        """The layer's slot, to be filled. The device waits until it is free."""
        number = self._place(layer)
        if layer < self._sent and self._keep and layer >= _RING:
            torch.cuda.current_stream().wait_event(self._copied[number])
        return self._view(number, layer)

    def filled(self, layer: int, slot: Slot) -> None:
        """The layer's forward pass is done: send its slot away where others need the room."""
        if not self._keep:
            return
        self._states[layer] = slot.state
        if layer >= self._sent - _RING:
            return
        number = self._place(layer)
        self._freed[number].record()
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._freed[number])
            for device, host in self._pairs(number, layer):
                host.copy_(device, non_blocking=True)
            self._copied[number].record()

    def join(self) -> None:
        """Let the device's main stream wait for the copies that are under way."""
        if self._keep and self._sent > _RING:
            torch.cuda.current_stream().wait_stream(self._stream)

    def load(self, layer: int) -> Slot:
        """The layer's slot as it was filled. The device waits until it is back."""
        number = self._place(layer)
        if layer < self._sent - _RING:
            torch.cuda.current_stream().wait_event(self._copied[number])
        slot = self._view(number, layer)
        slot.state = self._states[layer]
        return slot

    def release(self, layer: int) -> None:
        """The layer's backward pass is done: fetch the one that comes next into its place."""
        self._states[layer] = None
        wanted = layer - _RING
        if layer >= self._sent or wanted < 0:
            return
        number = self._place(layer)
        self._freed[number].record()
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._freed[number])
            for device, host in self._pairs(number, wanted):
                device.copy_(host, non_blocking=True)
            self._copied[number].record()

    def _place(self, layer: int) -> int:
        """Number of the device slot. In an evaluation two are enough."""
        if layer < self._sent or not self._keep:
            return layer % _RING
        return (_RING if self._sent else 0) + layer - self._sent

    def _take(self, tokens: int) -> None:
        """Take memory for so many tokens."""
        self._device_slots: list[Tensor] = []
        self._host_slots: list[Tensor] = []
        self._tails: list[Tensor] = []
        slots = self._layers - self._sent + (_RING if self._sent else 0)
        new: dict[str, Any] = {"dtype": self._dtype, "device": self._device}
        for _ in range(max(slots, _RING)):
            self._device_slots.append(torch.empty(tokens * self._widths.sent, **new))
        # Zero: nothing writes the columns beyond the adapters' rank, and products read them.
        wide = self._widths.gate_up + self._widths.gate_up_pad
        self._gate_up = [torch.zeros(tokens, wide, **new) for _ in range(self._whole)]
        for _ in range(self._layers):
            self._tails.append(torch.empty(tokens * sum(self._widths.tails), **new))
        for _ in range(self._sent - _RING):
            self._host_slots.append(pinned(tokens * self._widths.sent, dtype=self._dtype))
        self._capacity = tokens
        self.moves += 1

    def _view(self, number: int, layer: int) -> Slot:
        widths, tokens = self._widths, self._tokens
        buffer, parts, at = self._device_slots[number], [], 0
        for width in (
            widths.hidden, widths.hidden, widths.qkv, widths.attention + widths.attention_pad
        ):  # fmt: skip
            parts.append(buffer[at : at + tokens * width].view(tokens, width))
            at += tokens * width
        tails, at = [], 0
        for width in widths.tails:
            tails.append(self._tails[layer][at : at + tokens * width].view(tokens, width))
            at += tokens * width
        x, h, qkv, o = parts
        whole = layer - (self._layers - self._whole)
        gate_up = None
        if whole >= 0 and self._keep:
            gate_up = Wide(self._gate_up[whole][:tokens], widths.gate_up)
        return Slot(x, h, qkv, Wide(o, widths.attention), Tails(*tails), gate_up)

    def _pairs(self, number: int, layer: int) -> list[tuple[Tensor, Tensor]]:
        """Device and host memory of a layer that is sent."""
        size = self._tokens * self._widths.sent
        return [(self._device_slots[number][:size], self._host_slots[layer][:size])]


_MAPPED = 2
"""The GPU's kernels may read such memory themselves (cudaHostRegisterMapped)."""


def pinned(*shape: int, dtype: torch.dtype) -> Tensor:
    """Memory of the host that the GPU copies from and to by itself, as long as the tensor lives.

    torch's own pinned allocator rounds sizes up to a power of two. Raises FailedError when the
    system does not give so much.
    """
    tensor = torch.empty(shape, dtype=dtype)
    runtime = torch.cuda.cudart()
    size = tensor.numel() * tensor.element_size()
    result = runtime.cudaHostRegister(tensor.data_ptr(), size, _MAPPED)
    if int(result) != 0:
        raise FailedError(
            f"{size / 2**30:.1f} GiB of memory (RAM) could not be pinned for the GPU (error "
            f"{int(result)} of CUDA)",
            kind="out_of_host_memory",
            remedies=(
                "close other programs, or raise the limit of locked memory (ulimit -l)",
                'or train without the fused path: train.path = "peft"',
            ),
        )
    weakref.finalize(tensor, _unpin, tensor.data_ptr(), runtime.cudaHostUnregister)
    return tensor


def _unpin(address: int, unregister: Callable[[int], object]) -> None:
    unregister(address)
