"""Random numbers in the shapes of a model's layers, for ``kernel_times.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from core.model.fast.adapters import Adapters
from core.model.fast.linear import Wide
from core.model.fast.nf4 import BLOCK, NESTED_BLOCK, Nf4

Tensor = torch.Tensor


@dataclass(frozen=True)
class Shape:
    """A model (its config.json), and the tokens of a pass in documents of equal ``length``."""

    config: dict[str, Any]
    tokens: int
    length: int
    rank: int

    @property
    def hidden(self) -> int:
        return int(self.config["hidden_size"])

    @property
    def intermediate(self) -> int:
        return int(self.config["intermediate_size"])

    @property
    def head_width(self) -> int:
        return int(self.config.get("head_dim", self.hidden // self.heads[0]))

    @property
    def heads(self) -> tuple[int, int]:
        """Of queries, and of keys."""
        return self.config["num_attention_heads"], self.config["num_key_value_heads"]

    @property
    def groups(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Rows and columns of the linears that share an input."""
        queries, keys = (count * self.head_width for count in self.heads)
        wide = self.intermediate
        return {
            "qkv": ((queries, keys, keys), self.hidden),
            "o": ((self.hidden,), queries),
            "gate_up": ((wide, wide), self.hidden),
            "down": ((self.hidden,), wide),
        }


def mlp(shape: Shape, device: torch.device) -> tuple[Tensor, ...]:
    """Gate and up, what becomes of them, A, its product twice, and its gradient."""
    rank, width = shape.rank, shape.intermediate
    hidden = wide(device, shape.tokens, width, 32)
    return (
        wide(device, shape.tokens, 2 * width, 32).main, hidden.main,
        random(device, rank, width + 32)[:, :width],
        wide(device, shape.tokens, rank, 16).whole, wide(device, shape.tokens, rank, 16).whole,
        torch.zeros(rank, width, device=device),
    )  # fmt: skip


def heads(shape: Shape, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (T, heads, d), side by side in memory as the layers have them."""
    count, keys = shape.heads
    whole = random(device, shape.tokens, (count + 2 * keys) * shape.head_width)
    q, k, v = whole.view(shape.tokens, -1, shape.head_width).split([count, keys, keys], 1)
    return q, k, v


def adapters_of(shape: Shape, name: str, device: torch.device) -> Adapters:
    rows, columns = shape.groups[name]
    made = Adapters(
        [[(None, count, columns) for count in rows]], rank=shape.rank, scaling=1.0, device=device
    )
    made.weights.normal_(std=0.02)
    return made


def frozen(rows: tuple[int, ...], columns: int, device: torch.device) -> tuple[Nf4, ...]:
    """Weights of random bits, quantized twice over."""
    return tuple(
        Nf4(
            packed=_bytes(device, count * columns // 2),
            scales=_bytes(device, count * columns // BLOCK), nested=True,
            codes=torch.rand(256, device=device) * 0.02,
            nested_scales=torch.rand(-(-count * columns // BLOCK // NESTED_BLOCK), device=device),
            offset=torch.tensor(0.02, device=device),
            table=torch.linspace(-1, 1, 16, device=device), rows=count, columns=columns, state=None,
        )
        for count in rows
    )  # fmt: skip


def _bytes(device: torch.device, count: int) -> Tensor:
    return torch.randint(0, 256, (count,), dtype=torch.uint8, device=device)


def random(device: torch.device, *sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.bfloat16, device=device)


def wide(device: torch.device, tokens: int, width: int, pad: int) -> Wide:
    """An activation with room for its adapters' columns."""
    return Wide(random(device, tokens, width + pad), width)


def moved(*tensors: Tensor) -> int:
    """Bytes of them; one that is read and written is given twice."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def packed(weights: tuple[Nf4, ...]) -> int:
    return moved(*(part for weight in weights for part in (weight.packed, weight.scales)))
