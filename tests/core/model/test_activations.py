"""The formulas against the tensors of real forward and backward passes, on the CPU in fp32."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from core.config.files import from_overrides
from core.config.schema import RunConfig
from core.model import adapters, load
from core.model.memory import estimate
from core.model.shapes import shape_of
from core.train.loss import LabelLoss

pytestmark = pytest.mark.trains

LENGTH = 256
SIZES = {
    "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 1024,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WIDE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "vocab_size": 8000}
MORE: dict[str, dict[str, Any]] = {
    "gemma2": {"head_dim": 64}, "gemma3_text": {"head_dim": 64}, "qwen3": {"head_dim": 64},
    "mixtral": {"num_local_experts": 4},
}  # fmt: skip
MakeModel = Callable[..., Path]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    from transformers import AutoConfig, AutoModelForCausalLM

    made: dict[str, Path] = {}

    def make(kind: str, **changes: Any) -> Path:
        key = kind + str(changes)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("models") / kind
            values = SIZES | MORE.get(kind, {}) | changes
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **values))
            model.to(torch.bfloat16).save_pretrained(made[key])
        return made[key]

    return make


def settings(model: Path, changes: dict[str, str]) -> RunConfig:
    given = {"model.name_or_path": str(model), "data.max_length": str(LENGTH), "lora_dropout": "0",
             "data.packing": "no"}  # fmt: skip
    return from_overrides(given | changes).config


def peak_bytes(wish: RunConfig) -> int:
    """The most that tensors of a forward and backward pass take together, beyond the model."""
    base = load.load_base(wish, quantized=True, device="cpu")
    model = adapters.attach(base, wish).train()
    if wish.train.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    loss, batch = LabelLoss(model), batch_of(wish)
    loss(batch).backward()  # the gradients are there from now on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as told:
        loss(batch).backward()
    trace = Path(wish.model.name_or_path) / "trace.json"
    told.export_chrome_trace(str(trace))
    now = most = 0
    for event in json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]:
        if event.get("name") == "[memory]":
            now += event["args"]["Bytes"]
            most = max(most, now)
    return most


def batch_of(wish: RunConfig) -> dict[str, torch.Tensor]:
    """Two rows of full length; of four documents each where they are packed."""
    ids = torch.randint(3, 300, (2, LENGTH))
    batch = {"input_ids": ids, "rows": torch.arange(2 * LENGTH - 1), "targets": ids.flatten()[1:]}
    if wish.data.packing:
        batch["position_ids"] = torch.arange(LENGTH // 4).repeat(2, 4)
    return batch


def assert_near(wish: RunConfig) -> None:
    found = estimate(wish, shape_of(wish.model.name_or_path), gpu=False)
    assert found is not None
    reckoned = found.activations + found.layer + found.loss + found.scratch
    assert reckoned == pytest.approx(peak_bytes(wish), rel=0.1)


@pytest.mark.parametrize("checkpointing", ["yes", "no"])
@pytest.mark.parametrize(
    "changes",
    [
        {}, {"lora_dropout": "0.1"}, {"attn_implementation": "eager"}, {"data.packing": "yes"},
        {"use_dora": "yes"}, {"use_dora": "yes", "lora_dropout": "0.1"},
        {"target_modules": "q_proj,v_proj"}, {"load_in_4bit": "no"},
    ],
    ids=str,
)  # fmt: skip
def test_settings(make_model: MakeModel, changes: dict[str, str], checkpointing: str) -> None:
    wish = settings(make_model("llama"), changes | {"activation_checkpointing": checkpointing})
    assert_near(wish)


@pytest.mark.parametrize("checkpointing", ["yes", "no"])
@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "mixtral"])
def test_models(make_model: MakeModel, kind: str, checkpointing: str) -> None:
    assert_near(settings(make_model(kind), {"activation_checkpointing": checkpointing}))


@pytest.mark.parametrize(
    ("kind", "more"),
    [("llama", {}), ("gemma2", {}), ("cohere", {}), ("granite", {"logits_scaling": 4.0})],
)
def test_losses_over_large_vocabularies(
    make_model: MakeModel, kind: str, more: dict[str, Any]
) -> None:
    assert_near(settings(make_model(kind, **WIDE, **more), {}))
