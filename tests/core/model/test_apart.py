"""Packed rows and the models that keep them apart, or do not."""

from __future__ import annotations

from pathlib import Path
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
    config = AutoConfig.for_model(kind, **(SMALL | more))
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


def in_int8(folder: Path) -> Any:
    """A Llama with outliers, some of which only some rows have, loaded as LLM.int8."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    model = model_of("llama", hidden_size=256, intermediate_size=512)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "layernorm" in name:
                weights[::16] *= 3
    model.save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=BitsAndBytesConfig(load_in_8bit=True), device_map={"": "cpu"}
    )


def logits(model: Any, *rows: torch.Tensor) -> torch.Tensor:
    """Of the first of the rows."""
    with torch.no_grad():
        return apart._logits(model.eval(), *rows)[: len(rows[0])]


ROW, OTHERS = torch.arange(16), (torch.arange(16) + 1, torch.arange(16) * 7 + 3)


def test_what_int8_rounds_by_the_batch_is_not_taken_for_a_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = in_int8(tmp_path)
    one, two = (logits(model, ROW, other) for other in OTHERS)
    assert (one - two).abs().max() > apart._SHARE * one.abs().max()  # and it sees neither
    apart.check(model)

    heard = model.forward
    monkeypatch.setattr(model, "forward", lambda position_ids, **rest: heard(**rest))
    with pytest.raises(InputError, match="see each other"):
        apart.check(model)


def test_a_model_without_positions_is_refused() -> None:
    class Blind(torch.nn.Module):
        device = torch.device("cpu")
        config = model_of("llama").config

        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any: ...

    assert not apart.rows_stay_apart(Blind())
