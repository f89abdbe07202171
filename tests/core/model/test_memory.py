"""The estimate against measured peaks, and against what a really loaded model takes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.config.files import from_overrides
from core.config.schema import RunConfig
from core.model.fast.plan import Plan
from core.model.memory import (
    NO_HOST_ROOM,
    Estimate,
    dims_of,
    estimate,
    fused_dims,
    linears_of,
    told_of,
)
from core.model.shapes import ModelShape, shape_of

GIB = 1 << 30


def shape(
    hidden: int, wide: int, layers: int, heads: int, kv_heads: int, vocab: int, **more: Any
) -> ModelShape:
    return ModelShape(
        name="m", architecture=more.pop("architecture", "LlamaForCausalLM"), hidden_size=hidden,
        layers=layers, vocab_size=vocab, context_length=None, tied=more.pop("tied", False),
        quantization="", linear_names=None, parameters=None, size_bytes=None, dtype=None,
        intermediate_size=wide, heads=heads, kv_heads=kv_heads,
        head_dim=more.pop("head_dim", hidden // heads), **more,
    )  # fmt: skip


LLAMA_8B = shape(4096, 14336, 32, 32, 8, 128256)
LLAMA_1B = shape(2048, 8192, 16, 32, 8, 128256, tied=True)
QWEN_7B = shape(3584, 18944, 28, 28, 4, 152064, architecture="Qwen2ForCausalLM")


def config(**changes: str) -> RunConfig:
    """PEFT, two full rows of 2,048 tokens a micro-batch, rank 16 on all linears, no dropout."""
    values = {"lora_dropout": "0", "data.packing": "no", "data.max_length": "2048",
              "train.path": "peft"} | changes  # fmt: skip
    return from_overrides(values).config


def needed(wish: RunConfig, model: ModelShape, **more: Any) -> Estimate:
    found = estimate(wish, model, **more)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("model", "batch", "peak_gib"),
    [(LLAMA_8B, 2, 7.53), (LLAMA_8B, 8, 13.31), (LLAMA_1B, 2, 1.85), (QWEN_7B, 2, 7.31)],
)
def test_the_plain_path_is_within_five_percent_of_measured_peaks(
    model: ModelShape, batch: int, peak_gib: float
) -> None:
    # Measured on an H100 with TRL 1.16: bf16 adapters, and a loss whose tile is smaller than ours.
    found = needed(config(per_device_train_batch_size=str(batch)), model, adapter_bytes=2)
    assert (found.allocated - found.loss) / GIB == pytest.approx(peak_gib, rel=0.05)


def test_our_own_measured_run_is_within_five_percent() -> None:
    # docs/measured.md: device memory by NVML, context included.
    found = needed(config(lora_dropout="0.05"), LLAMA_8B)
    assert found.total / GIB == pytest.approx(8.95, rel=0.05)


def test_the_fused_path_is_reckoned_by_its_plan() -> None:
    # tests/core/model/fast/test_plan.py compares the plan's own figures with measured ones.
    wish = config(**{"train.path": "auto", "memory.limit_gib": "7.4",
                     "gradient_accumulation_steps": "4"})  # fmt: skip
    found = needed(wish, LLAMA_8B)
    assert found.path == "fused"
    assert found.why == "8 sequences a pass in 4 pieces, gate and up computed twice"
    assert 5.9 < found.allocated / GIB < found.total / GIB - 1.3 < 6.1


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


def test_what_is_free_is_planned_with_as_a_run_would() -> None:
    wish = config(**{"train.path": "auto"})
    least, small, large = (
        needed(wish, LLAMA_8B, free_bytes=None if gib is None else gib * GIB)
        for gib in (None, 10, 24)
    )
    assert least.total < small.total <= 9 * GIB < large.total <= 24 * GIB * 0.9
    assert any("this is the least" in note for note in least.notes)
    told = f"{least.total / GIB:.1f} GiB would do"
    assert any(told in note for note in large.notes)
    assert not any("would do" in note for note in least.notes)
    assert any("GiB of RAM hold" in note for note in large.notes)
    limited = config(**{"train.path": "auto", "memory.limit_gib": "8"})
    assert needed(limited, LLAMA_8B, free_bytes=24 * GIB).total <= 8 * GIB
    beyond = config(**{"train.path": "auto", "memory.limit_gib": "100"})
    assert needed(beyond, LLAMA_8B, free_bytes=24 * GIB) == large


def test_a_limit_that_cannot_be_kept_is_told() -> None:
    wish = config(**{"train.path": "auto", "memory.limit_gib": "3"})
    found = needed(wish, LLAMA_8B, free_bytes=24 * GIB)
    assert found.total > 3 * GIB
    assert f"memory.limit_gib is 3, and it takes {found.total / GIB:.1f} at the least" in (
        found.notes
    )
    plain = needed(config(**{"memory.limit_gib": "3"}), LLAMA_8B)
    assert any("shapes the fused path alone" in note for note in plain.notes)


def test_without_ram_for_the_fused_path_it_is_reckoned_for_peft() -> None:
    wish = config(**{"train.path": "auto"})
    found = needed(wish, LLAMA_8B, free_bytes=7 * GIB, host_bytes=GIB // 8)
    assert (found.path, found.why) == ("PEFT", NO_HOST_ROOM)


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
    assert any("quantized already (awq)" in note for note in quantized.notes)


def test_parts_follow_the_settings() -> None:
    plain = needed(config(), LLAMA_8B)
    assert needed(config(r="32"), LLAMA_8B).adapter == 2 * plain.adapter
    assert needed(config(), LLAMA_8B, adapter_bytes=2).gradients * 2 == plain.gradients
    assert needed(config(lora_dropout="0.1"), LLAMA_8B).layer > plain.layer
    assert needed(config(**{"data.packing": "yes"}), LLAMA_8B).layer > plain.layer
    assert needed(config(attn_implementation="eager"), LLAMA_8B).layer > plain.layer
    assert needed(config(optim="adamw_torch"), LLAMA_8B).optimizer == 2 * plain.adapter
    some = needed(config(target_modules="q_proj,v_proj"), LLAMA_8B)
    assert some.adapter == 4 * 32 * 16 * (4096 + 4096 + 4096 + 1024)
    assert some.layer < plain.layer
    kept = needed(config(activation_checkpointing="no"), LLAMA_8B)
    assert kept.total > 2 * plain.total
    eight = needed(config(load_in_4bit="no", load_in_8bit="yes"), LLAMA_8B)
    sixteen = needed(config(load_in_4bit="no"), LLAMA_8B)
    assert 1.9 < eight.weights / plain.weights < 2
    assert 1.9 < sixteen.weights / eight.weights < 2.01
    assert sixteen.scratch == 0
    assert needed(config(), LLAMA_1B).head == 0
    assert needed(config(), replace(LLAMA_8B, architecture="Qwen3ForCausalLM")).layer > plain.layer
    assert needed(config(use_dora="yes"), LLAMA_8B).adapter > plain.adapter


def test_the_sum_of_the_parts_is_the_total() -> None:
    found = needed(config(), QWEN_7B)
    assert found.total == sum(found.parts.values()) == found.allocated + found.context
    assert set(found.parts) == {
        "weights", "head", "embedding", "adapter", "gradients", "optimizer", "activations",
        "layer", "loss", "scratch", "context",
    }  # fmt: skip
    assert needed(config(), QWEN_7B, gpu=False).context == 0


def test_too_little_known_is_said() -> None:
    assert estimate(config(), replace(LLAMA_8B, hidden_size=None)) is None
    assert any("not here" in note for note in needed(config(), LLAMA_8B).notes)
    vague = replace(LLAMA_8B, intermediate_size=None, experts=8)
    notes = needed(config(), vague).notes
    assert any("experts" in note for note in notes)
    assert any("does not name all sizes" in note for note in notes)


def test_targets_that_a_model_lacks_are_told(tiny_model: Path) -> None:
    found = needed(config(target_modules="q_prj"), shape_of(str(tiny_model)))
    assert any("did you mean q_proj" in note for note in found.notes)


def test_rows_longer_than_the_model_reads_are_told() -> None:
    def told(context: int | None) -> bool:
        found = needed(config(), replace(LLAMA_8B, context_length=context))
        return any("data.max_length is 2,048" in note for note in found.notes)

    assert told(2047)
    assert not told(2048)
    assert not told(None)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\nimport core.model.fits, core.model.memory\n"
        "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True).returncode == 0


def test_layers_from_the_configuration_are_those_of_the_weights(tiny_model: Path) -> None:
    found = shape_of(str(tiny_model))
    dims = dims_of(found)
    assert dims is not None
    assert found.linears is not None
    assert set(linears_of(replace(found, linears=None), dims)) == set(found.linears)


@pytest.mark.trains
@pytest.mark.parametrize("changes", [{}, {"bnb_4bit_use_double_quant": "no"}, {"r": "4"}])
def test_what_can_be_counted_is_what_a_loaded_model_takes(
    tiny_model: Path, changes: dict[str, str]
) -> None:
    import torch

    from core.model import adapters, load
    from core.train.arguments import sft_config

    wish = config(**{"model.name_or_path": str(tiny_model), "devices": "cpu", **changes})
    expected = needed(wish, shape_of(str(tiny_model)), gpu=False)
    base = load.load_base(wish, quantized=True, device="cpu")
    head, embedding = base.get_output_embeddings().weight, base.get_input_embeddings().weight
    assert expected.head == head.nbytes
    assert expected.embedding == embedding.nbytes
    stored = sum(_stored(p) for p in base.parameters()) - head.nbytes - embedding.nbytes
    assert expected.weights == pytest.approx(stored, rel=0.01)
    model = adapters.attach(base, wish)
    learning = [p for p in model.parameters() if p.requires_grad]
    assert expected.adapter == sum(p.nbytes for p in learning)
    arguments = sft_config(wish, tiny_model, device="cpu", dtype=torch.float32)
    for p in learning:
        p.grad = torch.ones_like(p)
    optimizer = _optimizer(arguments, learning)
    optimizer.step()
    assert expected.gradients == sum(p.grad.nbytes for p in learning if p.grad is not None)
    state = sum(_tensor_bytes(values) for values in optimizer.state.values())
    # Two tables of 256 numbers are shared by all.
    assert expected.optimizer == pytest.approx(state, rel=0.02)


def _stored(parameter: Any) -> int:
    """Bytes of a parameter with its quantization constants."""
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return int(parameter.nbytes)
    constants = state.absmax.nbytes
    if state.nested:
        constants += state.state2.absmax.nbytes + state.offset.nbytes
    return int(parameter.nbytes + constants)


def _optimizer(arguments: Any, learning: list[Any]) -> Any:
    from transformers import Trainer

    kind, values = Trainer.get_optimizer_cls_and_kwargs(arguments)
    return kind(learning, **values)


def _tensor_bytes(values: dict[str, Any]) -> int:
    return sum(
        value.nbytes for name, value in values.items()
        if hasattr(value, "nbytes") and not name.startswith("qmap") and value.ndim
    )  # fmt: skip
