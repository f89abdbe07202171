"""How much memory a training may take: of this machine or container, and of a GPU."""

from __future__ import annotations

import math
from pathlib import Path

import psutil

SHARE = 0.9
"""Part of the free memory that is planned with."""

_GIB = 1 << 30
_CGROUPS = Path("/sys/fs/cgroup")
_LAYOUTS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Limit, use, details, and the detail that is cache: cgroups version 2, then version 1."""


def free_memory_bytes(cgroups: Path = _CGROUPS) -> int:
    """Memory (RAM) that is free, cache that can be dropped included.

    A rented container often may use far less than the machine that psutil describes; what goes
    beyond is killed without a word.
    """
    free = int(psutil.virtual_memory().available)
    for limit, used, details, cache in _LAYOUTS:
        try:
            left = int((cgroups / limit).read_text()) - int((cgroups / used).read_text())
            lines = (cgroups / details).read_text().splitlines()
        except (OSError, ValueError):
            continue  # another layout, or no limit ("max")
        droppable = sum(int(line.split()[1]) for line in lines if line.split()[0] == cache)
        free = min(free, max(0, left + droppable))
    return free


def needed_gib(size: int, digits: int = 1) -> str:
    """GiB that are enough for so many bytes: rounded up, for who follows it."""
    return f"{math.ceil(size / _GIB * 10**digits) / 10**digits:.{digits}f}"


def free_gib(size: int, digits: int = 1) -> str:
    """GiB of so many bytes that are there to be used: rounded down."""
    return f"{math.floor(size / _GIB * 10**digits) / 10**digits:.{digits}f}"


def device_budget_bytes(limit_gib: float | None, free_bytes: float) -> int:
    """Device memory that a plan may fill: ``memory.limit_gib``, or a part of what is free.

    A limit above what is free is none: what is planned beyond would not be there.
    """
    limit = math.inf if limit_gib is None else limit_gib * _GIB
    return int(limit if limit <= free_bytes else free_bytes * SHARE)
