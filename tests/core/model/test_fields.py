"""A config.json that no model can have: told by field and value, not by a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.config.errors import InputError
from core.model.shapes import ModelShape, configured

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip


def of(folder: Path, **changes: Any) -> ModelShape:
    (folder / "config.json").write_text(json.dumps(LLAMA | changes), encoding="utf-8")
    return configured(str(folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": {"a": 1}}, 'architectures is {"a": 1}, and must be a list of names'),
        ({"architectures": "LlamaForCausalLM"}, 'is "LlamaForCausalLM", and must be a list'),
        ({"architectures": [5]}, "architectures is [5]"),
        ({"num_hidden_layers": -3}, "num_hidden_layers is -3, and must be 1 or more"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, and must be 1 or more"),
        ({"num_hidden_layers": True}, "num_hidden_layers is true, and must be a whole number"),
        ({"hidden_size": 4096.5}, "hidden_size is 4096.5, and must be a whole number"),
        ({"hidden_size": float("inf")}, "hidden_size is Infinity, and must be a whole number"),
        ({"vocab_size": "many"}, 'vocab_size is "many"'),
        ({"head_dim": -128}, "head_dim is -128, and must be 1 or more"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_attention_heads": 24}, "num_attention_heads is 24, and must divide the hidden size"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0"),
        ({"num_key_value_heads": 5}, "num_key_value_heads is 5, and must divide the 32 heads"),
        ({"num_experts": -1}, "num_experts is -1, and must be 0 or more"),
        ({"text_config": {"num_hidden_layers": -3}}, "num_hidden_layers is -3"),
        ({"vocab_size": {"a": "b" * 10_000}}, "bbb…, and must be a whole number"),
        ({"hidden_size": 10**12}, "1000000000000, and no model has more than 10,000,000"),
        ({"num_hidden_layers": 10**5}, "100000, and no model has more than 10,000"),
        ({"vocab_size": 10**9}, "1000000000, and no model has more than 100,000,000"),
        ({"num_experts": 10**8}, "100000000, and no model has more than 10,000,000"),
        ({"num_attention_heads": None}, "num_attention_heads is null, and must be a whole number"),
        ({"intermediate_size": None}, "intermediate_size is null"),
    ],
)
def test_what_no_model_has_is_named(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        of(tmp_path, **changes)
    assert str(caught.value).startswith(f"config.json of {tmp_path}: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 150
    assert caught.value.kind == "bad_model"


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 4096.0, "num_hidden_layers": 32.0}, {"head_dim": None},
        {"num_experts": 0}, {"moe_intermediate_size": 0},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_only_written_otherwise_is_the_same(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    found = of(tmp_path, **changes)
    assert (found.hidden_size, found.layers, found.head_dim, found.experts) == (4096, 32, 128, 0)
    assert not found.odd


def test_what_a_file_does_not_say_is_unknown(tmp_path: Path) -> None:
    assert of(tmp_path, architectures=None).architecture == "unknown"
    assert of(tmp_path, architectures=[]).architecture == "unknown"
    assert of(tmp_path, max_position_embeddings=-1).context_length is None
    assert of(tmp_path, max_position_embeddings=10**30).context_length == 10**30
    assert of(tmp_path, model_type="gpt2", intermediate_size=None).intermediate_size is None
    by_layer = of(tmp_path, model_type="openelm", num_attention_heads=[12, 16], head_dim=64)
    assert (by_layer.heads, by_layer.head_dim) == (None, 64)


@pytest.mark.parametrize("kind", [None, "", 5])
def test_a_model_of_no_kind_can_be_loaded_by_no_run(kind: object, tmp_path: Path) -> None:
    assert "names no model_type" in of(tmp_path, model_type=kind).unloadable
    assert not of(tmp_path).unloadable


def test_heads_need_not_divide_where_their_width_is_said(tmp_path: Path) -> None:
    assert of(tmp_path, num_attention_heads=24, head_dim=128).head_dim == 128
    assert of(tmp_path, num_attention_heads=24, model_type="other").heads == 24
