"""Packed rows and the models that keep them apart, or do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.config.errors import InputError
from core.model import apart

SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 256,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def model_of(kind: str, **more: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SMALL, **more)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").train()


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma3_text", "phi3", "mixtral", "gpt_neox"])
def test_most_models_keep_rows_apart(kind: str) -> None:
    model = model_of(kind)
    apart.check(model)
    assert model.training


@pytest.mark.parametrize("kind", ["falcon", "opt", "qwen3_next"])
def test_a_model_that_does_not_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match="see each other") as told:
        apart.check(model_of(kind))
    assert told.value.kind == "packed_rows_meet"


def test_a_model_without_positions_is_refused() -> None:
    class Blind(torch.nn.Module):
        device = torch.device("cpu")
        config = model_of("llama").config

        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any: ...

    assert not apart.rows_stay_apart(Blind())
