"""What fits where: a run's estimate against the memory that is free, and model sizes on a card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from core.config.errors import FinetuiError, InputError
from core.config.schema import RunConfig
from core.model import liger
from core.model.activations import activations
from core.model.look import Look, look_at
from core.model.memory import Estimate, estimate
from core.model.room import SHARE, free_memory_bytes
from core.model.shapes import ModelShape, check_target_modules, unknown_targets
from core.model.sizes import dims_of, linears_of, work_of
from core.monitor.devices import Gpu, Listing, before_fp8, listing, pick
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
    limit_bytes: int | None = None
    """``memory.limit_gib``, on a GPU."""
    config: RunConfig = field(default_factory=RunConfig)
    """The settings that it is reckoned for."""
    imagined: bool = False
    """The GPU is one that was asked about, of which nobody else takes anything."""
    host_bytes: int | None = None
    """RAM that is planned with; None: as much as it takes."""

    @property
    def room_bytes(self) -> int:
        """What it may take: what is free, or less where a limit is set."""
        return self.free_bytes if self.limit_bytes is None else min(
            self.free_bytes, self.limit_bytes
        )  # fmt: skip

    @property
    def enough(self) -> bool:
        """There is room for all that is reckoned with."""
        return self.estimate.total <= self.room_bytes

    @property
    def fits(self) -> bool:
        """A training with these settings starts, and has room: told only where all is known."""
        found = self.estimate
        return self.enough and not found.refused and not found.untold


def reckon(
    config: RunConfig,
    card_bytes: int | None = None,
    ram_bytes: int | None = None,
    *,
    look: Look | None = None,
) -> Fit | None:
    """Estimate a run on the device that it would take; None when too little of its model is known.

    ``card_bytes`` reckons for a GPU with so much memory instead, whatever this machine has, beside
    ``ram_bytes`` of free RAM, or any amount.
    ``look`` is what is seen of the run's model, from whoever has looked already. Raises InputError
    for what is no model, and for a device that is not there.
    """
    seen = look or look_at(config.model.name_or_path, config.model.revision)
    shape = seen.known()
    limit = config.memory.limit_gib
    if card_bytes is not None:
        place, ram = _Place("a GPU", card_bytes), ram_bytes
    else:
        place, ram = _device(config), free_memory_bytes()
    host = None if ram is None else int(ram * SHARE)
    found = estimate(
        config, shape, gpu=place.on_gpu, bf16=place.bf16, no_fp8=place.no_fp8,
        free_bytes=place.free_bytes, host_bytes=host,
    )  # fmt: skip
    if found is None:
        return None
    limit_bytes = int(limit * _GIB) if limit and place.on_gpu else None
    return Fit(
        found, place.name, place.free_bytes, place.on_gpu, limit_bytes, config,
        card_bytes is not None, host,
    )  # fmt: skip


def check_start(config: RunConfig, look: Look | None = None) -> None:
    """Raise InputError where it is known already that a training is refused, before a run begins.

    Of a model that cannot be looked at, and of a device that is not there, the run itself will say.
    """
    try:
        seen = look or look_at(config.model.name_or_path, config.model.revision)
        fit = reckon(config, look=seen)
    except FinetuiError:
        return
    if fit is not None and fit.estimate.refused:
        raise _refusal(config, seen.known(), fit.estimate)


def _refusal(config: RunConfig, shape: ModelShape, found: Estimate) -> InputError:
    """What to do about a training that is refused: first what stands first in the estimate."""
    of_model = f"{config.model.name_or_path} cannot be trained: {found.refused}"
    if shape.quantization:
        fix = "name the original 16-bit model: it is quantized while it loads"
        return InputError(of_model, kind="already_quantized", remedies=(fix,))
    if shape.unloadable:
        fix = "take the config.json that the model came with, or download it again"
        return InputError(of_model, kind="unknown_architecture", remedies=(fix,))
    if check_target_modules(config.adapter.target_modules, shape):
        return unknown_targets(found.refused)
    fixes = ("set train.fp8 to no", "or change what stands in the way")
    return InputError(found.why, kind="no_fp8", remedies=fixes)


@dataclass(frozen=True)
class _Place:
    """Where a run would compute."""

    name: str
    free_bytes: int
    on_gpu: bool = True
    bf16: bool = True
    no_fp8: str = ""
    """Why it does not multiply in FP8, if so."""


def _device(config: RunConfig) -> _Place:
    found = listing()
    chosen = pick(config.run.devices, found)
    if chosen.uuid is None:
        return _Place("CPU", free_memory_bytes(), on_gpu=False)
    gpu = next(gpu for gpu in found.gpus if gpu.uuid == chosen.uuid)
    no_fp8 = before_fp8(chosen.name, gpu.capability)
    return _Place(chosen.name, gpu.free_bytes, bf16=gpu.bf16, no_fp8=no_fp8)


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


def need(
    method: str, shape: ModelShape, *, bf16: bool = True, host_bytes: int | None = None
) -> int:
    """Bytes that training a size takes: one sequence of 2,048 tokens, rank 16, all linear layers.

    ``bf16`` False is for a GPU that does not have it, and so no fused path, which also takes RAM:
    ``host_bytes`` of it, None where it does not matter. ``full`` is for comparison: finetui trains
    adapters.
    """
    config = RunConfig.model_validate(
        {
            "quantization": {"load_in_4bit": method == "QLoRA"},
            "train": {"per_device_train_batch_size": 1},
        }
    )
    found, dims = estimate(config, shape, bf16=bf16, host_bytes=host_bytes), dims_of(shape)
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
            yield _finding(gpu, method)


def paths(found: Listing | None = None) -> Iterator[Finding]:
    """How models of each kind train here; nothing where there is no GPU."""
    gpus = (listing() if found is None else found).gpus
    if not gpus:
        return
    version = liger.installed()
    layers = f"with those of Liger {version}" if version else "with Liger's where it is installed"
    fused = "fused for Llama, Mistral, Qwen 2 and Qwen 3 in NF4; "
    others = "other dense models and DoRA"
    if not any(gpu.bf16 for gpu in gpus):
        fused = ""
        others = "dense models (the fused path computes in bf16, which no GPU here does)"
    text = (
        f"{fused}PEFT's layers for {others}, {layers}; PEFT's as they are for mixtures of experts "
        "(16 bit) and for models of more than text"
    )
    fix = "" if version else "for Liger's layers: python -m pip install 'finetui[liger]'"
    yield Finding("Paths", "ok", text, fix)


def _finding(gpu: Gpu, method: str) -> Finding:
    host = int(free_memory_bytes() * SHARE)
    needs = {shape.name: need(method, shape, bf16=gpu.bf16, host_bytes=host) for shape in SIZES}
    total_bytes = gpu.total_bytes
    fitting = [name for name, size in needs.items() if size <= total_bytes]
    listed = ", ".join(f"{name} {size / _GIB:.1f}" for name, size in needs.items())
    said = f"up to {fitting[-1]}" if fitting else "none of the usual sizes"
    text = f"{said} in {total_bytes / _GIB:.1f} GiB (estimates: {listed}; {WORKLOAD})"
    level: Level = "ok" if fitting or method != "QLoRA" else "warn"
    fix = "" if level == "ok" else "take a smaller model: finetui estimate says what it needs"
    return Finding(f"Fits {gpu.index}", level, f"{method}: {text}", fix)
