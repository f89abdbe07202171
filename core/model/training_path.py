"""Which training path a run takes, by settings and shape alone, and how the fused one runs there.

No torch: the estimate foresees it, and a run before it loads anything (``core.train.path``).
"""

from __future__ import annotations

import math
import os

from core.config.schema import RunConfig
from core.model.activations import Dims
from core.model.fast import footprint
from core.model.fast.dims import Dims as FastDims
from core.model.fast.known import ARCHITECTURES, odd_window
from core.model.fast.plan import Plan
from core.model.fields import UNKNOWN
from core.model.room import free_gib, needed_gib
from core.model.shapes import ModelShape
from core.model.sizes import dims_of

WORKSPACE, NO_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":0:0"
"""The variable that tells cuBLAS what memory to work in, and its value for none."""
_PROCESSORS = 132
"""Multiprocessors of a large GPU (H100), over which flash attention spreads its sums."""
_FP8_SIDES = 16
"""What rows and columns of FP8 matrices are multiples of."""


def path_of(
    config: RunConfig, shape: ModelShape, *, gpu: bool, bf16: bool = True, no_fp8: str = ""
) -> tuple[str, str]:
    """Which training path a run takes by its settings, and why the fused one is not taken.

    ``no_fp8`` says why the GPU does not multiply in FP8, if so. The model itself is looked at once
    it is loaded (``core.model.fast.route``).
    """
    odd = shape.odd or odd_window(shape.window, config.data.max_length)
    if config.train.fp8:
        no_fp8 = no_fp8 or _odd_in_fp8(shape)
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
        "config.json names no architecture, by which the fused path knows its models": (
            shape.architecture == UNKNOWN
        ),
        f"the fused path does not know {shape.architecture}": shape.architecture
        not in ARCHITECTURES,
        f"config.json does not name {_unsaid(shape)}, by which the fused path plans": bool(
            _unsaid(shape)
        ),
        f"the fused path is not written for this: {odd}": bool(odd),
    }
    found = [text for text, holds in why.items() if holds]
    return ("PEFT", found[0]) if found else ("fused", "")


def _unsaid(shape: ModelShape) -> str:
    """Which sizes of those that a plan is made from would have to be guessed; empty: none."""
    sizes = {"heads": shape.heads, "the width of the MLP": shape.intermediate_size}
    return " and ".join(name for name, size in sizes.items() if not size)


def _odd_in_fp8(shape: ModelShape) -> str:
    """Why matrices of a model cannot be multiplied in FP8; empty when they can."""
    dims = dims_of(shape)
    for name, width in (("queries", dims.queries), ("keys", dims.keys)) if dims else ():
        if width % _FP8_SIDES:
            return f"{name} are {width} wide, and FP8 takes multiples of {_FP8_SIDES}"
    return ""


def _bf16(config: RunConfig) -> bool:
    wanted = {config.model.dtype, config.quantization.bnb_4bit_compute_dtype}
    return wanted <= {"auto", "bfloat16"}


def fused_dims(config: RunConfig, shape: ModelShape, dims: Dims) -> FastDims:
    """The numbers that the fused path's plan is made from."""
    deterministic = config.train.full_determinism
    return FastDims(
        layers=dims.layers, hidden=dims.hidden, intermediate=dims.intermediate,
        queries=dims.queries, keys=dims.keys, vocabulary=dims.vocab, tied=shape.tied,
        rank=config.adapter.r, heads=dims.heads,
        sums=math.ceil(_PROCESSORS / dims.heads) if deterministic else 1,
        head_norms=dims.head_norms, fp8=config.train.fp8,
        nested=config.quantization.bnb_4bit_use_double_quant,
        given_workspace=_workspace_given(config),
    )  # fmt: skip


def _workspace_given(config: RunConfig) -> bool:
    """Whether cuBLAS keeps its memory: other trainings of this program use it, or the user said so.

    Else the run leaves it none (``core.train.path``).
    """
    return config.run.engine_host == "thread" or os.environ.get(WORKSPACE, NO_WORKSPACE) != (
        NO_WORKSPACE
    )


def told_of(config: RunConfig, plan: Plan) -> str:
    """How the fused path runs, in a few words for the log: its plan, and FP8 where it is on."""
    return f"{plan.told}, products in FP8 (e4m3)" if config.train.fp8 else plan.told


def beyond_limit(
    config: RunConfig, dims: FastDims, plan: Plan, free_bytes: int | None = None
) -> str:
    """A sentence where the fused path's smallest plan takes more than its limit; else empty.

    With ``free_bytes``, also where it takes more than is free on the device.
    """
    limit, state = config.memory.limit_gib, footprint.state_bytes(config.train.optim)
    needs = footprint.peak_bytes(dims, plan, state)
    if free_bytes is not None and needs > free_bytes:
        return (
            f"it takes {needed_gib(needs, 2)} GiB of the GPU at the least, and "
            f"{free_gib(free_bytes, 2)} are free: it will probably run out of memory. Lower "
            "adapter.r or data.max_length, or free memory (finetui estimate says what it takes)"
        )
    if limit is None or needs <= limit * footprint.GIB:
        return ""
    return f"memory.limit_gib is {limit:g}, and it takes {needed_gib(needs)} at the least"
