"""The adapter merged into the full-precision base: a model folder that any server can load.

The folder gets its name only when it is complete, on disk, and answers as base and adapter do.
"""

from __future__ import annotations

import errno
import gc
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from core.config.errors import FailedError, FinetuiError, InputError, RefusedError
from core.config.hub import model_file
from core.data.chats.formats import Chat
from core.data.tokens.codec import ChatCodec
from core.data.tokens.template import FALLBACK
from core.evaluate.generate import compare, held_out, held_out_path
from core.model.adapters import load_adapter
from core.model.load import load_base, load_tokenizer, progress_bars
from core.model.room import free_memory_bytes
from core.model.shapes import ModelShape, shape_of
from core.record.events import Merged
from core.record.folder import sync
from core.record.job import Job, Result

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_SHARD_BYTES = 4 << 30
"""A weight file of the result is at most about this large."""
_MEMORY_MARGIN_BYTES = 1 << 30
"""Python, torch and one layer in fp32."""
_DISK_MARGIN_BYTES = 256 << 20
"""Tokenizer files, and room for the journal."""
_PROBE_TOKENS = 24
_STAGING = ".merged-staging-"

_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}

_TOLERANCE = {torch.bfloat16: 0.05, torch.float16: 0.02, torch.float32: 0.001}
"""Difference between merged and unmerged logits that rounding explains, in parts of the largest."""

_COPIED = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
"""Files that go with the weights as the base has them, byte for byte, where it has them."""


@dataclass(frozen=True)
class Probe:
    """Logits of base, and of base with adapter, for the same few tokens."""

    ids: list[int]
    base: torch.Tensor
    tuned: torch.Tensor


def merge(job: Job) -> Result:
    """Job body: write ``merged/``, check it, and compare it with the base on held-out rows.

    Raises RefusedError when it exists, InputError without an adapter, FailedError when memory or
    disk do not suffice or the result does not answer as base and adapter do. Whatever happens,
    there is either a complete ``merged/`` or none.
    """
    started = time.monotonic()
    job.stage("checking")
    _check_place(job)
    shape = shape_of(job.config.model.name_or_path, job.config.model.revision)
    _check_room(job, shape)
    with _staging(job.folder.path) as staging:
        difference = _build(job, staging, shape)
        size = _seal(staging)
        staging.rename(job.folder.merged)
    sync(job.folder.path)
    path = str(job.folder.merged)
    seconds = time.monotonic() - started
    serve = f"vllm serve {shlex.quote(path)} --served-model-name {shlex.quote(job.folder.name)}"
    job.emit(Merged(path=path, size_bytes=size, seconds=seconds, serve_command=serve))
    result: Result = {"path": path, "size_bytes": size, "logit_difference": difference}
    return result | _compared(job)


def _check_place(job: Job) -> None:
    folder = job.folder
    if folder.merged.exists():
        raise RefusedError(
            f"{folder.merged} is there already",
            kind="merged_exists",
            remedies=("move or delete it, then merge again",),
        )
    if not (folder.adapter / "adapter_config.json").is_file():
        raise InputError(
            f"the run {folder.name} has no adapter to merge",
            kind="no_adapter",
            remedies=(f"train first: finetui resume {folder.name}",),
        )
    # The run is locked: what an earlier merge left behind when it was killed is nobody's.
    for leftover in folder.path.glob(f"{_STAGING}*"):
        shutil.rmtree(leftover)


def _check_room(job: Job, shape: ModelShape) -> None:
    """Refuse, with numbers, what memory or disk cannot hold."""
    size = shape.size_bytes
    if size is None:
        job.log(f"memory and disk were not checked: {shape.why}", "warning")
        return
    # Measured on a model of 2.05 GiB: 2.61 GiB at the peak, the program itself included.
    need = size + _MEMORY_MARGIN_BYTES
    free = free_memory_bytes()
    if need > free:
        raise FailedError(
            f"merging needs {_gib(need)} of memory (RAM) and {_gib(free)} are free",
            kind="no_memory",
            remedies=(
                "close other programs, or merge on a machine with more memory",
                "or serve the adapter beside its base: vllm serve BASE --enable-lora",
            ),
        )
    need = size + _DISK_MARGIN_BYTES
    free = shutil.disk_usage(job.folder.path).free
    if need > free:
        raise _no_disk(job.folder.path, f"needs {_gib(need)} and {_gib(free)} are free")


@contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    """A folder that is gone again unless it was renamed. A full disk becomes a FailedError."""
    from safetensors import SafetensorError

    staging = parent / f"{_STAGING}{os.getpid()}"
    try:
        staging.mkdir(mode=0o755)
        yield staging
    except (OSError, SafetensorError) as error:
        if not _is_full(error):
            raise
        raise _no_disk(parent, "became full while the model was written") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # the next merge tries again


def _build(job: Job, staging: Path, shape: ModelShape) -> float:
    """Fill ``staging``; return by how much its logits differ from those of base and adapter."""
    dtype = _DTYPES.get(shape.dtype or "", torch.float32)
    probe = _merge_into(job, staging, dtype)
    gc.collect()
    job.control.check()
    job.stage("verifying", "merged against base and adapter")
    model = _load(job, staging, dtype)
    return _check_equal(job, probe, _logits(model, probe.ids), dtype)


def _merge_into(job: Job, staging: Path, dtype: torch.dtype) -> Probe:
    job.stage("loading", job.config.model.name_or_path)
    adapted = load_adapter(_load(job, None, dtype), job.folder.adapter)
    _check_finite(job, adapted)
    ids = _probe_ids(job)
    with adapted.disable_adapter():
        base = _logits(adapted, ids)
    probe = Probe(ids, base, _logits(adapted, ids))
    job.control.check()
    job.stage("merging", f"into {str(dtype).removeprefix('torch.')} weights")
    merged = _merge_layers(job, adapted)
    job.stage("writing", job.folder.merged.name)
    _write(job, merged, staging)
    return probe


def _check_finite(job: Job, adapted: PeftModel) -> None:
    broken = [n for n, p in adapted.named_parameters() if "lora_" in n and not p.isfinite().all()]
    if broken:
        raise FailedError(
            f"the adapter holds NaN or infinity in {len(broken)} tensors, such as {broken[0]}",
            kind="nan_adapter",
            remedies=("resume from an earlier checkpoint with a lower train.learning_rate",),
        )
    job.control.check()


def _merge_layers(job: Job, adapted: PeftModel) -> PreTrainedModel:
    """Add each layer's update to its weight, in place, then take the adapter off."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in adapted.modules() if isinstance(module, BaseTunerLayer)]
    for number, layer in enumerate(layers, 1):
        layer.merge()
        job.progress(number, len(layers), "layers")
    return adapted.unload()


def _load(job: Job, source: Path | None, dtype: torch.dtype) -> PreTrainedModel:
    return load_base(
        job.config, quantized=False, device="cpu", source=source, dtype=dtype,
        on_progress=lambda done, total: job.progress(done, total, "weights"),
    )  # fmt: skip


def _write(job: Job, model: PreTrainedModel, staging: Path) -> None:
    from transformers import GenerationConfig

    name, revision = job.config.model.name_or_path, job.config.model.revision
    model.config.use_cache = True
    originals = [model_file(name, filename, revision) for filename in _COPIED]
    if originals[0] is not None:
        # The base's own file replaces this one; some of them are refused by save_pretrained.
        model.generation_config = GenerationConfig()
    with progress_bars(lambda done, total: job.progress(done, total, "weight files")):
        model.save_pretrained(staging, max_shard_size=_SHARD_BYTES)
    for original in originals:
        if original is not None:
            shutil.copyfile(original, staging / original.name)
    template = ChatCodec.load(name, revision).template.source
    if template == FALLBACK:
        (staging / "chat_template.jinja").write_text(template, encoding="utf-8")


def _probe_ids(job: Job) -> list[int]:
    """A few tokens to compare models on: a held-out question, where there is one."""
    chat: Chat = [{"role": "user", "content": "What can you do?"}]
    if held_out_path(job.folder).is_file():
        rows = held_out(job.folder, 1)
        chat = rows[0].messages if rows else chat
    tokenizer = load_tokenizer(job.config)
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids[-_PROBE_TOKENS:]


def _logits(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """fp32 logits, (tokens, vocabulary)."""
    with torch.inference_mode():
        output: torch.Tensor = model(input_ids=torch.tensor([ids])).logits
        return output[0].float()


def _check_equal(job: Job, probe: Probe, merged: torch.Tensor, dtype: torch.dtype) -> float:
    """Raise FailedError when the merged model is another model than base with adapter."""
    difference = (merged - probe.tuned).abs().max().item()
    effect = (probe.tuned - probe.base).abs().max().item()
    bound = _TOLERANCE[dtype] * probe.tuned.abs().max().item()
    if not difference <= bound:  # NaN is no agreement either
        raise FailedError(
            f"the merged model answers differently from base and adapter: logits differ by "
            f"{difference:.3g}, where rounding explains {bound:.3g}",
            kind="merge_differs",
            remedies=("check the adapter, then merge again", "or serve it beside its base"),
        )
    told = (
        f"merged logits equal those of base and adapter up to {difference:.2g}; "
        f"the adapter moved them by {effect:.2g}"
    )
    lost = effect > 0 and difference > effect / 2
    reason = ": much of that is lost in the rounding of the merged weights" if lost else ""
    job.log(told + reason, "warning" if lost else "info")
    return difference


def _seal(staging: Path) -> int:
    """Make the files readable for a server, force them to disk, and return their size in bytes."""
    size = 0
    for path in staging.iterdir():
        path.chmod(0o644)
        sync(path)
        size += path.stat().st_size
    staging.chmod(0o755)
    sync(staging)
    return size


def _compared(job: Job) -> Result:
    """Compare with the base; a merge that cannot be compared is still a merge."""
    try:
        event = compare(job, job.config.evaluate.compare_rows)
    except FinetuiError as error:
        job.log(f"merged, but not compared with the base: {error.message}", "warning")
        return {}
    if event is None:
        return {}
    return {
        "rows": event.rows,
        "base_matches": event.base_matches,
        "merged_matches": event.merged_matches,
    }


def _is_full(error: Exception) -> bool:
    """Whether disk, quota or file size limit stopped a write. safetensors tells it in words."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in numbers
    return any(f"os error {number})" in str(error) for number in numbers)


def _no_disk(path: Path, what: str) -> FailedError:
    return FailedError(
        f"the disk of {path} {what}; no merged model was left behind",
        kind="no_disk",
        remedies=("free space there, for example old runs and checkpoints, then merge again",),
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
