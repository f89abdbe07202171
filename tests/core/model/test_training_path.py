"""Which path settings and shape lead to, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from known_shapes import GIB, LLAMA_8B, config, needed

from core.model.fast.footprint import parts
from core.model.fast.plan import Plan
from core.model.sizes import dims_of, linears_of
from core.model.stored import linear_bytes
from core.model.training_path import fused_dims, told_of


def test_the_path_that_is_reckoned_for_is_the_one_that_runs() -> None:
    auto = {"train.path": "auto"}
    assert needed(config(**auto), LLAMA_8B).path == "fused"
    assert needed(config(**auto), LLAMA_8B, gpu=False).path == "PEFT"
    assert needed(config(**auto, use_dora="yes"), LLAMA_8B).why == "the fused path knows no DoRA"
    exact = needed(config(**auto, full_determinism="yes"), LLAMA_8B)
    assert exact.path == "fused"
    assert exact.activations > needed(config(**auto), LLAMA_8B).activations
    other = replace(LLAMA_8B, architecture="GemmaForCausalLM")
    assert "GemmaForCausalLM" in needed(config(**auto), other).why


def test_what_the_fused_path_knows_a_model_by_has_to_be_named() -> None:
    wish = config(**{"train.path": "auto"})

    def why(**changes: object) -> tuple[str, str]:
        found = needed(wish, replace(LLAMA_8B, **changes))
        return found.path, found.why

    assert why(architecture="unknown") == (
        "PEFT", "config.json names no architecture, by which the fused path knows its models"
    )  # fmt: skip
    assert why(heads=None) == (
        "PEFT", "config.json does not name heads, by which the fused path plans"
    )  # fmt: skip
    assert "heads and the width of the MLP" in why(heads=None, intermediate_size=None)[1]


def test_fp8_is_told_with_the_path() -> None:
    eight = config(**{"train.path": "auto", "train.fp8": "yes"})
    told = "1 sequence a pass, gate and up computed twice"
    assert told_of(eight, Plan(0)) == f"{told}, products in FP8 (e4m3)"
    assert told_of(config(), Plan(0)) == told
    found = needed(eight, LLAMA_8B)
    assert (found.path, found.why.endswith(", products in FP8 (e4m3)")) == ("fused", True)
    dims = dims_of(LLAMA_8B)
    assert dims is not None
    assert fused_dims(eight, LLAMA_8B, dims).fp8
    assert not fused_dims(config(), LLAMA_8B, dims).fp8
    on_cpu = needed(eight, LLAMA_8B, gpu=False)
    assert (on_cpu.path, on_cpu.why) == (
        "PEFT",
        "the fused path is for NVIDIA GPUs, and train.fp8 is for the fused path alone: this "
        "training is refused",
    )


def test_what_weights_take_is_what_their_scales_take() -> None:
    """As bitsandbytes stores them: 4 bytes a block of 64, or one and their own scales."""
    dims = dims_of(LLAMA_8B)
    assert dims is not None
    for nested in (True, False):
        wish = config()
        wish.quantization.bnb_4bit_use_double_quant = nested
        stored_bytes = sum(linear_bytes(wish, one, 2) for one in linears_of(LLAMA_8B, dims))
        planned = parts(fused_dims(wish, LLAMA_8B, dims), Plan(0, longest=2048))["weights"]
        assert planned == pytest.approx(stored_bytes, rel=0.001)


def test_cublas_memory_that_others_use_is_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    dims, wish = dims_of(LLAMA_8B), config()
    assert dims is not None
    assert not fused_dims(wish, LLAMA_8B, dims).workspace
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    assert fused_dims(wish, LLAMA_8B, dims).workspace
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    assert not fused_dims(wish, LLAMA_8B, dims).workspace
    wish.run.engine_host = "thread"
    assert fused_dims(wish, LLAMA_8B, dims).workspace


def test_widths_that_fp8_does_not_take_are_told() -> None:
    wish = {"train.path": "auto"}
    odd = replace(LLAMA_8B, kv_heads=1, head_dim=8)
    assert needed(config(**wish), odd).path == "fused"
    found = needed(config(**wish, **{"train.fp8": "yes"}), odd)
    assert found.path == "PEFT"
    assert found.why.startswith("keys are 8 wide, and FP8 takes multiples of 16")


def test_what_the_fused_path_was_not_written_for_is_foreseen() -> None:
    wish = config(**{"train.path": "auto"})
    odd = needed(wish, replace(LLAMA_8B, odd="attention has dropout"))
    assert (odd.path, odd.why) == (
        "PEFT", "the fused path is not written for this: attention has dropout"
    )  # fmt: skip
    slides = replace(LLAMA_8B, architecture="MistralForCausalLM", window=2047)
    assert needed(wish, slides).why == (
        "the fused path is not written for this: attention slides over a window of 2,047 tokens, "
        "and data.max_length lets rows have 2,048"
    )
    assert needed(wish, replace(slides, window=2048)).path == "fused"
    old = needed(wish, LLAMA_8B, bf16=False)
    assert (old.path, "bf16, which this GPU does not" in old.why) == ("PEFT", True)
    quantized = needed(wish, replace(LLAMA_8B, quantization="awq"))
    assert quantized.refused == "it is quantized already (awq)"


@pytest.mark.parametrize(
    "changes",
    [
        {"train.per_device_train_batch_size": "4", "train.gradient_accumulation_steps": "4"},
        {"train.activation_checkpointing": "no"}, {"model.attn_implementation": "eager"},
        {"adapter.target_modules": "q_proj, v_proj"},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_what_saves_memory_on_pefts_layers_is_nothing_to_the_fused_path(
    changes: dict[str, str],
) -> None:
    fused, room = {"train.path": "auto"}, {"free_bytes": 9 * GIB, "host_bytes": 64 * GIB}
    assert needed(config(**fused, **changes), LLAMA_8B, **room) == needed(
        config(**fused), LLAMA_8B, **room
    )
    assert needed(config(**changes), LLAMA_8B).total != needed(config(), LLAMA_8B).total
