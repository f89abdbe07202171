"""Fixtures of the fused path."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.model.fast import streamed


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the output head of a small model, too, pass by in several tiles."""
    made = streamed.Belt.__init__

    def small(self: Any, table: torch.Tensor, device: torch.device, tile: int = 64) -> None:
        made(self, table, device, tile)

    monkeypatch.setattr(streamed.Belt, "__init__", small)
