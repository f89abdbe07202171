"""The tensors that a layer keeps for its backward pass, and how wide they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch

from core.model.fast.linear import Wide

Tensor = torch.Tensor


class Part(IntEnum):
    """What of a slot is finished together, in this order."""

    QUERIES = 0
    """Input, what q's, k's and v's adapters made of it; and, unless light, what became of it."""
    ATTENTION = 1
    """Attention's output and log-sum-exp; and, unless light, the residual behind it."""
    TAILS = 2
    """What the adapters of the MLP made of its inputs."""


@dataclass
class Tails:
    """What the adapters made of the inputs, (T, pad) each."""

    qkv: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass
class Slot:
    """The tensors of one cell of T tokens."""

    x: Tensor
    """Input (T, h)."""
    h: Tensor
    """The residual behind attention (T, h)."""
    qkv: Tensor
    """Queries, keys and values; rotated, except where their heads have norms."""
    o: Wide
    """Attention's output with what o_proj's adapter made of it."""
    state: Tensor
    """Room for attention's log-sum-exp, fp32 (T x heads)."""
    tails: Tails
    gate_up: Wide | None
    """Gate and up (T, 2 f) where they are kept."""
    light: bool
    """``h`` and ``qkv`` are one memory, which all cells share: to be computed again."""
    finished: Callable[[Part], None]
    """To be called when a part is written."""
    state_shape: tuple[int, ...] = ()

    def keep_state(self, state: Tensor) -> None:
        """Keep attention's log-sum-exp, which comes in a shape of its own."""
        self.state_shape = state.shape
        self.kept_state.copy_(state)

    @property
    def kept_state(self) -> Tensor:
        return self.state[: math.prod(self.state_shape)].view(self.state_shape)


@dataclass(frozen=True)
class Widths:
    """Columns of a slot's parts."""

    hidden: int
    qkv: int
    attention: int
    attention_pad: int
    state: int
    """Heads, times what a number of fp32 takes in columns."""
    tails: tuple[int, int, int]
    gate_up: int
    gate_up_pad: int
    light: bool = False

    @property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """Of the tensors of each ``Part``, in their order."""
        queries = self.hidden, self.tails[0]
        attention = self.attention + self.attention_pad, self.state
        if self.light:
            return queries, attention, self.tails[1:]
        return (*queries, self.qkv), (*attention, self.hidden), self.tails[1:]

    @property
    def parts(self) -> tuple[int, ...]:
        """Elements a token of each ``Part``."""
        return tuple(map(sum, self.columns))

    @property
    def shared(self) -> int:
        """Elements a token of what light slots share."""
        return max(self.hidden, self.qkv) if self.light else 0


def widths_of(layer: Any, dtype: torch.dtype, *, light: bool = False) -> Widths:
    """Columns of what one layer keeps."""
    return Widths(
        layer.sizes.hidden, layer.qkv.rows, layer.output.columns, layer.output.pad,
        layer.sizes.heads * max(1, torch.float32.itemsize // dtype.itemsize),
        (layer.qkv.pad, layer.gate_up.pad, layer.down.pad), layer.gate_up.rows, layer.gate_up.pad,
        light,
    )  # fmt: skip
