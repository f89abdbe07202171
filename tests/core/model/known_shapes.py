"""Shapes of known models, and settings to reckon with."""

from __future__ import annotations

from typing import Any

from core.config.files import from_overrides
from core.config.schema import RunConfig
from core.model.memory import Estimate, estimate
from core.model.shapes import ModelShape

GIB = 1 << 30


def shape(
    hidden: int, wide: int, layers: int, heads: int, kv_heads: int, vocab: int, **more: Any
) -> ModelShape:
    return ModelShape(
        name="m", architecture=more.pop("architecture", "LlamaForCausalLM"), hidden_size=hidden,
        layers=layers, vocab_size=vocab, context_length=None, tied=more.pop("tied", False),
        quantization="", linear_names=None, parameters=None, size_bytes=None, dtype=None,
        intermediate_size=wide, heads=heads, kv_heads=kv_heads,
        head_dim=more.pop("head_dim", hidden // heads), **more,
    )  # fmt: skip


LLAMA_8B = shape(4096, 14336, 32, 32, 8, 128256)
LLAMA_1B = shape(2048, 8192, 16, 32, 8, 128256, tied=True)
QWEN_7B = shape(3584, 18944, 28, 28, 4, 152064, architecture="Qwen2ForCausalLM")


def config(**changes: str) -> RunConfig:
    """PEFT, two full rows of 2,048 tokens a micro-batch, rank 16 on all linears, no dropout."""
    values = {"lora_dropout": "0", "data.packing": "no", "data.max_length": "2048",
              "train.path": "peft"} | changes  # fmt: skip
    return from_overrides(values).config


def needed(wish: RunConfig, model: ModelShape, **more: Any) -> Estimate:
    found = estimate(wish, model, **more)
    assert found is not None
    return found
