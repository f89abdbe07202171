"""How much device memory a training takes at its peak, from settings and shape alone.

No weights are read and no torch is imported, so that the form can show it while one types, also
for a model that is not downloaded. What is counted exactly (weights, adapter, gradients, optimizer
state: ``stored``) and what follows a formula (``activations``) stand side by side in `Estimate`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from core.config.schema import RunConfig
from core.model import stored
from core.model.activations import Dims, activations, loss_bytes
from core.model.fast import footprint
from core.model.fast.dims import Dims as FastDims
from core.model.fast.plan import Plan, choose
from core.model.ram import MoreRam, enough, no_host_room
from core.model.room import device_budget_bytes, needed_gib
from core.model.shapes import ModelShape, beyond_context, check_target_modules
from core.model.sizes import adapted_of, dims_of, linears_of, untold_experts, work_of
from core.model.training_path import beyond_limit, fused_dims, path_of, told_of

_CPU_NOTE = "the process takes 1 to 2 GiB of RAM more: libraries, and what the allocator holds back"
_FP8_ALONE = "train.fp8 is for the fused path alone"
_UNTOLD = "config.json does not tell its experts, and they are most of such a model"
_TOLD_BYTES = footprint.GIB // 10
"""Less than this is not worth a note."""


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
    """What products work in: the largest weight, dequantized for one of them; on the fused path a
    group of weights or the logits, whichever is more, and what cuBLAS works in."""
    context: int
    """What CUDA, its libraries and kernels take; on the fused path also page tables of pinned RAM,
    and what the allocator holds beyond tensors."""
    path: str = "PEFT"
    why: str = ""
    notes: tuple[str, ...] = ()
    """What makes the figures rough."""
    untold: str = ""
    """Why it takes more than this, by how much cannot be told; empty where all is reckoned with."""
    refused: str = ""
    """Why a training with these settings is refused; empty where it is not."""
    host: int = 0
    """RAM that holds what waits for the GPU."""
    in_ram: frozenset[str] = frozenset()
    """The parts that are there instead of on the device: embedding, head."""
    more_ram: MoreRam | None = None
    """How the fused path would fit with more RAM, where RAM is what it lacks."""

    @property
    def parts(self) -> dict[str, int]:
        """The parts by name, in the order of the table."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if isinstance(value, int) and name != "host"
        }

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
    path, why = path_of(config, shape, gpu=gpu, bf16=bf16, no_fp8=no_fp8)
    more_ram = None
    if path == "fused":
        found = _fused(config, shape, dims, free_bytes, host_bytes)
        if found is not None:
            return found
        numbers = fused_dims(config, shape, dims)
        more_ram = _more_ram(config, numbers, free_bytes, host_bytes)
        why = no_host_room(numbers, host_bytes or 0)
    if config.train.fp8:
        why = f"{why}, and {_FP8_ALONE}: this training is refused"
    found = _peft(config, shape, dims, gpu=gpu, adapter_bytes=adapter_bytes)
    return replace(found, why=why, more_ram=more_ram)


def _peft(
    config: RunConfig, shape: ModelShape, dims: Dims, *, gpu: bool, adapter_bytes: int
) -> Estimate:
    """What PEFT's layers take; a micro-batch at a time, all of it on the device."""
    storage, compute = stored.widths(config, gpu)
    layers = linears_of(shape, dims)
    adapted = adapted_of(config, layers)
    count = sum(stored.adapter_numbers(config, one) for one in adapted)
    head, embedding = stored.ends_bytes(shape, dims, storage)
    work = work_of(config, adapted, compute, shape=shape)
    live, tile = activations("PEFT", dims, work), loss_bytes(dims, work)
    return Estimate(
        weights=sum(stored.linear_bytes(config, one, storage) for one in layers)
        + stored.other_parameters(shape, dims, layers) * storage,
        head=head,
        embedding=embedding,
        adapter=count * adapter_bytes,
        gradients=count * adapter_bytes,
        optimizer=sum(stored.optimizer_bytes(config, one) for one in adapted),
        activations=live.kept,
        layer=live.layer,
        loss=max(0, tile - live.layer),
        scratch=stored.scratch_bytes(config, layers, compute),
        context=footprint.CONTEXT_BYTES if gpu else 0,
        path="PEFT",
        notes=(*_notes(config, shape, "PEFT"), *([] if gpu else [_CPU_NOTE])),
        untold=_UNTOLD if untold_experts(shape) else "",
        refused=_refused(config, shape, "PEFT"),
    )


def _fused(
    config: RunConfig, shape: ModelShape, dims: Dims, free: int | None, host: int | None
) -> Estimate | None:
    """The plan that a run would make there; None where it takes more RAM than there is."""
    numbers, limit = fused_dims(config, shape, dims), config.memory.limit_gib
    budget = int((limit or 0) * footprint.GIB) if free is None else device_budget_bytes(limit, free)
    plan, least = (_planned(config, numbers, room, host) for room in (budget, 0))
    if plan is None or least is None:
        return None
    state = footprint.state_bytes(config.train.optim)
    parts = footprint.parts(numbers, plan, state)
    ends = parts["embedding and head"]
    head = min(ends, dims.vocab * dims.hidden * 2)
    total, smallest = (footprint.peak_bytes(numbers, one, state) for one in (plan, least))
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
        context=footprint.around_bytes(numbers, plan),
        path="fused",
        why=told_of(config, plan),
        refused=_refused(config, shape, "fused"),
        host=footprint.host_bytes(numbers, plan),
        in_ram=plan.on_host,
        more_ram=_more_ram(config, numbers, free, host) if total > budget else None,
        notes=tuple(
            filter(
                None,
                (
                    beyond_limit(config, numbers, plan),
                    *_room_notes(
                        total, smallest, footprint.host_bytes(numbers, plan), free is None
                    ),
                    *_notes(config, shape, "fused"),
                ),
            )
        ),
    )


def _more_ram(
    config: RunConfig, numbers: FastDims, free: int | None, host: int | None
) -> MoreRam | None:
    """How it would fit the device with more RAM; None where that is not known or would not do."""
    if free is None or host is None:
        return None
    budget, state = device_budget_bytes(config.memory.limit_gib, free), config.train.optim
    return enough(
        lambda room: _planned(config, numbers, budget, room),
        lambda plan: footprint.peak_bytes(numbers, plan, footprint.state_bytes(state)),
        numbers, budget=budget, host=host, most=sys.maxsize,
    )  # fmt: skip


def _planned(
    config: RunConfig, numbers: FastDims, limit_bytes: int, host: int | None
) -> Plan | None:
    return choose(
        numbers,
        length=config.data.max_length,
        effective_batch=config.effective_batch,
        limit_bytes=limit_bytes,
        host_limit_bytes=sys.maxsize if host is None else host,
        state_bytes=footprint.state_bytes(config.train.optim),
    )


def _room_notes(total: int, smallest: int, host: int, unknown: bool) -> Iterator[str]:
    """How much less would do, and what it takes beside the device's memory."""
    if total - smallest > _TOLD_BYTES:
        yield (
            f"memory is used to save work: {needed_gib(smallest)} GiB would do, more slowly "
            "(memory.limit_gib)"
        )
    elif unknown:
        yield "this is the least that it needs; it uses what is free to save work"
    if host > _TOLD_BYTES:
        yield f"{host / footprint.GIB:.1f} GiB of RAM hold what waits for the GPU"


def _refused(config: RunConfig, shape: ModelShape, path: str) -> str:
    """Why a run on this path is refused before or while its model is loaded; empty: it is not."""
    if shape.quantization:
        return f"it is quantized already ({shape.quantization})"
    if shape.unloadable:
        return shape.unloadable
    if wrong := check_target_modules(config.adapter.target_modules, shape):
        return wrong
    return _FP8_ALONE if config.train.fp8 and path != "fused" else ""


def _notes(config: RunConfig, shape: ModelShape, path: str) -> tuple[str, ...]:
    notes = [beyond_context(config.data.max_length, shape.context_length)]
    if config.memory.limit_gib and path == "PEFT":
        notes.append(
            "memory.limit_gib shapes the fused path alone: PEFT's layers take what is here"
        )
    if shape.linears is None:
        known = ", its experts as config.json tells them" if shape.mixture else ""
        notes.append(f"the weights are not here: layers are taken to be those of a Llama{known}")
    if shape.experts > 1:
        notes.append("experts are not quantized (bitsandbytes knows linear layers alone)")
    if shape.more_than_text:
        notes.append("what it takes beside text is not trained")
    if shape.intermediate_size is None or shape.heads is None:
        notes.append("its config.json does not name all sizes: activations are rough")
    return tuple(filter(None, notes))
