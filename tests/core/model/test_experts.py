"""Experts by config.json alone, compared with the models that transformers makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from known_shapes import GIB, config, needed

from core.model.experts import Mixture, count_of, mixture_of
from core.model.shapes import configured
from core.model.sizes import dims_of, linears_of

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
SOME = {"moe_intermediate_size": 16, "num_experts": 4}
ROUTED = {
    "moe_intermediate_size": 16, "n_routed_experts": 4, "n_shared_experts": 2,
    "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": SOME | {"mlp_only_layers": [1], "head_dim": 8},
    "qwen2_moe": SOME | {"shared_expert_intermediate_size": 24, "decoder_sparse_step": 2},
    "llama4_text": {"num_local_experts": 4, "intermediate_size_mlp": 80, "head_dim": 8,
                    "interleave_moe_layer_step": 2},
    "deepseek_v3": ROUTED,
    "glm4_moe": ROUTED | {"head_dim": 8},
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_intermediate_size": 16,
                     "moe_num_shared_experts": 2},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8},
}  # fmt: skip
MLPS = (".mlp.", ".feed_forward.", ".block_sparse_moe.")


@pytest.mark.parametrize("kind", KINDS)
def test_experts_are_those_of_the_model(kind: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    told = AutoConfig.for_model(kind, architectures=["M"], **SMALL, **KINDS[kind])
    told.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(told)
    inside = {
        name: one.numel() for name, one in model.named_parameters()
        if any(part in name for part in MLPS) and "bias" not in name
        and not name.endswith(("gate.weight", "router.weight"))
    }  # fmt: skip
    shape = configured(str(tmp_path))
    dims = dims_of(shape)
    assert dims is not None
    layers = [one for one in linears_of(shape, dims) if one.name.endswith(("up_proj", "gate_proj",
                                                                         "down_proj"))]  # fmt: skip
    assert sum(one.outputs * one.inputs * one.count for one in layers) == sum(inside.values())
    experts = sum(size for name, size in inside.items() if ".experts." in name)
    assert sum(one.outputs * one.inputs * one.count for one in layers if one.expert) == experts


def test_a_mixture_is_reckoned_with_its_experts(tmp_path: Path) -> None:
    mixtral = {
        "architectures": ["MixtralForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 32000, "num_local_experts": 8,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(mixtral))
    found = needed(config(), configured(str(tmp_path)))
    assert 84 < found.weights / GIB < 86
    assert not found.untold
    odd = mixtral | {"intermediate_size": [14336] * 32}
    (tmp_path / "config.json").write_text(json.dumps(odd))
    assert "does not tell its experts" in needed(config(), configured(str(tmp_path))).untold


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"num_experts": [8, 8]}, 8), ({"ffn_config": {"moe_num_experts": 16}}, 16),
        ({"moe_num_primary_experts": 32}, 32), ({"num_experts": None, "n_shared_experts": 2}, 0),
        ({"num_experts_per_tok": 2}, 0), ({}, 0),
    ],
)  # fmt: skip
def test_experts_by_other_names_are_seen_and_not_guessed(given: dict[str, Any], count: int) -> None:
    assert count_of(given) == count
    assert mixture_of(given | {"intermediate_size": 8}, 4) is None


def test_where_experts_are_is_told_or_unknown() -> None:
    plain = {"num_experts": 4, "intermediate_size": 8}
    assert mixture_of(plain, 6) == Mixture(4, 8, 6, 0, 8)
    for told, sparse in (
        ({"moe_layer_freq": [0, 1, 1, 1, 1, 1]}, 5), ({"moe_layer_freq": 2}, 3),
        ({"moe_layers": [1, 3]}, 2), ({"expert_layer_period": 3, "expert_layer_offset": 1}, 2),
    ):  # fmt: skip
        found = mixture_of(plain | told, 6)
        assert found is not None
        assert found.sparse == sparse
    for odd in ({"moe_layer_freq": 0}, {"mlp_only_layers": "all"}, {"moe_layer_freq": [1]},
                {"hybrid_override_pattern": "M-E"}, {"num_shared_experts": [1]}):  # fmt: skip
        assert mixture_of(plain | odd, 6) is None
    assert mixture_of(plain, 10**9) is None
