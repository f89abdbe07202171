"""The words for a memory estimate."""

from __future__ import annotations

from core.model.fits import Fit
from tui import numbers

_SHOWN = {
    "weights": ("weights", "head", "embedding", "scratch"),
    "adapter": ("adapter", "gradients", "optimizer"),
    "activations": ("activations", "layer"),
    "loss": ("loss",),
    "context": ("context",),
}
"""The parts that one line has room for, and what they hold."""


def line(fit: Fit) -> str:
    """An estimate in one line: what matters first, for a narrow pane cuts the end off."""
    parts = fit.estimate.parts
    sums = {word: sum(parts[name] for name in names) for word, names in _SHOWN.items()}
    told = " · ".join(f"{word} {numbers.gib(size)}" for word, size in sums.items() if size)
    mark = "fits ✓" if fit.fits else "✗ does not fit"
    total = "<0.1" if fit.estimate.total < numbers.GIB / 10 else numbers.gib(fit.estimate.total)
    where = "" if fit.on_gpu else " RAM"
    return f"Memory est. {total} of {numbers.gib(fit.free_bytes)} GiB{where} {mark}: {told}"


def verdict(fit: Fit) -> str:
    """Whether it fits, as a sentence."""
    total, free = numbers.gib(fit.estimate.total), numbers.gib(fit.free_bytes)
    if fit.fits:
        return f"fits: {total} of {free} GiB that are free on {fit.device}"
    if fit.room_bytes < fit.free_bytes:
        room = f"memory.limit_gib allows {fit.room_bytes / numbers.GIB:.3g}"
    else:
        room = f"{free} are free on {fit.device}"
    batch = "" if fit.estimate.path == "fused" else "train.per_device_train_batch_size or "
    return (
        f"does not fit: {total} GiB, and {room}. Lower {batch}data.max_length, or take a smaller "
        "model"
    )
