"""How much memory the fused path may take, and for what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Choices that change speed and memory, never the result beyond rounding."""

    kept_layers: int
    """Last layers whose tensors stay on the device; those of the others wait on the host."""
    mlp_tokens: int = 4096
    """Tokens that go through an MLP together."""
    loss_rows: int = 1024
    """Rows whose logits exist at one time."""
