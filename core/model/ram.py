"""What a lack of RAM costs a run on the fused path, and how much of it would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.model.fast import footprint
from core.model.fast.dims import Dims
from core.model.fast.plan import Plan
from core.model.room import SHARE, free_gib, needed_gib

_NEAR_BYTES = 64 << 20
"""As near as the amount of RAM is sought that would do."""


@dataclass(frozen=True)
class MoreRam:
    """How a run would go through that there is too little RAM for."""

    device_bytes: int
    needs_bytes: int
    """RAM that has to be free, the part included that no plan takes."""
    free_bytes: int


def no_host_room(dims: Dims, host_bytes: int, *, host_head: bool = False) -> str:
    """Why the fused path cannot run in so much RAM, as a sentence without a full stop.

    ``host_bytes`` is what a plan may take. It takes the tables that wait there at the least.
    """
    least = footprint.table_bytes(dims, embedding=host_head or not dims.tied, head=host_head)
    needs, free = (int(size / SHARE) for size in (least, host_bytes))
    return (
        f"the fused path needs {needed_gib(needs, 2)} GiB of free memory (RAM) of the host at the "
        f"least, and {free_gib(free, 2)} are free"
    )


def enough(
    planned: Callable[[int], Plan | None],
    peak: Callable[[Plan], int],
    dims: Dims,
    *,
    budget: int,
    host: int,
    most: int,
) -> MoreRam | None:
    """The least RAM in which a plan stays within the device's budget; None where none does.

    ``planned`` makes the plan for so much RAM, of which there is ``host``; ``most`` is any amount.
    """
    best = planned(most)
    if best is None or peak(best) > budget:
        return None
    low, high = host, footprint.host_bytes(dims, best)
    while high - low > _NEAR_BYTES:
        middle = (low + high) // 2
        tried = planned(middle)
        if tried is None or peak(tried) > budget:
            low = middle
        else:
            best, high = tried, middle
    return MoreRam(peak(best), int(high / SHARE), int(host / SHARE))
