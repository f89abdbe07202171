"""What config.json tells of a model's fitness for the fused path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from core.model.fast.known import (
    ARCHITECTURES,
    FAMILIES,
    HEAD_WIDTHS,
    odd_architecture,
    odd_window,
    window_of,
)
from core.model.shapes import configured


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
        ({"model_type": "llama", "head_dim": 320}, "heads are 320 wide"),
        ({"model_type": "llama", "head_dim": 84}, "heads are 84 wide"),
        ({"hidden_size": 2688, "num_attention_heads": 32}, "heads are 84 wide"),
        ({"hidden_size": 64, "num_attention_heads": 16}, "heads are 4 wide"),
        ({"num_attention_heads": 3, "head_dim": 32}, "3 heads of 32 make 96, which is no multiple"),
    ],
)
def test_what_is_odd_is_told(values: dict[str, Any], said: str) -> None:
    assert said in (odd_architecture(values) or "")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "said",
    [
        {"head_dim": 60},
        {"head_dim": 72},
        {"head_dim": 128},
        {"hidden_size": 1280},
        {"num_attention_heads": 64},
        {},
    ],
    ids=str,
)
def test_heads_are_as_wide_as_the_model_has_them(family: str, said: dict[str, Any]) -> None:
    """Told alike from a file that names little and from the configuration of a loaded model."""
    sizes = {"hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 8}
    given = {"model_type": family, "intermediate_size": 64, "num_hidden_layers": 1,
             "vocab_size": 8} | sizes | said  # fmt: skip
    config = AutoConfig.for_model(**given)
    with torch.device("meta"):
        (layer,) = AutoModelForCausalLM.from_config(config).model.layers
    width, told = layer.self_attn.head_dim, odd_architecture(given)
    assert told == odd_architecture(config.to_dict())
    assert (told is None) is (width in HEAD_WIDTHS)
    assert told is None or told.startswith(f"attention heads are {width} wide")


@pytest.mark.parametrize(
    ("values", "window"),
    [
        ({"model_type": "mistral"}, 4096),
        ({"model_type": "mistral", "sliding_window": 8192}, 8192),
        ({"model_type": "mistral", "sliding_window": None}, None),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64}, 64),
        ({"model_type": "qwen2", "use_sliding_window": True}, 4096),
        ({"model_type": "qwen2", "sliding_window": 131072}, None),
    ],
)
def test_a_window_counts_where_it_is_used(values: dict[str, Any], window: int | None) -> None:
    assert window_of(values) == window
    assert AutoConfig.for_model(**values).to_dict()["sliding_window"] == window


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize(
    "said",
    [
        {"num_hidden_layers": 28}, {"num_hidden_layers": 29}, {},
        {"num_hidden_layers": 3, "max_window_layers": 3},
        {"num_hidden_layers": 3, "max_window_layers": 2},
        {"num_hidden_layers": 3, "max_window_layers": 0},
        {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]},
        {"num_hidden_layers": 2, "max_window_layers": 0, "layer_types": ["full_attention"] * 2},
    ],
    ids=str,
)  # fmt: skip
def test_a_qwen_slides_where_a_layer_of_it_does(
    family: str, said: dict[str, Any], tmp_path: Path
) -> None:
    """As the model itself has it, which is built here without memory."""
    given = {"model_type": family, "use_sliding_window": True, "sliding_window": 64} | said
    config = AutoConfig.for_model(
        **given, hidden_size=128, intermediate_size=192, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=300,
    )  # fmt: skip
    with torch.device("meta"):
        layers = AutoModelForCausalLM.from_config(config).model.layers
    wanted = 64 if any(layer.self_attn.sliding_window for layer in layers) else None
    assert window_of(given) == window_of(config.to_dict()) == wanted
    config.save_pretrained(tmp_path)
    assert configured(str(tmp_path)).window == wanted


def test_all_layers_of_a_mistral_slide() -> None:
    """It takes no notice of what switches a Qwen's window off."""

    def logits(**said: Any) -> torch.Tensor:
        config = AutoConfig.for_model(
            "mistral", hidden_size=64, intermediate_size=64, num_hidden_layers=1, vocab_size=50,
            num_attention_heads=2, num_key_value_heads=2, **said,
        )  # fmt: skip
        assert window_of(config.to_dict()) == said["sliding_window"]
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config)(input_ids=torch.arange(20)[None]).logits

    stray = logits(sliding_window=4, use_sliding_window=False, max_window_layers=1)
    assert torch.equal(stray, logits(sliding_window=4))
    assert not torch.allclose(stray, logits(sliding_window=None))


def test_a_window_hides_nothing_from_rows_that_are_no_longer() -> None:
    assert odd_window(4096, 4096) is None
    assert odd_window(None, 131072) is None
    assert odd_window(4096, 4097) == (
        "attention slides over a window of 4,096 tokens, and data.max_length lets rows have 4,097"
    )
