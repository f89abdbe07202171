"""Which way a run trains: on the fused path, or through PEFT's layers; and why.

What settings, model shape and machine decide is foreseen before anything is loaded, because weights
that the fused path keeps in RAM must not pass through a GPU that has no room for them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch

from core.config.errors import RefusedError
from core.config.schema import RunConfig
from core.model import load as models
from core.model.fast.check import layer_fails
from core.model.fast.dims import Dims
from core.model.fast.footprint import state_bytes
from core.model.fast.fp8.check import refused as fp8_refused
from core.model.fast.plan import TILE_TOKENS, Plan, choose
from core.model.fast.route import kernels_fail, obstacle
from core.model.ram import no_host_room
from core.model.room import SHARE, device_budget_bytes, free_memory_bytes
from core.model.shapes import ModelShape, configured
from core.model.sizes import dims_of
from core.model.training_path import (
    NO_WORKSPACE,
    WORKSPACE,
    beyond_limit,
    fused_dims,
    path_of,
    told_of,
)
from core.monitor.devices import before_fp8
from core.train.tally import Tally

_TAKEN_BEFORE_BYTES = 512 << 20
"""What CUDA and the first kernels have taken of a GPU, outside of torch's allocator, before a model
is loaded: rather too little (H100: 0.67 GiB when a training begins, ``footprint.CONTEXT_BYTES`` by
its end), for where it is too much a plan is made for memory that was never free."""


@dataclass(frozen=True)
class Choice:
    """``plan`` is the fused path's; None where PEFT's layers train."""

    plan: Plan | None
    why: str
    """Why it is this path, or how the fused one uses the memory; a sentence without a full stop."""
    workspace: bool = True
    """Whether cuBLAS gets memory to work in."""
    warning: str = ""
    """That it takes more memory than it may or than is free; empty where it does not."""


def foresee(config: RunConfig, tally: Tally, device: str, dtype: torch.dtype) -> Choice:
    """The path of a run as far as it can be told before its model is loaded.

    A resumed run stays on its path, of which its optimizer's state is. Raises RefusedError where
    that cannot be, or where FP8 was asked for and the fused path cannot run.
    """
    if tally.step and not tally.micro_batch:
        return _plain(config, tally, "this run began on PEFT's layers")
    shape = _shape_of(config)
    why, dims = no_fast_path(config, shape, device, dtype), dims_of(shape)
    if why or dims is None:
        return _plain(config, tally, why or "its config.json does not tell its sizes")
    numbers, room = fused_dims(config, shape, dims), _room(device)
    plan = memory_plan(config, numbers, tally, room)
    if plan is None:
        return _plain(
            config, tally, no_host_room(numbers, room.host_bytes, host_head=tally.host_head)
        )
    warning = beyond_limit(config, numbers, plan, room.device_bytes)
    return Choice(plan, told_of(config, plan), numbers.workspace, warning)


def _shape_of(config: RunConfig) -> ModelShape:
    return configured(config.model.name_or_path, config.model.revision)


def _multiply_without_workspace() -> None:
    """Leave cuBLAS no memory to work in.

    It clears a part of it before each product (H100: 0.7 % of a step, 0.3 GiB), from which products
    of matrices as large as the fused path's gain nothing. It is looked at when the process
    multiplies its first matrices, and never again.
    """
    os.environ.setdefault(WORKSPACE, NO_WORKSPACE)


def settle(foreseen: Choice, model: Any, config: RunConfig, tally: Tally, device: str) -> Choice:
    """The path of a run whose PEFT model is loaded; what it needs there is on the device.

    Raises RefusedError like ``foresee``.
    """
    if foreseen.plan is None:
        return foreseen
    why = obstacle(model, config.data.max_length)
    if why is None:
        if not foreseen.workspace and device != "cpu":
            _multiply_without_workspace()
        why = _kernels_err(model)
    if why is None:
        return foreseen
    found = _plain(config, tally, why)
    models.to_device(model.get_base_model(), device)
    return found


def _kernels_err(model: Any) -> str | None:
    """Why the kernels cannot be trusted with this model; on a CPU there are none."""
    causal = model.get_base_model()
    device = causal.model.norm.weight.device
    if device.type != "cuda":
        return None
    return layer_fails(model, causal.get_output_embeddings().weight.dtype, device)


def check_fp8(config: RunConfig) -> None:
    """Raise RefusedError where FP8 is asked for and settings, shape or machine rule it out.

    Asked before rows are prepared, which may take minutes.
    """
    if not config.train.fp8:
        return
    device = models.device_of(config)
    why = no_fast_path(config, _shape_of(config), device, models.compute_dtype(config, device))
    if why:
        raise fp8_refused(why)


def _plain(config: RunConfig, tally: Tally, why: str) -> Choice:
    if tally.micro_batch:
        raise RefusedError(
            f"this run was trained on the fused path, and cannot go on without it: {why}",
            kind="changed",
            remedies=("resume it where it began", "or start a new run with the same settings"),
        )
    if config.train.fp8:
        raise fp8_refused(why)
    return Choice(None, why)


def no_fast_path(
    config: RunConfig, shape: ModelShape, device: str, dtype: torch.dtype
) -> str | None:
    """Why the fused path is out of the question, by settings, shape and machine."""
    gpu, old = device != "cpu", ""
    if gpu and config.train.fp8:
        name = torch.cuda.get_device_name(device)
        old = before_fp8(name, torch.cuda.get_device_capability(device))
    path, why = path_of(config, shape, gpu=gpu, no_fp8=old)
    if path != "fused":
        return why
    if dtype != torch.bfloat16 or models.storage_dtype(config, device) != dtype:
        return f"the fused path computes in bf16 alone, not in {dtype}"
    return kernels_fail(torch.device(device))


@dataclass(frozen=True)
class Room:
    """Memory to plan with: asked for once, so that plan and warning speak of the same."""

    device_bytes: int | None
    """What was free of the GPU before this process came; None on a CPU."""
    host_bytes: int


def _room(device: str) -> Room:
    free = None if device == "cpu" else _free_bytes()
    return Room(free, int(free_memory_bytes() * SHARE))


def memory_plan(config: RunConfig, dims: Dims, tally: Tally, room: Room) -> Plan | None:
    """What the fused path does with the memory of this GPU and this host."""
    assert room.device_bytes is not None  # on a CPU there is no fused path
    return choose(
        dims,
        length=config.data.max_length,
        effective_batch=config.effective_batch,
        limit_bytes=device_budget_bytes(config.memory.limit_gib, room.device_bytes),
        host_limit_bytes=room.host_bytes,
        state_bytes=state_bytes(config.train.optim),
        began=_began(tally),
        exact=config.train.full_determinism,
    )


def _free_bytes() -> int:
    """What was free before this process came, as the estimate has it from NVML."""
    free, _ = torch.cuda.mem_get_info()
    return int(free + torch.cuda.memory_reserved() + _TAKEN_BEFORE_BYTES)


def _began(tally: Tally) -> Plan | None:
    """What is known of the plan that a resumed run began with."""
    if not tally.micro_batch:
        return None
    return Plan(
        0, mlp_tokens=tally.mlp_tokens or TILE_TOKENS, host_head=tally.host_head,
        light=tally.light, micro_batch=tally.micro_batch,
        piece=tally.piece or tally.micro_batch,  # before there were pieces: a pass as a whole
    )  # fmt: skip


def remember(plan: Plan, tally: Tally) -> None:
    """Keep what a resumed run needs of its plan."""
    tally.micro_batch, tally.piece = plan.micro_batch, plan.piece
    tally.mlp_tokens, tally.host_head = plan.mlp_tokens, plan.host_head
    tally.light = plan.light
