"""How much device memory a training takes at its peak, from settings and shape alone.

No weights are read and no torch is imported, so that the form can show it while one types, also
for a model that is not downloaded. What is counted exactly (weights, adapter, gradients, optimizer
state) and what follows a formula (activations, loss) stand side by side in `Estimate`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields

from core.config.schema import RunConfig
from core.model.activations import Dims, Work, activations, loss_bytes
from core.model.fast import plan as fast
from core.model.fast.known import ARCHITECTURES, odd_window
from core.model.room import device_budget_bytes
from core.model.shapes import Linear, ModelShape, beyond_context, check_target_modules

CONTEXT_BYTES = 512 << 20
"""The CUDA context with the kernels that were loaded, outside of torch's allocator."""


_BLOCK, _OUTER_BLOCK = 64, 256
"""Weights for each absmax of a 4-bit tensor, and absmax values for each of the second level."""
_LEAST_8BIT = 4096
"""Tensors with fewer numbers keep their optimizer state in 32 bit, as bitsandbytes does."""
_STATE_BLOCK = 256
_CPU_NOTE = "the process takes 1 to 2 GiB of RAM more: libraries, and what the allocator holds back"
_TOLD_BYTES = fast.GIB // 10
"""Less than this is not worth a note."""
_PROCESSORS = 132
"""Multiprocessors of a large GPU (H100), over which flash attention spreads its sums."""
NO_HOST_ROOM = "the fused path needs more free memory (RAM) of the host"
_GROUPS = {
    "q_proj": "attention", "k_proj": "attention", "v_proj": "attention", "o_proj": "output",
    "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "down",
    "qkv_proj": "attention", "gate_up_proj": "mlp",
}  # fmt: skip
"""Layers that read the same tensor; it is kept once for all of a group."""
_ATTENTION = ("attention", "output")


@dataclass(frozen=True)
class Estimate:
    """Bytes at the peak, part by part, and how the training runs that they are reckoned for."""

    weights: int
    """Linear layers of the base as they are stored, constants included, and its norms."""
    head: int
    embedding: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    """What the forward pass keeps for the backward pass."""
    layer: int
    """The layer that the backward pass is at, recomputed or not, with its gradients."""
    loss: int
    """What the loss needs at its own peak beyond `layer`, which is not there at that time."""
    scratch: int
    """The largest weight, dequantized for one product."""
    context: int
    path: str = "PEFT"
    why: str = ""
    notes: tuple[str, ...] = ()
    """What makes the figures rough."""

    @property
    def parts(self) -> dict[str, int]:
        """The parts by name, in the order of the table."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, int)}

    @property
    def total(self) -> int:
        """All parts: device memory above what others use."""
        return sum(self.parts.values())

    @property
    def allocated(self) -> int:
        """What torch's own peak counter would show: all but the context."""
        return self.total - self.context


def estimate(
    config: RunConfig,
    shape: ModelShape,
    *,
    gpu: bool = True,
    bf16: bool = True,
    no_fp8: str = "",
    adapter_bytes: int = 4,
    free_bytes: int | None = None,
    host_bytes: int | None = None,
) -> Estimate | None:
    """The peak of a training with these settings; None when the shape tells too little.

    Rows are taken to be as long as ``data.max_length`` allows. ``gpu`` False reckons for a CPU,
    where everything unquantized is fp32; ``bf16`` False for a GPU that does not have it,
    ``no_fp8`` why it does not multiply in FP8. Adapters are kept in fp32 (``adapter_bytes``). The
    fused path is planned for ``free_bytes`` of the GPU and ``host_bytes`` of RAM; where they are
    None, as small as it can be, in any amount of RAM.
    """
    dims = dims_of(shape)
    if dims is None:
        return None
    storage, compute = _widths(config, gpu)
    layers = linears_of(shape, dims)
    adapted = adapted_of(config, layers)
    count = sum(_adapter_tensors_size(config, one) * one.count for one in adapted)
    head, embedding = _ends(shape, dims, storage)
    work = work_of(config, adapted, compute, shape=shape)
    path, why = path_of(config, shape, gpu=gpu, bf16=bf16, no_fp8=no_fp8)
    if path == "fused":
        found = _fused(config, shape, dims, free_bytes, host_bytes)
        if found is not None:
            return found
        path, why = "PEFT", NO_HOST_ROOM
    if config.train.fp8:
        why = f"{why}, and train.fp8 is for the fused path alone: this training is refused"
    live = activations(path, dims, work)
    tile = loss_bytes(dims, work)
    return Estimate(
        weights=sum(stored_bytes(config, one, storage) for one in layers)
        + _others(shape, dims, layers) * storage,
        head=head,
        embedding=embedding,
        adapter=count * adapter_bytes,
        gradients=count * adapter_bytes,
        optimizer=sum(optimizer_bytes(config, one) for one in adapted),
        activations=live.kept,
        layer=live.layer,
        loss=max(0, tile - live.layer),
        scratch=_scratch(config, layers, compute),
        context=CONTEXT_BYTES if gpu else 0,
        path=path,
        why=why,
        notes=(*_notes(config, shape, path), *([] if gpu else [_CPU_NOTE])),
    )


def path_of(
    config: RunConfig, shape: ModelShape, *, gpu: bool, bf16: bool = True, no_fp8: str = ""
) -> tuple[str, str]:
    """Which training path a run takes by its settings, and why the fused one is not taken.

    ``no_fp8`` says why the GPU does not multiply in FP8, if so. The model itself is looked at once
    it is loaded (``core.model.fast.route``).
    """
    odd = shape.odd or odd_window(shape.window, config.data.max_length)
    why = {
        f"{shape.architecture} takes more than text: its language model alone is trained, on the "
        "plain path": shape.more_than_text,
        f"{shape.architecture} is a mixture of experts: plain path, adapters on attention, experts "
        "frozen in 16 bit": shape.experts > 1,
        "train.path asks for it": config.train.path == "peft",
        "the fused path is for NVIDIA GPUs": not gpu,
        "the fused path is for NF4 bases": config.quantization.label != "NF4",
        "the fused path knows no DoRA": config.adapter.use_dora,
        "the fused path computes in bf16 alone": not _bf16(config),
        "the fused path computes in bf16, which this GPU does not": not bf16,
        no_fp8: config.train.fp8 and bool(no_fp8),
        f"the fused path does not know {shape.architecture}": shape.architecture
        not in ARCHITECTURES,
        f"the fused path is not written for this: {odd}": bool(odd),
    }
    found = [text for text, holds in why.items() if holds]
    return ("PEFT", found[0]) if found else ("fused", "")


def _bf16(config: RunConfig) -> bool:
    wanted = {config.model.dtype, config.quantization.bnb_4bit_compute_dtype}
    return wanted <= {"auto", "bfloat16"}


def fused_dims(config: RunConfig, shape: ModelShape, dims: Dims) -> fast.Dims:
    """The numbers that the fused path's plan is made from."""
    return fast.Dims(
        dims.layers, dims.hidden, dims.intermediate, dims.queries, dims.keys, dims.vocab,
        shape.tied, config.adapter.r, dims.heads,
        math.ceil(_PROCESSORS / dims.heads) if config.train.full_determinism else 1,
        dims.head_norms, config.train.fp8,
    )  # fmt: skip


def told_of(config: RunConfig, plan: fast.Plan) -> str:
    """How the fused path runs, in a few words for the log: its plan, and FP8 where it is on."""
    return f"{plan.told}, products in FP8 (e4m3)" if config.train.fp8 else plan.told


def _fused(
    config: RunConfig, shape: ModelShape, dims: Dims, free: int | None, host: int | None
) -> Estimate | None:
    """The plan that a run would make there; None where it takes more RAM than there is."""
    numbers, limit = fused_dims(config, shape, dims), config.memory.limit_gib
    budget = int((limit or 0) * fast.GIB) if free is None else device_budget_bytes(limit, free)
    plan, least = (_planned(config, numbers, room, host) for room in (budget, 0))
    if plan is None or least is None:
        return None
    state = fast.state_bytes(config.train.optim)
    parts = fast.parts(numbers, plan, state)
    ends = parts["embedding and head"]
    head = min(ends, dims.vocab * dims.hidden * 2)
    total, smallest = (fast.peak_bytes(numbers, one, state) for one in (plan, least))
    return Estimate(
        weights=parts["weights"],
        head=head,
        embedding=ends - head,
        adapter=parts["adapter"],
        gradients=parts["gradients"],
        optimizer=parts["optimizer"],
        activations=parts["activations"] + parts["kept layers"],
        layer=0,
        loss=0,
        scratch=parts["dequantized weights, logits"] + parts["workspace of products"],
        context=fast.around_bytes(plan),
        path="fused",
        why=told_of(config, plan),
        notes=tuple(
            filter(
                None,
                (
                    beyond_limit(config, shape, dims, plan),
                    *_room_notes(total, smallest, fast.host_bytes(numbers, plan), free is None),
                    *_notes(config, shape, "fused"),
                ),
            )
        ),
    )


def beyond_limit(config: RunConfig, shape: ModelShape, dims: Dims, plan: fast.Plan) -> str:
    """A sentence where the fused path's smallest plan takes more than its limit; else empty."""
    limit, state = config.memory.limit_gib, fast.state_bytes(config.train.optim)
    needs = fast.peak_bytes(fused_dims(config, shape, dims), plan, state)
    if limit is None or needs <= limit * fast.GIB:
        return ""
    return f"memory.limit_gib is {limit:g}, and it takes {needs / fast.GIB:.1f} at the least"


def _planned(
    config: RunConfig, numbers: fast.Dims, limit_bytes: int, host: int | None
) -> fast.Plan | None:
    return fast.choose(
        numbers,
        length=config.data.max_length,
        effective_batch=config.effective_batch,
        limit_bytes=limit_bytes,
        host_limit_bytes=sys.maxsize if host is None else host,
        state_bytes=fast.state_bytes(config.train.optim),
    )


def _room_notes(total: int, smallest: int, host: int, unknown: bool) -> Iterator[str]:
    """How much less would do, and what it takes beside the device's memory."""
    if total - smallest > _TOLD_BYTES:
        yield (
            f"memory is used to save work: {smallest / fast.GIB:.1f} GiB would do, more slowly "
            "(memory.limit_gib)"
        )
    elif unknown:
        yield "this is the least that it needs; it uses what is free to save work"
    if host > _TOLD_BYTES:
        yield f"{host / fast.GIB:.1f} GiB of RAM hold what waits for the GPU"


# --- shape ----------------------------------------------------------------------------------------


def dims_of(shape: ModelShape) -> Dims | None:
    """The sizes of a model, with usual values for those that its configuration does not name."""
    hidden, layers, vocab = shape.hidden_size, shape.layers, shape.vocab_size
    if not hidden or not layers or not vocab:
        return None
    heads = shape.heads or max(1, hidden // 128)
    width = shape.head_dim or hidden // heads
    intermediate = shape.intermediate_size or 4 * hidden
    # Two of the experts is what mixtures take that do not say.
    routes = (shape.experts_per_token or 2) if shape.experts > 1 else 0
    return Dims(
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        vocab=vocab,
        heads=heads,
        queries=heads * width,
        keys=(shape.kv_heads or heads) * width,
        head_norms=shape.architecture.startswith(("Qwen3", "Gemma3")),
        norms=4 if shape.architecture.startswith(("Gemma2", "Gemma3")) else 2,
        routes=routes,
        mlp=routes * (shape.expert_size or intermediate),
        capped_scores=shape.architecture.startswith("Gemma2"),
    )


def linears_of(shape: ModelShape, dims: Dims) -> tuple[Linear, ...]:
    """The linear layers: from the headers of the weights, else as Llama and its kin have them."""
    if shape.linears is not None:
        return shape.linears
    hidden, wide, count = dims.hidden, dims.intermediate, dims.layers
    return (
        Linear("q_proj", dims.queries, hidden, count),
        Linear("k_proj", dims.keys, hidden, count),
        Linear("v_proj", dims.keys, hidden, count),
        Linear("o_proj", hidden, dims.queries, count),
        Linear("gate_proj", wide, hidden, count),
        Linear("up_proj", wide, hidden, count),
        Linear("down_proj", hidden, wide, count),
    )


def adapted_of(config: RunConfig, layers: tuple[Linear, ...]) -> tuple[Linear, ...]:
    """The layers that get an adapter."""
    targets = config.adapter.target_modules
    layers = tuple(one for one in layers if one.text)
    if isinstance(targets, str):
        mixture = any(one.expert for one in layers)
        return tuple(one for one in layers if not mixture or _GROUPS.get(one.name) in _ATTENTION)
    names = {target.rsplit(".", 1)[-1] for target in targets}
    return tuple(one for one in layers if one.name in names)


def _ends(shape: ModelShape, dims: Dims, storage: int) -> tuple[int, int]:
    """Bytes of the output head and of the embedding; a tied head takes none of its own."""
    size = dims.vocab * dims.hidden * storage
    return (0 if shape.tied else size), size


def _others(shape: ModelShape, dims: Dims, layers: tuple[Linear, ...]) -> int:
    """Parameters that are neither linear layers nor embedding nor head: norms and biases."""
    if shape.parameters is None or shape.linears is None:
        return dims.hidden * (2 * dims.layers + 1)
    known = sum(one.outputs * one.inputs * one.count for one in layers)
    ends = dims.vocab * dims.hidden * (1 if shape.tied else 2)
    return max(0, shape.parameters - known - ends)


def _notes(config: RunConfig, shape: ModelShape, path: str) -> tuple[str, ...]:
    notes = [beyond_context(config.data.max_length, shape.context_length)]
    wrong = check_target_modules(config.adapter.target_modules, shape)
    notes += [f"adapter.target_modules: {wrong}"] if wrong else []
    if shape.quantization:
        notes.append(f"it is quantized already ({shape.quantization}): a training refuses it")
    if config.memory.limit_gib and path == "PEFT":
        notes.append(
            "memory.limit_gib shapes the fused path alone: PEFT's layers take what is here"
        )
    if shape.linears is None:
        notes.append("the weights are not here: layers are taken to be those of a Llama")
    if shape.experts > 1:
        notes.append("experts are not quantized (bitsandbytes knows linear layers alone)")
        notes += [] if shape.linears else ["experts are not reckoned with: the figures are rough"]
    if shape.more_than_text:
        notes.append("what it takes beside text is not trained")
    if shape.intermediate_size is None or shape.heads is None:
        notes.append("its config.json does not name all sizes: activations are rough")
    return tuple(filter(None, notes))


# --- what lies there all the time -----------------------------------------------------------------


def stored_bytes(config: RunConfig, layer: Linear, storage: int) -> int:
    """Bytes of a base's linear layers as the settings store them, constants included."""
    wish, size = config.quantization, layer.outputs * layer.inputs
    if layer.expert:
        return size * storage * layer.count
    if wish.load_in_4bit:
        blocks = math.ceil(size / _BLOCK)
        constants = 4 * blocks
        if wish.bnb_4bit_use_double_quant:
            # One byte a block; the blocks of these have a float each, all of them one offset.
            constants = blocks + 4 * math.ceil(blocks / _OUTER_BLOCK)
        return (math.ceil(size / 2) + constants) * layer.count
    if wish.load_in_8bit:
        return (size + 4 * layer.outputs) * layer.count
    return size * storage * layer.count


def _adapter_tensors(config: RunConfig, layer: Linear) -> tuple[int, ...]:
    """Numbers in each tensor that one layer's adapter trains."""
    rank = config.adapter.r
    pair = (rank * layer.inputs, rank * layer.outputs)
    return (*pair, layer.outputs) if config.adapter.use_dora else pair


def _adapter_tensors_size(config: RunConfig, layer: Linear) -> int:
    return sum(_adapter_tensors(config, layer))


def optimizer_bytes(config: RunConfig, layer: Linear) -> int:
    """Both moments of Adam for the adapters of a layer, wherever they are kept."""
    eight_bit = "8bit" in config.train.optim
    total = 0
    for size in _adapter_tensors(config, layer):
        if eight_bit and size >= _LEAST_8BIT:
            total += 2 * (size + 4 * math.ceil(size / _STATE_BLOCK))
        else:
            total += 8 * size
    return total * layer.count


def _scratch(config: RunConfig, layers: tuple[Linear, ...], compute: int) -> int:
    if not (config.quantization.load_in_4bit or config.quantization.load_in_8bit):
        return 0
    return compute * max((one.outputs * one.inputs for one in layers if not one.expert), default=0)


# --- what comes and goes --------------------------------------------------------------------------


def work_of(
    config: RunConfig,
    adapted: tuple[Linear, ...],
    compute: int,
    *,
    shape: ModelShape | None = None,
    inputs_kept: bool = False,
) -> Work:
    """What settings and model ask of the activations.

    ``inputs_kept``: all layers learn themselves, so that each keeps its input.
    """
    dropped: dict[str, int] = {}
    for name in {one.name for one in adapted}:
        group = _GROUPS.get(name, "mlp")
        dropped[group] = dropped.get(group, 0) + 1
    attention = config.model.attn_implementation
    return Work(
        batch=config.train.per_device_train_batch_size,
        length=config.data.max_length,
        compute_bytes=compute,
        dropout=config.adapter.lora_dropout > 0,
        checkpointing=config.train.activation_checkpointing,
        packing=config.data.packing,
        eager=attention == "eager" or (attention == "auto" and bool(shape and shape.eager)),
        groups=frozenset(_GROUPS.values()) if inputs_kept else frozenset(dropped),
        dropped=dropped,
        dora=tuple(dict.fromkeys(adapted)) if config.adapter.use_dora else (),
        joined=any(one.name == "qkv_proj" for one in adapted),
        whole_logits=shape.whole_logits if shape else 0,
    )


def _widths(config: RunConfig, gpu: bool) -> tuple[int, int]:
    """Bytes of an unquantized weight and of an activation. auto is 16 bit on GPUs, else fp32."""

    def width(name: str) -> int:
        return (2 if gpu else 4) if name == "auto" else 4 if name == "float32" else 2

    storage = width(config.model.dtype)
    quantized = config.quantization.load_in_4bit
    return storage, width(config.quantization.bnb_4bit_compute_dtype) if quantized else storage
