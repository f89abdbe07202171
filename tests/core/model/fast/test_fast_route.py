"""Who takes the fused path, and what is said to those who do not."""

from __future__ import annotations

import pytest
import torch
from fast_models import adapted, quantized
from peft import LoraConfig

from core.model.fast.route import obstacle


def test_the_four_families_take_it() -> None:
    assert [obstacle(adapted(f)) for f in ("llama", "mistral", "qwen2", "qwen3")] == [None] * 4


def test_what_it_does_not_know_is_named() -> None:
    model = adapted("llama")
    model.add_adapter("second", LoraConfig(r=4, target_modules=["q_proj"]))
    assert obstacle(model) == "there are 2 adapters, not one"
    assert obstacle(adapted("llama", use_dora=True)) == "the adapter has DoRA"
    assert obstacle(adapted("llama", rank_pattern={"q_proj": 8})) == (
        "the adapter has ranks that differ by layer"
    )
    assert obstacle(adapted("llama", modules_to_save=["lm_head"])) == (
        "the adapter has modules that are trained whole"
    )


@pytest.mark.parametrize(
    ("family", "setting", "value", "said"),
    [
        ("mistral", "sliding_window", 64, "slides over a window of 64 tokens"),
        ("llama", "hidden_act", "gelu", "the activation is gelu"),
        ("llama", "model_type", "gemma", "not for gemma"),
        ("llama", "attention_dropout", 0.1, "attention has dropout"),
    ],
)
def test_other_architectures_are_named(family: str, setting: str, value: object, said: str) -> None:
    model = adapted(family)
    setattr(model.get_base_model().config, setting, value)
    assert said in str(obstacle(model))


def test_other_quantizations_are_named() -> None:
    model = adapted("llama", targets=["q_proj"])
    mlp = model.get_base_model().model.layers[1].mlp
    mlp.up_proj = quantized(torch.nn.Linear(128, 192, bias=False), "fp4")
    assert obstacle(model) == "up_proj of layer 1: weights are fp4, not nf4"
    mlp.up_proj = torch.nn.Linear(128, 192, bias=False)
    assert obstacle(model) == "up_proj of layer 1: weights are not in 4 bit"
