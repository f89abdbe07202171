"""What fits where: a run's estimate against the memory that is free, and model sizes on a card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.config.schema import RunConfig
from core.model import liger
from core.model.memory import Estimate, activations, dims_of, estimate, linears_of, work_of
from core.model.room import free_memory_bytes
from core.model.shapes import ModelShape, shape_of
from core.monitor.devices import Listing, listing, pick
from core.monitor.doctor import Finding, Level

_GIB = 1 << 30
_FULL_BYTES = 16
"""Of a parameter under full fine-tuning: bf16 weight and gradient, fp32 master and both moments."""


@dataclass(frozen=True)
class Fit:
    """An estimate, and the memory there is for it."""

    estimate: Estimate
    device: str
    """Name of the GPU, or CPU."""
    free_bytes: int
    on_gpu: bool

    @property
    def fits(self) -> bool:
        return self.estimate.total <= self.free_bytes


def reckon(config: RunConfig, card_bytes: int | None = None) -> Fit | None:
    """Estimate a run on the device that it would take; None when too little of its model is known.

    ``card_bytes`` reckons for a GPU with so much memory instead, whatever this machine has. Raises
    InputError for what is no model, and for a device that is not there.
    """
    shape = shape_of(config.model.name_or_path, config.model.revision)
    if card_bytes is not None:
        device, free, gpu = "a GPU", card_bytes, True
    else:
        device, free, gpu = _device(config)
    found = estimate(config, shape, gpu=gpu)
    return None if found is None else Fit(found, device, free, gpu)


def _device(config: RunConfig) -> tuple[str, int, bool]:
    found = listing()
    chosen = pick(config.run.devices, found)
    if chosen.uuid is None:
        return "CPU", free_memory_bytes(), False
    free = next((gpu.free_bytes for gpu in found.gpus if gpu.uuid == chosen.uuid), 0)
    return chosen.name, free, True


# --- sizes on a card ------------------------------------------------------------------------------


def _llama(
    name: str, hidden: int, wide: int, layers: int, heads: int, kv_heads: int, vocab: int
) -> ModelShape:
    return ModelShape(
        name=name, architecture="LlamaForCausalLM", hidden_size=hidden, layers=layers,
        vocab_size=vocab, context_length=None, tied=False, quantization="", linear_names=None,
        parameters=None, size_bytes=None, dtype=None, intermediate_size=wide, heads=heads,
        kv_heads=kv_heads, head_dim=hidden // heads,
    )  # fmt: skip


SIZES = (
    _llama("7B", 4096, 11008, 32, 32, 32, 32000),
    _llama("13B", 5120, 13824, 40, 40, 40, 32000),
    _llama("34B", 8192, 22016, 48, 64, 8, 32000),
    _llama("70B", 8192, 28672, 80, 64, 8, 128256),
)
"""Llama-2-7B and -13B, Code Llama 34B, Llama-3.1-70B: what people mean by these sizes."""

METHODS = ("QLoRA", "LoRA 16-bit", "full")
WORKLOAD = "1 x 2048 tokens, rank 16"


def need(method: str, shape: ModelShape) -> int:
    """Bytes that training a size takes: one sequence of 2,048 tokens, rank 16, all linear layers.

    ``full`` is for comparison: finetui trains adapters.
    """
    config = RunConfig.model_validate(
        {
            "quantization": {"load_in_4bit": method == "QLoRA"},
            "train": {"per_device_train_batch_size": 1},
        }
    )
    found, dims = estimate(config, shape), dims_of(shape)
    assert found is not None
    assert dims is not None
    if method != "full":
        return found.total
    layers = linears_of(shape, dims)
    parameters = sum(one.outputs * one.inputs * one.count for one in layers)
    parameters += dims.vocab * dims.hidden * (1 if shape.tied else 2)
    live = activations("PEFT", dims, work_of(config, (), 2, inputs_kept=True))
    return parameters * _FULL_BYTES + live.kept + live.layer + found.loss + found.context


def findings(found: Listing | None = None) -> Iterator[Finding]:
    """Which model sizes each GPU can train, by method; nothing where there is no GPU."""
    for gpu in (listing() if found is None else found).gpus:
        for method in METHODS:
            yield _finding(gpu.index, gpu.total_bytes, method)


def paths(found: Listing | None = None) -> Iterator[Finding]:
    """How models of each kind train here; nothing where there is no GPU."""
    if not (listing() if found is None else found).gpus:
        return
    version = liger.installed()
    layers = f"with those of Liger {version}" if version else "with Liger's where it is installed"
    text = (
        "fused for Llama, Mistral, Qwen 2 and Qwen 3 in NF4; PEFT's layers for other dense models "
        f"and DoRA, {layers}; PEFT's as they are for mixtures of experts (16 bit) and for models "
        "of more than text"
    )
    fix = "" if version else "for Liger's layers: python -m pip install 'finetui[liger]'"
    yield Finding("Paths", "ok", text, fix)


def _finding(index: int, total_bytes: int, method: str) -> Finding:
    needs = {shape.name: need(method, shape) for shape in SIZES}
    fitting = [name for name, size in needs.items() if size <= total_bytes]
    listed = ", ".join(f"{name} {size / _GIB:.1f}" for name, size in needs.items())
    said = f"up to {fitting[-1]}" if fitting else "none of the usual sizes"
    text = f"{said} in {total_bytes / _GIB:.1f} GiB (estimates: {listed}; {WORKLOAD})"
    level: Level = "ok" if fitting or method != "QLoRA" else "warn"
    fix = "" if level == "ok" else "take a smaller model: finetui estimate says what it needs"
    return Finding(f"Fits {index}", level, f"{method}: {text}", fix)
