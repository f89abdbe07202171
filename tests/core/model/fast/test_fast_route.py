"""Who takes the fused path, and what is said to those who do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fast_models import FAMILIES, LINEARS, adapted, quantized
from peft import LoraConfig

from core.config.schema import RunConfig
from core.model.fast import footprint
from core.model.fast.plan import Plan
from core.model.fast.route import layers_of, obstacle
from core.model.fast.slot import widths_of
from core.model.shapes import configured
from core.model.sizes import dims_of
from core.model.training_path import fused_dims


def test_the_four_families_take_it() -> None:
    assert [obstacle(adapted(f), 64) for f in ("llama", "mistral", "qwen2", "qwen3")] == [None] * 4


def test_what_it_does_not_know_is_named() -> None:
    model = adapted("llama")
    model.add_adapter("second", LoraConfig(r=4, target_modules=["q_proj"]))
    assert obstacle(model, 64) == "there are 2 adapters, not one"
    assert obstacle(adapted("llama", use_dora=True), 64) == "the adapter has DoRA"
    assert obstacle(adapted("llama", rank_pattern={"q_proj": 8}), 64) == (
        "the adapter has ranks that differ by layer"
    )
    assert obstacle(adapted("llama", modules_to_save=["lm_head"]), 64) == (
        "the adapter has modules that are trained whole"
    )


@pytest.mark.parametrize(
    ("family", "setting", "value", "said"),
    [
        ("mistral", "sliding_window", 63, "a window of 63 tokens"),
        ("llama", "hidden_act", "gelu", "the activation is gelu"),
        ("llama", "model_type", "gemma", "not for gemma"),
        ("llama", "attention_dropout", 0.1, "attention has dropout"),
    ],
)
def test_other_architectures_are_named(family: str, setting: str, value: object, said: str) -> None:
    model = adapted(family)
    setattr(model.get_base_model().config, setting, value)
    assert said in str(obstacle(model, 64))


def test_a_window_is_no_obstacle_to_rows_that_are_no_longer() -> None:
    model = adapted("mistral", changes={"sliding_window": 64})
    assert obstacle(model, 64) is None
    assert obstacle(model, 65) == (
        "attention slides over a window of 64 tokens, and data.max_length lets rows have 65"
    )


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_a_window_that_no_layer_has_is_no_obstacle(family: str) -> None:
    window = {"use_sliding_window": True, "sliding_window": 64}
    assert obstacle(adapted(family, changes=window | {"max_window_layers": 3}), 65) is None
    one = obstacle(adapted(family, changes=window | {"max_window_layers": 2}), 65)
    assert one is not None
    assert one.startswith("attention slides over a window of 64 tokens")


def test_other_quantizations_are_named() -> None:
    model = adapted("llama", targets=["q_proj"])
    mlp = model.get_base_model().model.layers[1].mlp
    mlp.up_proj = quantized(torch.nn.Linear(128, 192, bias=False), "fp4")
    assert obstacle(model, 64) == "up_proj of layer 1: weights are fp4, not nf4"
    mlp.up_proj = torch.nn.Linear(128, 192, bias=False)
    assert obstacle(model, 64) == "up_proj of layer 1: weights are not in 4 bit"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("targets", [LINEARS, ["q_proj", "v_proj"], ["down_proj"]])
def test_the_plan_counts_what_adapters_take(
    family: str, targets: list[str], tmp_path: Path
) -> None:
    """Also the room of linears that are no targets."""
    model = adapted(family, targets=targets)
    layers, adapters = layers_of(model, torch.bfloat16, torch.device("cpu"))
    model.get_base_model().config.save_pretrained(tmp_path)
    config = RunConfig.model_validate({"adapter": {"r": 4, "target_modules": targets}})
    shape = configured(str(tmp_path))
    sizes = dims_of(shape)
    assert sizes is not None
    dims, first = fused_dims(config, shape, sizes), layers[0]
    groups = (first.qkv, first.output, first.gate_up, first.down)
    assert dims.adapter_weights == adapters.whole.numel() == adapters.grads.numel()
    assert [dims.pad(number) for number in (3, 1, 2, 1)] == [group.pad for group in groups]
    assert dims.scratch == sum(group.room for group in groups)
    for light in (False, True):
        widths = widths_of(first, torch.bfloat16, light=light)
        assert dims.slot(light=light) == sum(widths.parts)
        empty, held = (
            footprint.parts(dims, Plan(0, held, light=light, longest=8))["kept layers"]
            for held in (0, dims.layers)
        )
        assert held == 2 * 8 * (dims.layers * sum(widths.parts) + widths.shared)
        assert held - empty == 2 * 8 * sum(widths.parts)  # three layers, of which two are a ring
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert (learned == dims.adapter_weights) == (targets == LINEARS)
