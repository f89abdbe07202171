"""Small NF4 models of each family with an adapter that does something, on the CPU in fp32."""

from __future__ import annotations

import itertools
from typing import Any

import bitsandbytes as bnb
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {"head_dim": 32},
}
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class TritonError(Exception):
    """Triton's own, as of 3.6, are no RuntimeErrors."""


def adapted(
    family: str, *, targets: list[str] = LINEARS, changes: dict[str, Any] | None = None, **lora: Any
) -> Any:
    """A PEFT model of three layers in which biases, norms and the adapter do something.

    ``changes`` of its config.json, on top of the family's.
    """
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, hidden_size=128, intermediate_size=192, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, vocab_size=300,
        max_position_embeddings=256, tie_word_embeddings=False,
        **FAMILIES.get(family, {}) | (changes or {}),
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Linear) and name != "lm_head":
                setattr(module, name, quantized(child))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data = torch.rand_like(parameter) + 0.5
    model.requires_grad_(False)
    wish = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": targets} | lora
    made = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **wish))
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn_like(parameter) * 0.05
    return made.train()


def quantized(linear: torch.nn.Linear, quant_type: str = "nf4") -> Any:
    made = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, bias=linear.bias is not None,
        compute_dtype=torch.float32, quant_type=quant_type,
    )  # fmt: skip
    made.weight = bnb.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type=quant_type)
    if linear.bias is not None:
        made.bias = torch.nn.Parameter(torch.randn_like(linear.bias) * 0.1, requires_grad=False)
    made.support_avx512bf16_for_cpu = False
    return made.to("cpu")


def flat_batch(lengths: list[int], *, vocabulary: int = 300, device: str = "cpu") -> dict[str, Any]:
    """Documents of random tokens; two of three tokens are predicted, never across a border."""
    torch.manual_seed(1)
    ends = [0, *itertools.accumulate(lengths)]
    ids = torch.randint(0, vocabulary, (ends[-1],))
    rows = [n for n in range(ends[-1]) if n % 3 and n + 1 not in ends]
    tensors = {
        "input_ids": ids,
        "position_ids": torch.cat([torch.arange(length) for length in lengths]),
        "ends": torch.tensor(ends, dtype=torch.int32),
        "rows": torch.tensor(rows),
        "targets": ids[torch.tensor(rows) + 1],
    }
    return {name: tensor.to(device) for name, tensor in tensors.items()} | {"lengths": lengths}


def whole(*pieces: dict[str, Any]) -> dict[str, Any]:
    """A batch of these pieces."""
    return {"pieces": list(pieces)}


def reference_loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The summed loss through PEFT and transformers, one document at a time."""
    total, rows = torch.zeros(()), set(batch["rows"].tolist())
    for start, end in itertools.pairwise(batch["ends"].tolist()):
        ids = batch["input_ids"][start:end]
        logits = model(input_ids=ids[None]).logits[0]
        for row in range(start, end):
            if row in rows:
                target = batch["input_ids"][row + 1]
                total = total + torch.nn.functional.cross_entropy(logits[row - start], target)
    return total


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad(set_to_none=True)
    return found
