"""The words for a memory estimate."""

from __future__ import annotations

from collections.abc import Sequence

from core.config.errors import FinetuiError
from core.config.schema import RunConfig
from core.model.fits import Fit, reckon
from core.model.look import Look
from core.model.room import free_gib, needed_gib
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
    total, free = _total(fit), numbers.gib(fit.free_bytes)
    found = fit.estimate
    if found.refused:
        return (
            f"refused: {found.refused}. It would take {total} GiB; {free} are free on {fit.device}"
        )
    if found.untold and fit.enough:
        return (
            f"whether it fits cannot be told without the weights: {found.untold}. Without them it "
            f"takes {total} GiB; {free} are free on {fit.device}. Download the model, and ask again"
        )
    if fit.enough:
        total, free = _apart(found.total, fit.free_bytes)
        return f"fits: {total} of {free} GiB that are free on {fit.device}"
    total, allowed = _against_room(fit)
    room = (
        f"memory.limit_gib allows {allowed}"
        if _limited(fit)
        else f"{allowed} are free on {fit.device}"
    )
    fused = found.path == "fused"  # which goes through a sequence at a time already
    other = "adapter.r" if fused else "train.per_device_train_batch_size"
    more = found.more_ram
    ram = (
        f"It would fit with more RAM: with {needed_gib(more.needs_bytes)} GiB of it free, of which "
        f"{free_gib(more.free_bytes)} are, it takes {numbers.gib(more.device_bytes)} GiB of the "
        "GPU. Free RAM, or lower"
        if more
        else "Lower"
    )
    return (
        f"does not fit: {total} GiB, and {room}. {ram} {other} or data.max_length, or take a "
        "smaller model"
    )
