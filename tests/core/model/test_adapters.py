from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.model.adapters import attach, linear_names, load_adapter, trainable_parameters
from core.model.load import load_base
from core.model.shapes import shape_of

torch.set_num_threads(1)
IDS = torch.arange(40).reshape(1, 40)


@pytest.fixture
def config(tiny_model: Path) -> RunConfig:
    return RunConfig.model_validate({"model": {"name_or_path": str(tiny_model)}})


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad()
    torch.manual_seed(3)
    model(input_ids=IDS, labels=IDS).loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def lora_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def test_gradients_reach_the_adapter_before_and_after_an_evaluation(config: RunConfig) -> None:
    model = attach(load_base(config, quantized=True, device="cpu"), config)
    before = gradients(model)
    assert len(before) == 2 * 2 * 7
    assert all("lora_" in name for name in before)
    assert all(before[name].abs().sum() > 0 for name in before if "lora_B" in name)
    model.eval()
    with torch.no_grad():
        model(input_ids=IDS)
    after = gradients(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_gradients_flow_through_checkpointed_blocks(config: RunConfig) -> None:
    model = attach(load_base(config, quantized=True, device="cpu"), config)
    plain = gradients(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    recomputed = gradients(model)
    assert all(torch.allclose(plain[name], recomputed[name], atol=1e-6) for name in plain)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_adapter_learns_in_fp32(config: RunConfig, dtype: str) -> None:
    config.model.dtype = dtype  # type: ignore[assignment]
    config.adapter.use_dora = True
    model = attach(load_base(config, quantized=True, device="cpu"), config)
    assert {p.dtype for p in lora_tensors(model).values()} == {torch.float32}
    assert model.get_output_embeddings().weight.dtype == getattr(torch, dtype)


def test_the_same_seed_gives_the_same_adapter(config: RunConfig) -> None:
    torch.manual_seed(1)
    first = lora_tensors(attach(load_base(config, quantized=True, device="cpu"), config))
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    second = lora_tensors(attach(load_base(config, quantized=True, device="cpu"), config))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(state, torch.random.get_rng_state())
    config.train.seed = 43
    third = lora_tensors(attach(load_base(config, quantized=True, device="cpu"), config))
    assert not all(torch.equal(first[name], third[name]) for name in first)


def test_targets_are_checked_with_a_hint(config: RunConfig) -> None:
    model = load_base(config, quantized=True, device="cpu")
    assert linear_names(model) == shape_of(config.model.name_or_path).linear_names
    config.adapter.target_modules = ["q_proj", "v_prj"]
    with pytest.raises(InputError, match="did you mean v_proj"):
        attach(model, config)
    config.adapter.target_modules = ["q_proj", "self_attn.v_proj"]
    names = lora_tensors(attach(model, config))
    assert {n.split(".lora_")[0].rsplit(".", 1)[1] for n in names} == {"q_proj", "v_proj"}


def test_scaling_follows_the_settings(config: RunConfig) -> None:
    config.adapter.use_rslora = True
    model = attach(load_base(config, quantized=True, device="cpu"), config)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == 32 / 16**0.5


def test_parameters_are_counted_as_the_checkpoint_has_them(config: RunConfig) -> None:
    model = attach(load_base(config, quantized=True, device="cpu"), config)
    trainable, total = trainable_parameters(model)
    assert trainable == sum(p.numel() for p in lora_tensors(model).values()) == 131_072
    assert total - trainable == shape_of(config.model.name_or_path).parameters


@pytest.fixture
def saved(config: RunConfig, tmp_path: Path) -> Path:
    model = attach(load_base(config, quantized=True, device="cpu"), config)
    for parameter in lora_tensors(model).values():
        parameter.data = torch.full_like(parameter, 0.01)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_a_saved_adapter_is_loaded_whole(config: RunConfig, saved: Path) -> None:
    model = load_adapter(load_base(config, quantized=False, device="cpu"), saved)
    weights = [p for n, p in model.named_parameters() if "lora_" in n]
    assert len(weights) == 28
    assert all(torch.equal(p, torch.full_like(p, 0.01)) for p in weights)
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training
    again = load_adapter(load_base(config, quantized=True, device="cpu"), saved, trainable=True)
    assert len(lora_tensors(again)) == 28


def test_what_is_no_adapter_is_refused(config: RunConfig, tmp_path: Path) -> None:
    base = load_base(config, quantized=False, device="cpu")
    with pytest.raises(InputError) as caught:
        load_adapter(base, tmp_path)
    assert caught.value.kind == "no_adapter"
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(InputError, match="does not describe a LoRA adapter"):
        load_adapter(base, tmp_path)


def test_an_adapter_of_another_rank_is_refused(config: RunConfig, saved: Path) -> None:
    path = saved / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": 8}))
    with pytest.raises(InputError, match="does not fit this base"):
        load_adapter(load_base(config, quantized=False, device="cpu"), saved)


def test_an_adapter_with_other_targets_is_refused(config: RunConfig, saved: Path) -> None:
    path = saved / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"target_modules": ["q_proj"]}))
    with pytest.raises(InputError, match="24 tensors differ"):
        load_adapter(load_base(config, quantized=False, device="cpu"), saved)


def test_a_cut_adapter_is_refused(config: RunConfig, saved: Path) -> None:
    path = saved / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="cannot be read"):
        load_adapter(load_base(config, quantized=False, device="cpu"), saved)
    path.unlink()
    shutil.copy(__file__, saved / "adapter_model.bin")
    with pytest.raises(InputError, match="cannot be read"):
        load_adapter(load_base(config, quantized=False, device="cpu"), saved)
