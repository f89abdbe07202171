"""Attention over packed rows for peers, on PyTorch's own varlen kernel: no flash-attn package.

transformers' plain sdpa would build a dense mask of the whole micro-batch, which is unfair to them.
"""

from __future__ import annotations

import inspect
from typing import Any

NAME = "torch_varlen"


def register() -> str:
    """Make the attention known to transformers; its name."""
    from torch.nn.attention import varlen
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, flash_attention_mask

    accepts = inspect.signature(varlen.varlen_attn).parameters
    fixed: dict[str, Any] = (
        {"window_size": (-1, 0)} if "window_size" in accepts else {"is_causal": True}
    )
    if "enable_gqa" in accepts:
        fixed["enable_gqa"] = True
    bounds = _Bounds()

    def attend(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any,
        dropout: float = 0.0, scaling: float | None = None, **more: Any,
    ) -> tuple[Any, None]:  # fmt: skip
        found = bounds.of(query, more) if attention_mask is None else None
        if found is None:
            return _plain(query, key, value, attention_mask, scaling), None
        starts, longest = found
        flat = [part[0].transpose(0, 1).contiguous() for part in (query, key, value)]
        if scaling is not None and "scale" in accepts:
            fixed["scale"] = scaling
        out = varlen.varlen_attn(*flat, starts, starts, longest, longest, **fixed)
        return out[None], None

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, flash_attention_mask)
    return NAME


def _plain(query: Any, key: Any, value: Any, mask: Any, scaling: float | None) -> Any:
    from torch.nn.functional import scaled_dot_product_attention

    out = scaled_dot_product_attention(
        query, key, value, attn_mask=None if mask is None else mask[:, None, None].bool(),
        is_causal=mask is None, scale=scaling, enable_gqa=key.shape[1] != query.shape[1],
    )  # fmt: skip
    return out.transpose(1, 2).contiguous()


class _Bounds:
    """Where documents begin, worked out once a micro-batch and not once a layer."""

    def __init__(self) -> None:
        self._source: Any = None
        self._found: tuple[Any, int] | None = None

    def of(self, query: Any, more: dict[str, Any]) -> tuple[Any, int] | None:
        import torch

        if query.shape[0] != 1:
            return None
        given, positions = more.get("cu_seq_lens_q"), more.get("position_ids")
        source = given if given is not None else positions
        if source is None:
            return None
        if source is not self._source:
            if given is not None:
                starts = given.to(device=query.device, dtype=torch.int32)
                self._found = (starts, int(more["max_length_q"]))
            else:
                begins = (positions[0] == 0).nonzero().flatten().to(torch.int32)
                starts = torch.cat([begins, begins.new_tensor([query.shape[2]])])
                self._found = (starts, int(starts.diff().max()))
            self._source = source
        return self._found
