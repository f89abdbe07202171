"""What config.json tells of a model's fitness for the fused path."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig

from core.model.fast.known import (
    ARCHITECTURES,
    FAMILIES,
    odd_architecture,
    odd_window,
    window_of,
)


def test_names_of_families_are_those_of_transformers() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

    assert tuple(NAMES[family] for family in FAMILIES) == ARCHITECTURES


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_models_have_nothing_odd(family: str) -> None:
    plain = {"sliding_window": None} if family == "mistral" else {}
    for values in (
        {"model_type": family} | plain, AutoConfig.for_model(family, **plain).to_dict()
    ):  # fmt: skip
        assert odd_architecture(values) is None
        assert window_of(values) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
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


@pytest.mark.parametrize(
    ("values", "window"),
    [
        ({"model_type": "mistral"}, 4096),
        ({"model_type": "mistral", "sliding_window": 8192}, 8192),
        ({"model_type": "mistral", "sliding_window": None}, None),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64}, 64),
        ({"model_type": "qwen2", "sliding_window": 131072}, None),
    ],
)
def test_a_window_counts_where_it_is_used(values: dict[str, Any], window: int | None) -> None:
    assert window_of(values) == window
    assert AutoConfig.for_model(**values).to_dict()["sliding_window"] == window


def test_a_window_hides_nothing_from_rows_that_are_no_longer() -> None:
    assert odd_window(4096, 4096) is None
    assert odd_window(None, 131072) is None
    assert odd_window(4096, 4097) == (
        "attention slides over a window of 4,096 tokens, and data.max_length lets rows have 4,097"
    )
