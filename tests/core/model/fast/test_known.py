"""What config.json tells of a model's fitness for the fused path."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig

from core.model.fast.known import ARCHITECTURES, FAMILIES, odd_architecture


def test_names_of_families_are_those_of_transformers() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

    assert tuple(NAMES[family] for family in FAMILIES) == ARCHITECTURES


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_models_have_nothing_odd(family: str) -> None:
    plain = {"sliding_window": None} if family == "mistral" else {}
    assert odd_architecture({"model_type": family} | plain) is None
    assert odd_architecture(AutoConfig.for_model(family, **plain).to_dict()) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_type": "mistral"}, "window of 4,096"),
        ({"model_type": "mistral", "sliding_window": 8192}, "window of 8,192"),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64}, "window of 64"),
        ({"model_type": "llama", "hidden_act": "gelu"}, "gelu, not silu"),
        ({"model_type": "llama", "attention_dropout": 0.1}, "dropout"),
        ({"model_type": "llama", "pretraining_tp": 2}, "pretraining_tp"),
        ({"model_type": "llama", "attention_bias": True}, "bias"),
        ({"model_type": "llama", "mlp_bias": True}, "bias"),
        ({"model_type": "llama", "hidden_size": 100}, "hidden_size is 100"),
        ({"model_type": "llama", "intermediate_size": 8}, "intermediate_size is 8"),
    ],
)
def test_what_is_odd_is_told(values: dict[str, Any], said: str) -> None:
    assert said in (odd_architecture(values) or "")


def test_windows_that_are_not_used_are_not_odd() -> None:
    assert odd_architecture({"model_type": "qwen2", "sliding_window": 131072}) is None
