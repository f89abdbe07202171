"""The words for a memory estimate."""

from __future__ import annotations

from collections.abc import Sequence

from core.config.errors import FinetuiError
from core.config.schema import RunConfig
from core.model.fast.footprint import CONTEXT_BYTES
from core.model.fits import Fit, reckon
from core.model.look import Look
from core.model.room import SHARE, free_gib, free_memory_bytes, needed_gib
from tui import numbers
from tui.draft import Name

_UNKNOWN = "Memory est. unknown"
_MOST_DIGITS = 6
"""Behind the point of a GiB: a kilobyte."""

_SHOWN = {
    "weights": ("weights", "head", "embedding"),
    "adapter": ("adapter", "gradients", "optimizer"),
    "activations": ("activations", "layer"),
    "loss": ("loss",),
    "scratch": ("scratch",),
    "context": ("context",),
}
"""The parts that one line has room for, and what they hold."""


def lines(config: RunConfig, look: Look, wrong: Sequence[Name] = ()) -> tuple[str, str]:
    """What settings would take, for the form's foot, and more of it for where there is room.

    Of settings of which some are ``wrong`` nothing is told but that: it would be told of others.
    """
    if wrong:
        return f"{_UNKNOWN}: first correct {', '.join(map('.'.join, wrong))}", ""
    try:
        fit = reckon(config, look=look)
    except FinetuiError as error:
        return f"{_UNKNOWN}: {error.message}", ""
    if fit is None:
        return f"{_UNKNOWN}: the model's config.json does not tell its sizes", ""
    return line(fit), more(fit)


def line(fit: Fit) -> str:
    """An estimate in one line: what matters first, for a narrow pane cuts the end off."""
    found = fit.estimate
    mark = _mark(fit)
    total, room = _against_room(fit)
    where = " limit" if _limited(fit) else "" if fit.on_gpu else " RAM"
    path = found.path + (f": {found.why}" if found.why else "")
    return f"Memory est. {total} of {room} GiB{where} {mark} · {path} · {_parts(fit)}"


def _mark(fit: Fit) -> str:
    found = fit.estimate
    if found.refused:
        return f"✗ refused: {found.refused}"
    if not fit.enough:
        return "✗ does not fit"
    return f"? untold: {found.untold}" if found.untold else "fits ✓"


def more(fit: Fit) -> str:
    """Path, parts and notes of an estimate, for where there is room to read them."""
    found = fit.estimate
    why = f" ({found.why})" if found.why else ""
    refused = [f"Refused: {found.refused}"] if found.refused else []
    told = (*refused, f"Now {found.path}{why}", f"GiB: {_parts(fit)}", *found.notes)
    return ". ".join(told) + "."


def _parts(fit: Fit) -> str:
    parts = fit.estimate.parts
    sums = {word: sum(parts[name] for name in names) for word, names in _SHOWN.items()}
    return " · ".join(f"{word} {numbers.gib(size)}" for word, size in sums.items() if size)


def _total(fit: Fit) -> str:
    total = fit.estimate.total
    return "<0.1" if total < numbers.GIB / 10 else numbers.gib(total)


def _against_room(fit: Fit) -> tuple[str, str]:
    """GiB of the total and of the room for it, told apart; a limit is told as it was set."""
    limit = f"{round(fit.room_bytes / numbers.GIB, _MOST_DIGITS):g}" if _limited(fit) else ""
    return _apart(fit.estimate.total, fit.room_bytes, limit)


def _apart(total: int, room: int, told: str = "") -> tuple[str, str]:
    """GiB of a total and of a room (``told`` as that is), with digits that show which is more.

    Nothing below 0.1 GiB is told exactly where the room is larger than that.
    """
    said, other = "<0.1", told or numbers.gib(room)
    if total < numbers.GIB / 10 <= room:
        return said, other
    for digits in range(1, _MOST_DIGITS + 1):
        said = f"{total / numbers.GIB:.{digits}f}"
        other = told or f"{room / numbers.GIB:.{digits}f}"
        if float(said) > float(other) if total > room else float(said) < float(other):
            break
    return said, other


def _limited(fit: Fit) -> bool:
    return fit.room_bytes < fit.free_bytes


def verdict(fit: Fit) -> str:
    """Whether it fits, as a sentence."""
    total = _total(fit)
    found = fit.estimate
    if found.refused:
        return f"refused: {found.refused}. It would take {total} GiB; {_free(fit)}"
    if found.untold and fit.enough:
        return (
            f"whether it fits cannot be told without the weights: {found.untold}. Without them it "
            f"takes {total} GiB; {_free(fit)}. Download the model, and ask again"
        )
    if fit.enough:
        total, free = _apart(found.total, fit.free_bytes)
        if fit.imagined:
            return f"fits: {total} GiB, on a GPU of {free} GiB{_with_ram(fit)}"
        return f"fits: {total} of {free} GiB that are free on {fit.device}"
    total, allowed = _against_room(fit)
    room = f"memory.limit_gib allows {allowed}" if _limited(fit) else _free(fit, allowed)
    return f"does not fit: {total} GiB, and {room}. {_advice(fit)}"


def _free(fit: Fit, told: str = "") -> str:
    free = told or numbers.gib(fit.free_bytes)
    return f"the GPU has {free}" if fit.imagined else f"{free} are free on {fit.device}"


def _with_ram(fit: Fit) -> str:
    """How much RAM has to be free beside a GPU of which only the memory was told."""
    host = fit.estimate.host
    if fit.host_bytes is not None or host < numbers.GIB / 10:
        return ""
    needs, here = needed_gib(int(host / SHARE)), free_gib(free_memory_bytes())
    return f", if {needs} GiB of RAM are free there ({here} are here; --ram tells how many are)"


def _advice(fit: Fit) -> str:
    """What would make it fit, by what takes the memory."""
    found, more = fit.estimate, fit.estimate.more_ram
    # What all CUDA programs take, not what this one does more with more RAM pinned.
    fixed = found.weights + found.head + found.embedding + min(found.context, CONTEXT_BYTES)
    smaller = "take a smaller model"
    if not fit.config.quantization.load_in_4bit:
        smaller = f"load it in 4 bit (quantization.load_in_4bit), or {smaller}"
    if more:
        return (
            f"It would fit with more RAM: with {needed_gib(more.needs_bytes)} GiB of it free, of "
            f"which {free_gib(more.free_bytes)} are, it takes {numbers.gib(more.device_bytes)} GiB "
            f"of the GPU. Free RAM, {_levers(fit)}, or {smaller}"
        )
    if fixed > fit.room_bytes:
        what = "weights and CUDA" if found.context else "weights"
        return f"Its {what} alone take {needed_gib(fixed)} GiB: {smaller}"
    advice = f"{_levers(fit)}, or {smaller}"
    return advice[:1].upper() + advice[1:]


def _levers(fit: Fit) -> str:
    """The settings that take less memory: first those of what takes most."""
    found, train = fit.estimate, fit.config.train
    if found.path == "fused":  # which goes through a sequence at a time, and computes layers twice
        return "lower adapter.r or data.max_length"
    rank = found.adapter + found.gradients + found.optimizer
    batch = found.activations + found.layer + found.loss
    names = ["data.max_length"]
    if train.per_device_train_batch_size > 1:
        names.insert(0, "train.per_device_train_batch_size")
    if rank > batch:
        names.insert(0, "adapter.r")
    *first, last = names
    lower = f"lower {', '.join(first)} or {last}" if first else f"lower {last}"
    if train.activation_checkpointing or rank > batch:
        return lower
    return f"set train.activation_checkpointing to yes, {lower}"
