"""Times, tokens and memory of a training, taken without making it wait."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from transformers import TrainerCallback

from peers.shapes import Row

GIB = 1 << 30
_PACKAGES = (
    "torch", "triton", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "datasets",
    "liger-kernel", "unsloth", "unsloth_zoo", "xformers", "axolotl",
)  # fmt: skip


class Meter(TrainerCallback):  # type: ignore[misc]
    """Marks the end of each optimizer step with a CUDA event and notes its peak memory.

    ``count`` wraps a data collator; a step's tokens are those of its micro-batches, in order.
    """

    def __init__(self, row: Row):
        self._row = row
        self._cuda = torch.cuda.is_available()
        self._marks: list[Any] = []
        self._peaks: list[tuple[int, int]] = []
        self._batches: list[tuple[int, int]] = []
        self._static = 0

    def count(self, collate: Callable[..., Any]) -> Callable[..., Any]:
        """The same collator, with its tokens counted."""
        return _Counted(collate, self._batches)

    def on_train_begin(self, args: Any, *_: Any, **__: Any) -> None:
        # finetui may cut an effective batch into passes of another size.
        self._accumulation = args.gradient_accumulation_steps
        if self._cuda:
            torch.cuda.synchronize()
            self._static = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        self._mark()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._mark()
        if self._cuda:
            self._peaks.append(
                (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())
            )
            torch.cuda.reset_peak_memory_stats()

    def _mark(self) -> None:
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def peak(self) -> tuple[float, float]:
        """GiB that were allocated and reserved at the peak of a step; zeros without a GPU."""
        most = [max(sizes, default=0) / GIB for sizes in zip(*self._peaks, strict=True)]
        return (most[0], most[1]) if most else (0.0, 0.0)

    def steps(self) -> list[float]:
        """Seconds of each complete step."""
        pairs = list(zip(self._marks, self._marks[1:], strict=False))
        if not self._cuda:
            return [later - earlier for earlier, later in pairs]
        torch.cuda.synchronize()
        return [earlier.elapsed_time(later) / 1000 for earlier, later in pairs]

    def figures(self) -> dict[str, Any]:
        """What this training came to. Raises RuntimeError when no step was timed."""
        seconds, row = self.steps(), self._row
        timed = seconds[row.warm_up :]
        if not timed:
            raise RuntimeError(f"{len(seconds)} steps ran; the first {row.warm_up} are not timed")
        size = self._accumulation
        per_step = [self._batches[n * size : (n + 1) * size] for n in range(len(seconds))]
        tokens = [sum(real for real, _ in step) for step in per_step][row.warm_up :]
        places = sum(all_ for step in per_step[row.warm_up :] for _, all_ in step)
        rates = [count / second for count, second in zip(tokens, timed, strict=True)]
        return {
            "tokens_per_second": round(statistics.median(rates), 1),
            "step_seconds": round(statistics.median(timed), 4),
            "step_seconds_least": round(min(timed), 4),
            "step_seconds_most": round(max(timed), 4),
            "first_step_seconds": round(seconds[0], 3),
            "steps": len(seconds),
            "timed_steps": len(timed),
            "tokens_per_step": round(statistics.mean(tokens), 1),
            "padding": round(1 - sum(tokens) / places, 4),
            **(self._memory() if self._cuda else {}),
        }

    def _memory(self) -> dict[str, Any]:
        free, total = torch.cuda.mem_get_info()
        steady = self._peaks[self._row.warm_up :]
        return {
            "before_training_gib": round(self._static / GIB, 3),
            "peak_allocated_gib": round(max(peak for peak, _ in self._peaks) / GIB, 3),
            "steady_peak_allocated_gib": round(max(peak for peak, _ in steady) / GIB, 3),
            "peak_reserved_gib": round(max(peak for _, peak in self._peaks) / GIB, 3),
            "device_at_end_bytes": total - free,
        }


class _Counted:
    """A collator that notes (real tokens, all places) of each batch."""

    def __init__(self, collate: Callable[..., Any], counts: list[tuple[int, int]]):
        self._collate = collate
        self._counts = counts

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        batch = self._collate(*args, **kwargs)
        pieces = batch.get("pieces") or [batch]  # finetui's batches come in pieces
        places = sum(int(piece["input_ids"].numel()) for piece in pieces)
        mask = batch.get("attention_mask")
        if "tokens" in batch:
            real = int(batch["tokens"])
        else:
            real = int(mask.sum()) if mask is not None and mask.dim() == 2 else places
        self._counts.append((real, places))
        return batch

    def __getattr__(self, name: str) -> Any:
        if name == "_collate":
            raise AttributeError(name)
        return getattr(self._collate, name)


def versions() -> dict[str, str]:
    """Versions of the packages that matter, as far as they are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def adapter_dtype(model: torch.nn.Module) -> str:
    """Precision in which the adapter is kept."""
    trained = [p.dtype for p in model.parameters() if p.requires_grad]
    return str(trained[0]).removeprefix("torch.") if trained else "none"


def trained_millions(model: torch.nn.Module) -> float:
    return round(sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6, 3)


def losses(history: list[dict[str, Any]]) -> dict[str, float]:
    """Loss by step, as the trainer logged it: the mean since the last point."""
    return {str(entry["step"]): round(entry["loss"], 4) for entry in history if "loss" in entry}
